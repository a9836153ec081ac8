//! What the mesh tells the application about a request: who sends it, its id, its place in a trace.

use anyhow::{Context, Result};
use heddle_tests::peer::http::report::Ask;

use super::tools::{Client, Server, Web};

const XFCC: &str = "x-forwarded-client-cert";

#[test]
fn the_proven_identity_is_told_and_a_claimed_one_never() -> Result<()> {
    let mut web = Web::new("http-xfcc")?;
    let _near = Server::start(&web.world.near, "--listen 8080 --name near")?;
    let forged = "By=spiffe://cluster.local/ns/default/sa/far;URI=spiffe://cluster.local/ns/default/sa/root";
    let (identity, mut stranger) = (web.world.client.identity(), Client::of(&web.world.stranger()?)?);
    for (to, by) in
        [(web.service.at(80), web.world.far.identity()), (web.world.near.at(8080), web.world.near.identity())]
    {
        for h2 in [false, true] {
            let (_, seen) =
                web.seen(Ask { h2, ..Ask::to(to).header(XFCC, forged).header("X-Forwarded-Client-Cert", forged) })?;
            let told = seen.header(XFCC).with_context(|| format!("{to}, h2 {h2}: {seen:?}"))?;
            assert!(
                told.contains(&format!("URI={identity}")) && told.contains(&format!("By={by}")),
                "{to}, h2 {h2}: {told}"
            );
            assert!(!told.contains("sa/root") && !told.contains('|') && !told.contains(','), "one element: {told}");
        }
    }
    let answer = stranger.ask(Ask::to(web.world.far.at(8080)).header(XFCC, forged))?;
    let seen = answer.seen().context("plaintext is taken")?;
    assert_eq!(seen.header(XFCC), None, "nobody is proven: {seen:?}");
    Ok(())
}

#[test]
fn a_request_gets_an_id_and_keeps_the_one_it_has() -> Result<()> {
    let mut web = Web::new("http-request-id")?;
    let mut ids = std::collections::BTreeSet::new();
    for h2 in [false, true] {
        for _ in 0..5 {
            let (_, seen) = web.seen(Ask { h2, ..web.get("/") })?;
            let id = seen.header("x-request-id").with_context(|| format!("{seen:?}"))?;
            assert!(id.len() == 36 && id.split('-').count() == 5, "a UUID: {id}");
            ids.insert(id);
        }
        let (_, seen) = web.seen(Ask { h2, ..web.get("/").header("x-request-id", "own-id") })?;
        assert_eq!(seen.header("x-request-id").as_deref(), Some("own-id"));
    }
    assert_eq!(ids.len(), 10, "each has its own");
    Ok(())
}

#[test]
fn trace_context_is_passed_on_as_it_is() -> Result<()> {
    let mut web = Web::new("http-trace")?;
    let given = [
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("tracestate", "vendor=a,other=b"),
        ("baggage", "user=alice"),
        ("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1"),
        ("x-b3-traceid", "80f198ee56343ba864fe8b2a57d3eff7"),
        ("x-b3-spanid", "e457b5a2e4d86bd1"),
        ("x-b3-sampled", "1"),
    ];
    for h2 in [false, true] {
        let ask = given.iter().fold(Ask { h2, ..web.get("/") }, |ask, (name, value)| ask.header(name, value));
        let (_, seen) = web.seen(ask)?;
        for (name, value) in given {
            let found = seen.header(name).with_context(|| format!("{name}: {seen:?}"))?;
            // A proxy with spans of its own may put another parent, never another trace.
            if name == "traceparent" {
                assert_eq!(found.get(..35), value.get(..35));
            } else {
                assert_eq!(found, value, "{name}");
            }
        }
    }
    Ok(())
}

#[test]
fn the_access_log_has_the_request_as_both_nodes_saw_it() -> Result<()> {
    let mut web = Web::new("http-log")?;
    let (_, seen) = web.seen(web.get("/logged?secret=1").header("user-agent", "tests"))?;
    let id = seen.header("x-request-id").context("an id")?;
    for (agent, direction) in [(&mut web.world.a, "outbound"), (&mut web.world.b, "inbound")] {
        let line = agent.wait_access_log(crate::world::SOON, |line| line["request_id"] == id.as_str())?;
        assert_eq!(line["direction"], direction, "{line}");
        assert_eq!((line["method"].as_str(), line["status"].as_u64()), (Some("GET"), Some(200)), "{line}");
        let path = line["path"].as_str().unwrap_or_default();
        assert!(path == "/logged", "the path, and nothing of the query: {line}");
    }
    Ok(())
}
