//! A peer with a good certificate that says untrue things about itself in the headers of its tunnel.

use anyhow::Result;
use heddle_tests::peer::report::ServerEvent;

use super::{SOMEBODY, good_certificate, tunnel};
use crate::world::{SOON, World, connect, lines_to};

/// What is claimed carries this word, so that it is found wherever it is believed.
const CLAIM: &str = "mallory-claims";

#[test]
fn headers_that_claim_another_workload_or_address_are_never_believed() -> Result<()> {
    let mut world = World::new("forged")?;
    let stranger = world.stranger()?;
    let mut server = world.far.serve("--listen 8080 --stats")?;
    let minted = good_certificate(&world, SOMEBODY, "somebody")?;
    let victim = world.client.v4();
    let claims = [
        format!(
            "baggage=k8s.cluster.name={CLAIM},k8s.namespace.name={CLAIM},k8s.deployment.name={CLAIM},service.name={CLAIM},service.version={CLAIM}"
        ),
        format!("forwarded=for=\"{victim}:4242\";host={CLAIM};by={CLAIM}"),
        "traceparent=00-6d616c6c6f72792d636c61696d730000-6d616c6c6f727921-01".to_owned(),
        format!("x-forwarded-client-cert=By={CLAIM};URI={}", world.client.identity()),
        format!("x-forwarded-for={victim}"),
        format!("x-envoy-external-address={victim}"),
        format!("authorization=Bearer%20{CLAIM}"),
    ];
    let more: Vec<_> = claims.iter().map(|claim| format!("--header {claim}")).collect();
    let to = world.far.at(8080);
    let report = tunnel(&stranger, &world.far, &to.to_string(), &minted, &more.join(" "))?;
    assert!(report.echoed, "{report:?}");
    assert!(report.baggage.is_some_and(|baggage| !baggage.contains(CLAIM)), "the server says who it is, not who asks");

    let accepted = server.wait_line(SOON, |line| line.contains("\"accepted\""))?;
    let ServerEvent::Accepted { peer, .. } = serde_json::from_str(&accepted)? else { panic!("{accepted}") };
    assert_eq!(peer.ip(), stranger.at(0).ip(), "the application sees the address of the socket");

    let log = world.log_of_b()?;
    let line = lines_to(&log, to, "inbound").pop().unwrap();
    assert_eq!(line["source_identity"], SOMEBODY, "{line}");
    assert!(line["source_address"].as_str().unwrap().starts_with(&format!("{}:", stranger.v4())), "{line}");
    assert!(line["source_workload"].is_null(), "no name for an address that the mesh does not know: {line}");
    for text in [CLAIM, "6d616c6c6f72792d636c61696d73", &victim.to_string()] {
        assert!(!line.to_string().contains(text), "{text} is believed: {line}");
    }
    let metrics = world.b.metrics()?;
    let believed = metrics.samples().iter().find(|sample| sample.labels.values().any(|label| label.contains(CLAIM)));
    assert!(believed.is_none(), "{believed:?}");
    Ok(())
}

#[test]
fn odd_headers_hurt_neither_their_own_stream_nor_others() -> Result<()> {
    let mut world = World::new("odd-headers")?;
    let stranger = world.stranger()?;
    let _server = world.far.serve("--listen 8080")?;
    let minted = good_certificate(&world, SOMEBODY, "somebody")?;
    let to = world.far.at(8080);
    let repeated = "--header baggage=service.name=one ".repeat(50);
    for (what, more) in [
        ("repeated", repeated.as_str()),
        ("no text", "--header baggage=%ff%fe%80 --header forwarded=%ff"),
        ("malformed", "--header baggage=,,,=;= --header forwarded=for=\"[::;;host --header traceparent=00-0-0"),
        ("empty", "--header baggage= --header forwarded= --header traceparent="),
        ("long", "--header-bytes 4000"),
    ] {
        let report = tunnel(&stranger, &world.far, &to.to_string(), &minted, more)?;
        assert!(report.echoed, "{what}: nobody reads them, so the connection is served: {report:?}");
    }
    let before = world.b.process().resident_bytes()?;
    for bytes in [20_000, 200_000, 2_000_000] {
        let report = tunnel(&stranger, &world.far, &to.to_string(), &minted, &format!("--header-bytes {bytes}"))?;
        assert!(!report.echoed && report.status != Some(200), "{bytes} bytes of headers: {report:?}");
        let others = connect(&world.client, &format!("--to {to} --count 5"))?;
        assert!(others.all_good(5), "after {bytes} bytes of headers: {others:?}");
    }
    let grown = world.b.process().resident_bytes()?.saturating_sub(before);
    assert!(grown < 32 << 20, "the agent has grown by {} MiB", grown >> 20);
    Ok(())
}
