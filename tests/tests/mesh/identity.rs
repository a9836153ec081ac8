//! Who may open a tunnel, what it may ask for, and whom the agents believe at the other end.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use heddle_tests::bed::{Bed, Pod};
use heddle_tests::peer::report::HboneReport;
use heddle_tests::rogue::{Leaf, Minted, Root};
use serde_json::{Value, json};

use crate::world::{SOON, World, connect, enrolled, lines_to, refused, settle};

const GOOD: &str = "spiffe://cluster.local/ns/default/sa/somebody";

#[test]
fn a_tunnel_is_refused_to_whoever_does_not_prove_a_good_identity() -> Result<()> {
    let world = World::new("refused")?;
    let stranger = world.stranger()?;
    let _server = world.far.serve("--listen 8080 --stats")?;
    let (ours, other) = (Root::of_agents(&world.bed.ca_directory())?, Root::stranger()?);
    let leaf = |id: &str| Leaf::of(id);
    let cases = [
        ("no certificate", None, ""),
        ("wrong authority", Some((&other, leaf(GOOD))), ""),
        ("wrong trust domain", Some((&ours, leaf("spiffe://other.local/ns/default/sa/somebody"))), ""),
        ("expired", Some((&ours, leaf(GOOD).expired())), ""),
        ("not valid yet", Some((&ours, leaf(GOOD).not_yet_valid())), ""),
        ("not for clients", Some((&ours, Leaf { for_clients: false, ..leaf(GOOD) })), ""),
        ("no identity", Some((&ours, Leaf { uris: vec![], ..leaf(GOOD) })), ""),
        (
            "two identities",
            Some((&ours, Leaf { uris: vec![GOOD.to_owned(), GOOD.to_owned() + "x"], ..leaf(GOOD) })),
            "",
        ),
        ("not a SPIFFE id", Some((&ours, leaf("https://cluster.local/ns/default/sa/somebody"))), ""),
        ("not a workload's SPIFFE id", Some((&ours, leaf("spiffe://cluster.local/somebody"))), ""),
        ("TLS 1.2", Some((&ours, leaf(GOOD))), "--tls12"),
        ("not HTTP/2", Some((&ours, leaf(GOOD))), "--alpn http/1.1"),
    ];
    let count = cases.len();
    for (index, (what, shown, more)) in cases.into_iter().enumerate() {
        let minted =
            shown.map(|(root, leaf)| root.mint(&leaf, world.bed.directory(), &format!("case-{index}")).unwrap());
        let report = tunnel(&stranger, &world.far, &format!("{}", world.far.at(8080)), minted.as_ref(), more)?;
        assert!(report.connected && report.status.is_none() && !report.echoed, "{what}: {report:?}");
        assert!(report.error.is_some(), "{what}: {report:?}");
    }
    world.b.wait_metrics("every refusal is counted", SOON, |metrics| {
        let all = metrics.sum("heddle_handshakes_total", &[("side", "server")]);
        all - metrics.sum("heddle_handshakes_total", &[("side", "server"), ("result", "ok")]) == count as f64
    })?;
    let good = ours.mint(&Leaf::of(GOOD), world.bed.directory(), "good")?;
    let report = tunnel(&stranger, &world.far, &world.far.at(8080).to_string(), Some(&good), "")?;
    assert!(report.echoed, "the control: {report:?}");
    Ok(())
}

#[test]
fn a_tunnel_leads_to_the_pod_that_it_was_opened_to_and_nowhere_else() -> Result<()> {
    let mut world = World::new("authority")?;
    let stranger = world.stranger()?;
    let beside = world.far.node().pod("beside").start()?;
    let _servers = [&world.far, &beside].map(|pod| pod.serve("--listen 8080").unwrap());
    let service = world.bed.service("far", &[(80, 8080)])?;
    service.backends(&[&world.far])?;
    enrolled(&world.b, 2)?;
    world.settle()?;
    let minted = Root::of_agents(&world.bed.ca_directory())?.mint(&Leaf::of(GOOD), world.bed.directory(), "good")?;
    let far = world.far.v4();
    let cases = [
        (world.far.at(8080).to_string(), "", 200),
        ("far.default.svc.cluster.local:80".to_owned(), "", 200),
        (beside.at(8080).to_string(), "", 400),
        (world.near.at(8080).to_string(), "", 400),
        ("127.0.0.1:8080".to_owned(), "", 400),
        ("169.254.169.254:80".to_owned(), "", 400),
        ("near.default.svc.cluster.local:80".to_owned(), "", 400),
        (far.to_string(), "", 400),
        (format!("{far}:0"), "", 400),
        (format!("{far}:8080"), "--method GET", 400),
        (format!("{far}:8080"), "--method POST", 400),
        (format!("{far}:15001"), "", 503),
        (format!("{far}:15006"), "", 503),
        (format!("{far}:15008"), "", 503),
        (format!("{far}:9"), "", 503),
    ];
    for (authority, more, status) in &cases {
        let report = tunnel(&stranger, &world.far, authority, Some(&minted), more)?;
        assert_eq!(report.status, Some(*status), "{authority} {more}: {report:?}");
        assert_eq!(report.echoed, *status == 200, "{authority} {more}: {report:?}");
        assert_eq!(report.tls_version.as_deref(), Some("TLSv1_3"));
        // What this client offers first: a peer without the post-quantum group is served by a classical one.
        assert_eq!(report.group.as_deref(), Some("X25519"));
        assert_eq!(report.server_identity.as_deref(), Some(world.far.identity().as_str()));
    }
    let granted = tunnel(&stranger, &world.far, &cases[0].0, Some(&minted), "")?;
    let baggage = granted.baggage.unwrap_or_default();
    for part in ["k8s.cluster.name=Kubernetes", "k8s.namespace.name=default", "service.name=far"] {
        assert!(baggage.contains(part), "{part} is not in {baggage}");
    }
    let log = world.log_of_b()?;
    let lines = lines_to(&log, world.far.at(8080), "inbound");
    assert!(lines.iter().any(|line| line["source_identity"] == GOOD && line["flag"] == "-"), "{lines:?}");
    // No name for the client: the address is a stranger's.
    assert!(lines.iter().all(|line| line["source_workload"].is_null()), "{lines:?}");
    Ok(())
}

#[test]
fn identities_on_both_sides_are_those_of_the_pods() -> Result<()> {
    let mut world = World::new("identities")?;
    let _servers = [&world.near, &world.far].map(|pod| pod.serve("--listen 8080").unwrap());
    for to in [world.near.at(8080), world.far.at(8080)] {
        assert!(connect(&world.client, &format!("--to {to}"))?.all_good(1));
    }
    let (a, b) = (world.log_of_a()?, world.log_of_b()?);
    let identity = world.client.identity();
    for (log, to, direction) in [
        (&a, &world.near, "outbound"),
        (&a, &world.near, "inbound"),
        (&a, &world.far, "outbound"),
        (&b, &world.far, "inbound"),
    ] {
        let line = lines_to(log, to.at(8080), direction).pop().unwrap();
        assert_eq!(line["source_identity"], identity.as_str(), "{direction} {line}");
        assert_eq!(line["destination_identity"], to.identity().as_str(), "{direction} {line}");
    }
    Ok(())
}

#[test]
fn a_server_that_proves_another_identity_is_not_believed() -> Result<()> {
    // Both agents share a CA, but the second one thinks that its pod is another: its certificate is good and wrong.
    let bed = Bed::new("mallory")?;
    let (a, b) = (bed.node("a")?, bed.node("b")?);
    let (client, bank) = (a.pod("client").start()?, b.pod("bank").start()?);
    let elsewhere = bed.directory().join("objects-of-mallory");
    copy_objects(&bed, &elsewhere, "serviceAccountName: bank", "serviceAccountName: mallory")?;
    let mut agent = a.agent().start()?;
    let _mallory = b.agent().set("source.files.path", elsewhere.display().to_string()).start()?;
    let _server = bank.serve("--listen 8080")?;
    settle(&bed, &[&agent])?;
    let line = not_reached(&client, &bank, &mut agent, "IDENTITY_ERROR")?;
    assert!(line["error"].as_str().is_some_and(|error| error.contains("sa/mallory")), "{line}");
    let wrong = [("side", "client"), ("result", "wrong_identity")];
    assert!(agent.metrics()?.sum("heddle_handshakes_total", &wrong) >= 1.0);
    Ok(())
}

#[test]
fn a_server_of_another_authority_is_not_believed() -> Result<()> {
    let bed = Bed::new("other-ca")?;
    let (a, b) = (bed.node("a")?, bed.node("b")?);
    let (client, bank) = (a.pod("client").start()?, b.pod("bank").start()?);
    let mut agent = a.agent().start()?;
    let other = bed.directory().join("another-ca");
    let _other = b.agent().set("ca.local.path", other.display().to_string()).start()?;
    let _server = bank.serve("--listen 8080")?;
    not_reached(&client, &bank, &mut agent, "TLS_FAILURE")?;
    Ok(())
}

#[test]
fn a_listed_pod_without_an_agent_is_not_reached_in_the_clear() -> Result<()> {
    let bed = Bed::new("no-agent-there")?;
    let (a, b) = (bed.node("a")?, bed.node("b")?);
    let (client, bank) = (a.pod("client").start()?, b.pod("bank").start()?);
    let mut agent = a.agent().set("limits.handshakeTimeout", "1s").set("limits.connectTimeout", "2s").start()?;
    let _server = bank.serve("--listen 8080")?;
    let capture = bed.wire_capture()?;
    not_reached(&client, &bank, &mut agent, "UF")?;
    let mut impostor = bank.serve("--listen 15008 --mode echo")?;
    not_reached(&client, &bank, &mut agent, "TLS_FAILURE")?;
    impostor.kill()?;
    let _silent = bank.serve("--listen 15008 --mode stall")?;
    not_reached(&client, &bank, &mut agent, "TLS_FAILURE")?;
    assert!(!capture.stop()?.contains(b"needle"));
    Ok(())
}

#[test]
fn one_agent_needs_no_directory_for_its_authority() -> Result<()> {
    let bed = Bed::new("memory-ca")?;
    let node = bed.node("a")?;
    let (client, server) = (node.pod("client").start()?, node.pod("server").start()?);
    let agent = node.agent().set("ca", json!({"local": {}})).start()?;
    enrolled(&agent, 2)?;
    let _server = server.serve("--listen 8080")?;
    assert!(connect(&client, &format!("--to {} --count 5", server.at(8080)))?.all_good(5));
    let mutual = [("reporter", "source"), ("connection_security_policy", "mutual_tls")];
    assert_eq!(agent.metrics()?.sum("istio_tcp_connections_opened_total", &mutual), 5.0);
    assert_eq!(std::fs::read_dir(bed.ca_directory())?.count(), 0, "nothing is written");
    Ok(())
}

/// The client's connection fails, within bounds, and the log says why.
fn not_reached(client: &Pod, server: &Pod, agent: &mut heddle_tests::bed::Agent, flag: &str) -> Result<Value> {
    let seen = agent.access_log().len();
    let report = client.ask(&format!("probe --to {} --send needle --watch-ms 8000", server.at(8080)))?;
    assert!(refused(&report), "{flag}: {report:?}");
    let to = server.at(8080).to_string();
    agent.wait_access_log(SOON, |line| line["destination_address"] == *to)?;
    let mut line = Value::Null;
    crate::world::eventually("the connection is in the log", Duration::from_secs(5), || {
        let log = agent.access_log();
        line = log
            .get(seen..)
            .and_then(|new| new.iter().find(|line| line["destination_address"] == *to))
            .cloned()
            .unwrap_or_default();
        Ok(!line.is_null())
    })?;
    assert_eq!(line["flag"], flag, "{line}");
    Ok(line)
}

fn copy_objects(bed: &Bed, to: &std::path::Path, word: &str, other: &str) -> Result<()> {
    std::fs::create_dir(to)?;
    let mut replaced = 0;
    for entry in std::fs::read_dir(bed.objects().directory())? {
        let entry = entry?;
        let text = std::fs::read_to_string(entry.path())?;
        replaced += usize::from(text.contains(word));
        std::fs::write(to.join(entry.file_name()), text.replace(word, other))?;
    }
    anyhow::ensure!(replaced == 1, "`{word}` is in {replaced} objects");
    Ok(())
}

/// Policies and handshakes must know the same aliases, or a DENY would let those pass who show an older name.
#[test]
fn a_policy_about_the_own_trust_domain_holds_for_its_aliases() -> Result<()> {
    let world = World::with("alias", |agent| agent.set("trustDomainAliases", json!(["old.local"])))?;
    let stranger = world.stranger()?;
    let _server = world.far.serve("--listen 8080")?;
    let leaf = Leaf::of("spiffe://old.local/ns/default/sa/somebody");
    let minted = Root::of_agents(&world.bed.ca_directory())?.mint(&leaf, world.bed.directory(), "alias")?;
    let ask = || tunnel(&stranger, &world.far, &world.far.at(8080).to_string(), Some(&minted), "");
    let report = ask()?;
    assert!(report.echoed, "an alias is believed: {report:?}");
    let policy = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: no, namespace: default}\n\
                  spec: {action: DENY, rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/somebody]}}]}]}\n";
    world.bed.objects().put_text("policies.yaml", policy)?;
    world.settle()?;
    let report = ask()?;
    assert_eq!((report.status, report.echoed), (Some(401), false), "{report:?}");
    Ok(())
}

fn tunnel(from: &Pod, to: &Pod, authority: &str, minted: Option<&Minted>, more: &str) -> Result<HboneReport> {
    let file = |path: &PathBuf| path.display().to_string();
    let shown = minted.map(|it| format!("--cert {} --key {}", file(&it.cert), file(&it.key))).unwrap_or_default();
    from.ask(&format!("hbone --to {} --authority {authority} --send hello --limit 5 {shown} {more}", to.at(15008)))
}
