//! The agent as a deputy: it has the node's rights and connects for others. What it can be talked into.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use anyhow::Result;
use heddle_tests::bed::Pod;

use super::{SOMEBODY, good_certificate, leads_nowhere, tunnel};
use crate::world::{World, enrolled, probe};

/// The node's own addresses, as pods see them: of the wire, and of the bridge that is their gateway.
fn node_addresses(pod: &Pod, port: u16) -> [SocketAddr; 3] {
    let node = pod.node();
    let [a, b, c, _] = pod.v4().octets();
    [(node.wire_v4(), port).into(), (node.wire_v6(), port).into(), ([a, b, c, 1], port).into()]
}

#[test]
fn a_tunnel_leads_to_no_address_but_the_pods_own_in_whatever_form_it_is_written() -> Result<()> {
    let world = World::new("forms")?;
    let stranger = world.stranger()?;
    let beside = world.far.node().pod("beside").start()?;
    // Whoever reached another place would find somebody who answers.
    let _everywhere = [&world.far, &beside].map(|pod| pod.serve("--listen 8080,127.0.0.1:8081,[::1]:8081").unwrap());
    enrolled(&world.b, 2)?;
    world.settle()?;
    let minted = good_certificate(&world, SOMEBODY, "somebody")?;
    let (far, far6, near) = (world.far.v4(), world.far.v6(), beside.v4());
    let mut elsewhere: Vec<String> = [
        "127.0.0.1:8081",
        "127.1:8081",
        "2130706433:8081",
        "0x7f000001:8081",
        "[::1]:8081",
        "0.0.0.0:8080",
        "[::]:8080",
        "[::ffff:127.0.0.1]:8081",
        "[::ffff:0.0.0.0]:8080",
        "[::127.0.0.1]:8081",
        "169.254.169.254:80",
        "[fe80::1]:8080",
        "[fe80::1%25eth0]:8080",
        "[fe80::1%eth0]:8080",
        "255.255.255.255:8080",
        "224.0.0.1:8080",
        "localhost:8081",
        "localhost:15000",
        "metadata.google.internal:80",
        "kubernetes.default.svc:443",
    ]
    .map(str::to_owned)
    .to_vec();
    elsewhere.extend(node_addresses(&world.far, 15000).map(|address| address.to_string()));
    elsewhere.extend(node_addresses(&world.far, 15021).map(|address| address.to_string()));
    elsewhere.extend([
        format!("{near}:8080"),
        format!("[::ffff:{near}]:8080"),
        format!("[{far6}]:8080"),
        format!("{far}:0"),
        format!("{far}:65536"),
        format!("{far}:08080x"),
        format!("user@{far}:8080"),
        format!("{far}:15001"),
        format!("{far}:15006"),
        format!("{far}:15008"),
        format!("[::ffff:{far}]:15006"),
    ]);
    for authority in &elsewhere {
        let report = tunnel(&stranger, &world.far, authority, &minted, "")?;
        assert!(!report.echoed && report.status != Some(200), "{authority}: {report:?}");
    }
    for authority in [format!("{far}:8080"), format!("[::ffff:{far}]:8080")] {
        let report = tunnel(&stranger, &world.far, &authority, &minted, "")?;
        assert!(report.echoed, "the pod itself: {authority}: {report:?}");
    }
    Ok(())
}

#[test]
fn no_pod_reaches_the_admin_endpoint_of_its_node() -> Result<()> {
    let world = World::new("admin")?;
    let outside = world.client.node().pod("outside").outside_mesh().start()?;
    world.settle()?;
    assert!(world.a.config_json().is_ok(), "the control: the node itself reaches it");
    for pod in [&world.client, &outside] {
        let loopback = ["127.0.0.1:15000".parse()?, "[::1]:15000".parse()?];
        for to in node_addresses(pod, 15000).into_iter().chain(loopback) {
            let report = probe(pod, to, "hello")?;
            assert!(
                report.data.is_none() && report.after.as_deref() != Some("open"),
                "{} to {to}: {report:?}",
                pod.name()
            );
        }
    }
    let socket = world.client.node().directory().join("admin.sock");
    assert_eq!(std::fs::metadata(socket)?.permissions().mode() & 0o777, 0o600, "the socket is for its owner alone");
    Ok(())
}

#[test]
fn metrics_and_health_that_are_bound_to_loopback_are_out_of_reach_for_pods() -> Result<()> {
    let world = World::with("loopback-ends", |agent| {
        agent.set("metrics.address", "127.0.0.1:15020").set("health.address", "127.0.0.1:15021")
    })?;
    let outside = world.client.node().pod("outside").outside_mesh().start()?;
    world.settle()?;
    for pod in [&world.client, &outside] {
        for to in [15020, 15021].into_iter().flat_map(|port| node_addresses(pod, port)) {
            let report = probe(pod, to, "hello")?;
            assert!(
                report.data.is_none() && report.after.as_deref() != Some("open"),
                "{} to {to}: {report:?}",
                pod.name()
            );
        }
    }
    assert!(world.a.metrics().is_ok() && world.a.live().is_ok(), "the control: the node itself reaches them");
    Ok(())
}

#[test]
fn a_pod_uses_neither_its_own_listeners_of_the_agent_nor_those_of_others() -> Result<()> {
    let world = World::new("listeners")?;
    let stranger = world.stranger()?;
    // The applications of all pods answer, on every other port.
    let _servers = [&world.client, &world.near, &world.far].map(|pod| pod.serve("--listen 8080").unwrap());
    let ports = [15001, 15006, 15008];
    let of_others = |pod: &Pod| ports.into_iter().flat_map(|port| [pod.at(port), pod.at6(port)]).collect::<Vec<_>>();
    let own = ports.into_iter().flat_map(|port| {
        [SocketAddr::from(([127, 0, 0, 1], port)), (std::net::Ipv6Addr::LOCALHOST, port).into(), world.client.at(port)]
    });
    let client = &world.client;
    let bound = format!("--bind {}", client.v4());
    let mut tried = 0;
    for to in own.chain(of_others(&world.near)).chain(of_others(&world.far)) {
        for how in ["", "--mark 1337", bound.as_str(), "--transparent"] {
            if how == bound && !to.is_ipv4() {
                continue;
            }
            let line = format!("probe --to {to} --send hello --watch-ms 3000 {how}");
            let report = client.ask(&line)?;
            assert!(leads_nowhere(&report, "hello"), "{line}: {report:?}");
            tried += 1;
        }
    }
    for to in of_others(&world.far).into_iter().chain(of_others(&world.near)) {
        let report = probe(&stranger, to, "hello")?;
        assert!(leads_nowhere(&report, "hello"), "the stranger to {to}: {report:?}");
    }
    assert!(tried > 50, "{tried}");
    let refused = world.a.metrics()?.sum("heddle_refused_connections_total", &[]);
    assert!(refused >= 8.0, "what reached a listener is refused and counted: {refused}");
    assert_eq!((world.a.live()?.status, world.b.live()?.status), (200, 200));
    Ok(())
}
