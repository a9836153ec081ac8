//! Inbound capture: who reaches an enrolled pod's application, and what the application sees of them.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use heddle_tests::bed::Pod;
use heddle_tests::peer::report::BulkReport;

use crate::world::{SOON, World, connect, echoed, failures, lines_to, probe, refused};

#[test]
fn the_server_sees_the_client_pods_address() -> Result<()> {
    let world = World::new("source")?;
    let outside = world.near.node().pod("outside").outside_mesh().start()?;
    let stranger = world.stranger()?;
    let _servers = [&world.near, &world.far].map(|pod| pod.serve("--listen 8080 --ident").unwrap());
    let service = |name: &str, pod: &Pod| -> Result<_> {
        let service = world.bed.service(name, &[(80, 8080)])?;
        service.backends(&[pod])?;
        Ok(service)
    };
    let (near, far) = (service("near", &world.near)?, service("far", &world.far)?);
    world.settle()?;
    let both = |v4: SocketAddr, v6: SocketAddr| [v4, v6];
    let pods = [&world.near, &world.far].map(|pod| both(pod.at(8080), pod.at6(8080)));
    let services = [&near, &far].map(|service| both(service.at(80), service.at6(80)));
    for to in pods.into_iter().chain(services).flatten() {
        sees(&world.client, to)?;
    }
    for to in pods.into_iter().flatten() {
        sees(&outside, to)?;
        sees(&stranger, to)?;
    }
    Ok(())
}

fn sees(client: &Pod, to: SocketAddr) -> Result<()> {
    let source = if to.is_ipv4() { client.at(0) } else { client.at6(0) };
    let report = connect(client, &format!("--to {to} --count 5 --ident --expect-source {}", source.ip()))?;
    assert!(report.all_good(5), "from {} to {to}: {report:?}", client.name());
    Ok(())
}

#[test]
fn what_comes_by_a_port_of_the_node_is_plaintext_from_outside() -> Result<()> {
    for (name, mode) in [("host-port", "PERMISSIVE"), ("host-port-strict", "STRICT")] {
        let world = World::with(name, |agent| agent.set("mtls.mode", mode))?;
        let stranger = world.stranger()?;
        let _server = world.near.serve("--listen 8080 --ident")?;
        let node = world.near.node();
        node.host_port(30080, world.near.v4(), 8080)?;
        let to = SocketAddr::from((node.wire_v4(), 30080));
        let line = format!("--to {to} --count 3 --ident --expect-source {}", stranger.v4());
        let report = connect(&stranger, &line)?;
        assert!(if mode == "STRICT" { report.succeeded == 0 } else { report.all_good(3) }, "{mode}: {report:?}");
        let flag = ("reason", "permissive_plaintext");
        let passed = world.a.metrics()?.sum("heddle_bypassed_connections_total", &[flag]);
        assert_eq!(passed, if mode == "STRICT" { 0.0 } else { 3.0 }, "{mode}");
    }
    Ok(())
}

#[test]
fn an_application_is_served_on_whatever_address_it_listens() -> Result<()> {
    let world = World::new("listens")?;
    let far = &world.far;
    let _servers = ["0.0.0.0:81".to_owned(), far.at(82).to_string(), far.at6(82).to_string()]
        .map(|address| far.serve(&format!("--listen {address} --ident")).unwrap());
    for to in [far.at(81), far.at(82), far.at6(82)] {
        let report = connect(&world.client, &format!("--to {to} --ident --check-local"))?;
        assert!(report.all_good(1), "{to}: {report:?}");
    }
    Ok(())
}

#[test]
fn an_application_on_loopback_only_stays_unreachable() -> Result<()> {
    let world = World::new("loopback-only")?;
    let stranger = world.stranger()?;
    let _servers = ["127.0.0.1:80", "[::1]:80"].map(|it| world.far.serve(&format!("--listen {it}")).unwrap());
    for client in [&world.client, &stranger] {
        for to in [world.far.at(80), world.far.at6(80)] {
            let report = probe(client, to, "hello")?;
            assert!(refused(&report), "from {} to {to}: {report:?}", client.name());
        }
    }
    Ok(())
}

#[test]
fn the_agents_own_ports_lead_nowhere() -> Result<()> {
    let world = World::new("agent-ports")?;
    let stranger = world.stranger()?;
    for client in [&world.client, &stranger] {
        for to in [15001, 15006].into_iter().flat_map(|port| [world.far.at(port), world.far.at6(port)]) {
            let report = probe(client, to, "hello")?;
            assert!(refused(&report), "from {} to {to}: {report:?}", client.name());
        }
    }
    assert_eq!(world.b.live()?.status, 200);
    Ok(())
}

#[test]
fn many_connections_of_one_client_in_the_clear_do_not_get_in_each_others_way() -> Result<()> {
    // The agent calls the application from the client's address: with a port that the client itself uses for another
    // connection, the kernel could not tell the two apart.
    let world = World::new("many-plain")?;
    let stranger = world.stranger()?;
    let _source = world.far.serve("--listen 8080 --mode source")?;
    let line = format!("stall --to {} --bytes 100 --count 1200 --timeout 5", world.far.at(8080));
    let mut open = stranger.peer(&line)?.start()?;
    let opened = open.wait_line(SOON * 2, |line| line.contains("stalled"));
    opened.with_context(|| failures(&[&world.b]).unwrap_or_default())?;
    open.write_line("resume")?;
    let open = open.wait(SOON * 2)?;
    let report: BulkReport = serde_json::from_str(open.stdout.last().unwrap())?;
    assert_eq!((report.verified, report.failures.len()), (1200, 0), "{:?}", report.failures.first());
    Ok(())
}

#[test]
fn plaintext_from_outside_is_accepted_and_counted_when_permissive() -> Result<()> {
    let mut world = World::new("permissive")?;
    let stranger = world.stranger()?;
    let _server = world.far.serve("--listen 8080")?;
    for to in [world.far.at(8080), world.far.at6(8080)] {
        assert!(echoed(&probe(&stranger, to, "hello")?, "hello"), "{to}");
    }
    let log = world.log_of_b()?;
    let line = lines_to(&log, world.far.at(8080), "inbound").pop().unwrap();
    assert!(line["source_identity"].is_null() && line["tls_version"].is_null(), "{line}");
    assert_eq!(line["flag"], "-");
    let metrics = world.b.metrics()?;
    let plain = [("reporter", "destination"), ("connection_security_policy", "none"), ("source_principal", "unknown")];
    assert_eq!(metrics.sum("istio_tcp_connections_opened_total", &plain), 2.0);
    assert_eq!(metrics.sum("heddle_bypassed_connections_total", &[("reason", "permissive_plaintext")]), 2.0);
    Ok(())
}

#[test]
fn plaintext_from_outside_is_refused_when_strict() -> Result<()> {
    let mut world = World::with("strict", |agent| agent.strict())?;
    let stranger = world.stranger()?;
    let _server = world.far.serve("--listen 8080 --ident")?;
    let _local = world.near.serve("--listen 8080")?;
    for to in [world.far.at(8080), world.far.at6(8080)] {
        let report = probe(&stranger, to, "hello")?;
        assert!(refused(&report), "{to}: {report:?}");
    }
    let from_node = world.far.node().peer(&format!("probe --to {} --send hi", world.far.at(8080)))?;
    let report = serde_json::from_str(from_node.output(SOON)?.trim())?;
    assert!(refused(&report), "a process of the node itself: {report:?}");
    let line = lines_to(&world.log_of_b()?, world.far.at(8080), "inbound").pop().unwrap();
    assert_eq!(line["flag"], "DENY", "{line}");
    let denied = [("reporter", "destination"), ("response_flags", "DENY")];
    assert_eq!(world.b.metrics()?.sum("istio_tcp_connections_failed_total", &denied), 3.0);

    for to in [world.far.at(8080), world.far.at6(8080)] {
        let report = connect(&world.client, &format!("--to {to} --ident --check-local"))?;
        assert!(report.all_good(1), "an enrolled client: {report:?}");
    }
    let own = probe(&world.near, world.near.at(8080), "myself")?;
    assert!(echoed(&own, "myself"), "a pod to itself: {own:?}");
    Ok(())
}
