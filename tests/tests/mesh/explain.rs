//! `heddle explain` and `heddle connections` over two real agents: what they say is what happens.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use heddle_tests::bed::binary;
use heddle_tests::peer::http::report::Ask;
use serde_json::Value;

use crate::http::tools::{Web, document, route};
use crate::world::{SOON, World, echoed, eventually, hold, probe, refused};

const SECURITY: &str = "security.istio.io/v1";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// What a command on the first node says, and its exit code.
fn heddle(world: &World, words: &[&str]) -> Result<(String, Option<i32>, String)> {
    let node = world.client.node();
    let path = binary("heddle")?.to_string_lossy().into_owned();
    let socket = node.directory().join("admin.sock");
    let finished = node.command(&path)?.args(words).arg("--socket").arg(socket).finish(SOON)?;
    Ok((finished.stdout.join("\n"), finished.status.code(), finished.stderr.join("\n")))
}

/// The report of `heddle explain`, and whether it says that the server gets it.
fn explained(world: &World, words: &[&str]) -> Result<(Value, bool)> {
    let (text, code, said) = heddle(world, &[&["explain", "-o", "json"], words].concat())?;
    let report: Value = serde_json::from_str(&text).with_context(|| format!("{text}\n{said}"))?;
    ensure!(matches!(code, Some(0 | 1)), "{code:?}: {said}");
    Ok((report, code == Some(0)))
}

/// Flag and policy of the only thing that can come of it.
fn refusal(report: &Value) -> (String, String) {
    let result = &report["result"][0];
    let text = |key: &str| result[key].as_str().unwrap_or("-").to_owned();
    (text("flag"), text("policy"))
}

fn policy(name: &str, action: &str, rules: &str) -> String {
    let spec = format!("{{selector: {{matchLabels: {{app: far}}}}, action: {action}, rules: {rules}}}");
    document(SECURITY, "AuthorizationPolicy", name, &spec)
}

#[test]
fn what_is_explained_is_what_happens() -> Result<()> {
    let mut web = Web::new("explain")?;
    let _echo = web.world.far.serve("--listen 9000-9001")?;
    web.in_force(
        &(route(
            "[{matches: [{path: {value: /open}}, {path: {value: /admin}}], backendRefs: [{name: web, port: 80}]}]",
        ) + &policy(
            "no-admin",
            "DENY",
            "[{to: [{operation: {paths: [/admin*], ports: [\"8080\"]}}]}, {to: [{operation: {ports: [\"9001\"]}}]}]",
        )),
    )?;
    let from = format!("default/{}", web.world.client.name());
    let service = web.service.at(80).to_string();
    for (to, path, status, flag, decided_by) in [
        ("web:80", "/open/a", 200, "-", "-"),
        ("web.default:80", "/open/a", 200, "-", "-"),
        (&*service, "/admin/a", 403, "UAEX", "AuthorizationPolicy default/no-admin"),
        ("web.default.svc.cluster.local:80", "/other", 404, "NR", "-"),
    ] {
        let answer = web.client.ask(web.get(path))?;
        assert_eq!(answer.status, status, "{answer:?}");
        let (report, allowed) = explained(&web.world, &["--from", &from, "--to", to, "--path", path])?;
        assert_eq!(
            (allowed, refusal(&report)),
            (status == 200, (flag.to_owned(), decided_by.to_owned())),
            "{report:#}"
        );
        if status != 200 {
            assert_eq!(report["result"][0]["status"], status, "{report:#}");
        }
        // The same from the objects alone.
        let objects = web.world.bed.objects().directory().to_string_lossy().into_owned();
        let offline = ["--from", &from, "--to", to, "--path", path, "--objects", &objects];
        let (of_objects, also_allowed) = explained(&web.world, &offline)?;
        assert_eq!((also_allowed, refusal(&of_objects)), (allowed, refusal(&report)), "{of_objects:#}");
        assert_eq!(decisions(&of_objects), decisions(&report));
    }
    for (to, expected) in [(web.world.far.at(9000), true), (web.world.far.at(9001), false)] {
        let answer = probe(&web.world.client, to, "hello")?;
        assert_eq!(echoed(&answer, "hello"), expected, "{answer:?}");
        let (report, allowed) = explained(&web.world, &["--from", &from, "--to", &to.to_string(), "--tcp"])?;
        assert_eq!(allowed, expected, "{report:#}");
    }
    let (report, _) = explained(&web.world, &["--from", &from, "--to", "web:80", "--path", "/open"])?;
    let identity = report["steps"].as_array().into_iter().flatten().find(|step| step["step"] == "identity").unwrap();
    assert!(identity["says"].as_str().unwrap().ends_with("certificate valid"), "{identity}");
    Ok(())
}

/// Each step with what it says, where that does not depend on a running agent.
fn decisions(report: &Value) -> Vec<(String, String)> {
    let steps = report["steps"].as_array().into_iter().flatten();
    let steps = steps.filter(|step| !["identity"].contains(&step["step"].as_str().unwrap_or_default()));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    steps.map(|step| (text(&step["step"]), text(&step["says"]))).collect()
}

#[test]
fn what_the_mesh_does_not_see_is_said() -> Result<()> {
    let world = World::new("explain-outside")?;
    let _server = world.far.serve("--listen 80-81")?;
    world.client.annotate("heddle.io/exclude-outbound-ports", Some("81"))?;
    let outside = world.near.node().pod("outside").outside_mesh().start()?;
    world
        .bed
        .objects()
        .put_text("mesh-documents.yaml", &document(SECURITY, "PeerAuthentication", "all", "{mtls: {mode: STRICT}}"))?;
    world.settle()?;
    let from = |name: &str| format!("default/{name}");
    let (client, stranger) = (from(world.client.name()), from(outside.name()));
    let to = |port| world.far.at(port).to_string();
    // An excluded port leaves in plaintext, which STRICT refuses.
    eventually("the exclusion is in force", SOON, || {
        let (report, _) = explained(&world, &["--from", &client, "--to", &to(81), "--tcp"])?;
        Ok(report["steps"][0]["verdict"] == "bypasses")
    })?;
    for (pod, port, name, expected) in
        [(&world.client, 80, &client, true), (&world.client, 81, &client, false), (&outside, 80, &stranger, false)]
    {
        let answer = probe(pod, world.far.at(port), "hello")?;
        assert_eq!((echoed(&answer, "hello"), refused(&answer)), (expected, !expected), "{answer:?}");
        let (report, allowed) = explained(&world, &["--from", name, "--to", &to(port), "--tcp"])?;
        assert_eq!(allowed, expected, "{report:#}");
        if !expected {
            let strict = ("DENY".to_owned(), "PeerAuthentication default/all".to_owned());
            assert_eq!(refusal(&report), strict, "{report:#}");
        }
    }
    for (words, message) in [
        (vec!["explain", "--from", "default/nobody", "--to", "a:80"], "there is no pod default/nobody"),
        (vec!["explain", "--from", &client, "--to", "nothing:80"], "no Service and no ServiceEntry has the name"),
        (vec!["explain", "--from", &client, "--to", "nothing"], "is not HOST:PORT"),
        (vec!["explain", "--from", &client], "--to"),
        (vec!["explain", "--connection", "999999999"], "no open connection has the id"),
        (vec!["explain", "--trace", "nothing"], "no request that ended lately"),
        (vec!["explain", "--trace", "x", "--path", "/"], "leave --method"),
    ] {
        let (text, code, said) = heddle(&world, &words)?;
        assert_eq!((code, text.as_str()), (Some(2), ""), "{words:?}: {said}");
        assert!(said.contains(message), "{words:?}: {said}");
    }
    Ok(())
}

#[test]
fn what_happened_comes_before_what_would_happen_now() -> Result<()> {
    let mut web = Web::new("explain-past")?;
    web.in_force(&policy("closed", "DENY", "[{to: [{operation: {paths: [/x*]}}]}]"))?;
    let traced = |web: &Web| -> Ask {
        web.get("/x/1?secret=1").header("traceparent", &format!("00-{TRACE}-b7ad6b7169203331-01"))
    };
    let ask = traced(&web);
    assert_eq!(web.client.ask(ask)?.status, 403);
    let past = |web: &Web| explained(&web.world, &["--trace", TRACE]);
    eventually("the end of the request is kept", SOON, || Ok(past(&web).is_ok()))?;
    let (report, allowed) = past(&web)?;
    assert!(!allowed);
    assert_eq!(report["past"][0]["fields"]["status"], 403, "{report:#}");
    assert_eq!(report["past"][0]["generation"], report["generation"]);
    assert_eq!(refusal(&report).1, "AuthorizationPolicy default/closed");
    assert!(!report.to_string().contains("secret"), "a query is not kept");
    // The same request is allowed by what the mesh is now, and that it changed is said.
    web.in_force("")?;
    let (report, allowed) = past(&web)?;
    assert!(allowed, "{report:#}");
    assert_eq!(report["past"][0]["fields"]["status"], 403, "what happened stays");
    assert!(report["past"][0]["generation"].as_u64() < report["generation"].as_u64(), "{report:#}");
    let (text, _, _) = heddle(&web.world, &["explain", "--trace", TRACE])?;
    assert!(text.contains("what happened: ") && text.contains("the mesh has changed since"), "{text}");
    Ok(())
}

#[test]
fn open_connections_are_listed_and_explained() -> Result<()> {
    let world = World::new("explain-open")?;
    let _server = world.far.serve("--listen 7000")?;
    let service = world.bed.service("echo", &[(700, 7000)])?;
    service.backends(&[&world.far])?;
    world.settle()?;
    let to: SocketAddr = service.at(700);
    let held = hold(&world.client, to, 3)?;
    let (text, code, said) = heddle(&world, &["connections", "-o", "json"])?;
    assert_eq!(code, Some(0), "{said}");
    let open: Value = serde_json::from_str(&text)?;
    let of_hold = |open: &Value| -> Vec<Value> {
        let all = open["connections"].as_array().into_iter().flatten();
        all.filter(|one| one["destination"] == to.to_string()).cloned().collect()
    };
    let mine = of_hold(&open);
    assert_eq!(mine.len(), 3, "{open:#}");
    let one = &mine[0];
    assert_eq!(one["source"]["pod"], format!("default/{}", world.client.name()), "{one:#}");
    assert_eq!(one["endpoint"]["address"], world.far.at(7000).to_string());
    assert_eq!(one["endpoint"]["identity"], world.far.identity());
    assert_eq!(
        (&one["security"], &one["direction"], &one["protocol"]),
        (&"mutual_tls".into(), &"outbound".into(), &"tcp".into())
    );
    assert_eq!(one["service"], "echo.default.svc.cluster.local");
    assert!(one["sentBytes"].as_u64() > Some(0) && one["receivedBytes"].as_u64() > Some(0), "{one:#}");
    let id = one["id"].to_string();
    let (report, allowed) = explained(&world, &["--connection", &id])?;
    assert!(allowed && report["past"][0]["says"].as_str().unwrap().contains("open since"), "{report:#}");
    let (table, _, _) = heddle(&world, &["connections"])?;
    assert!(table.lines().any(|line| line.split_whitespace().next() == Some(&*id)), "{table}");
    // The server's agent has its side of it, with the identity that the client proved.
    let inbound = world.b.get_json("/connections")?;
    let all = inbound["connections"].as_array().into_iter().flatten();
    let proven = all.filter(|one| one["source"]["identity"] == world.client.identity()).count();
    assert!(proven >= 3, "{inbound:#}");
    held.end()?;
    eventually("what has ended is listed no more", SOON, || Ok(of_hold(&world.a.get_json("/connections")?).is_empty()))
}
