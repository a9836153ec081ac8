//! Outbound capture: every TCP connection of an enrolled pod that leaves it, exactly, and nothing else.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use heddle_tests::bed::{Pod, Process};
use heddle_tests::peer::report::{ConnectReport, PingReport};

use crate::world::{World, connect, echoed, failures, lines_to, list, probe, refused};

/// Ways to connect, and whether over IPv6.
const WAYS: [(&str, bool); 8] = [
    ("", false),
    ("--nonblocking", false),
    ("--mapped-v6", false),
    ("--mapped-v6 --nonblocking", false),
    ("--bind-device eth0", false),
    ("", true),
    ("--nonblocking", true),
    ("--bind-device eth0", true),
];

#[test]
fn original_destinations_are_exact_under_2000_rapid_connections_of_several_processes() -> Result<()> {
    let world = World::new("exact")?;
    let _servers = [&world.near, &world.far].map(|pod| pod.serve("--listen 8000-8031 --ident").unwrap());
    let all = |at: fn(&Pod, u16) -> SocketAddr| {
        list([&world.near, &world.far].into_iter().flat_map(|pod| (8000..8032).map(move |port| at(pod, port))))
    };
    let (v4, v6) = (all(Pod::at), all(Pod::at6));
    let reports: Vec<ConnectReport> = std::thread::scope(|scope| {
        let clients = WAYS.map(|(how, six)| {
            let (targets, source) = if six { (&v6, world.client.at6(0)) } else { (&v4, world.client.at(0)) };
            let checks = format!("--ident --check-local --check-peername --expect-source {}", source.ip());
            let line = format!("--to {targets} --count 250 --concurrency 8 --bytes 16 {checks} {how}");
            scope.spawn({
                let client = &world.client;
                move || connect(client, &line)
            })
        });
        clients.into_iter().map(|client| client.join().unwrap()).collect::<Result<_>>()
    })?;
    for ((how, six), report) in WAYS.iter().zip(&reports) {
        assert!(report.all_good(250), "{how} (IPv6: {six}): {report:?}");
    }
    let metrics = world.a.wait_metrics("2,000 connections were carried", Duration::from_secs(5), |metrics| {
        metrics.sum("istio_tcp_connections_opened_total", &[("reporter", "source")]) == 2000.0
    })?;
    assert_eq!(metrics.sum("heddle_kernel_events_total", &[("event", "flow_lost")]), 0.0);
    Ok(())
}

#[test]
fn one_source_port_on_two_addresses_and_in_two_pods_is_told_apart() -> Result<()> {
    let world = World::new("source-port")?;
    let _server = world.far.serve("--listen 8000-8015 --ident")?;
    let (v4, v6) = (list((8000..8016).map(|port| world.far.at(port))), list((8000..8016).map(|p| world.far.at6(p))));
    let clients = [
        (&world.client, &v4, world.client.at(4000)),
        (&world.client, &v6, world.client.at6(4000)),
        (&world.near, &v4, world.near.at(4000)),
        (&world.near, &v6, world.near.at6(4000)),
    ];
    std::thread::scope(|scope| {
        let clients = clients.map(|(pod, targets, from)| {
            // A reset frees the port at once, so that each connection uses it again.
            let line =
                format!("--to {targets} --count 100 --ident --check-local --check-peername --bind {from} --reset");
            scope.spawn(move || (from, connect(pod, &line).unwrap()))
        });
        for client in clients {
            let (from, report) = client.join().unwrap();
            assert!(report.all_good(100), "from {from}: {report:?}");
            assert_eq!(report.sources.into_keys().collect::<Vec<_>>(), [from.ip().to_string()]);
        }
    });
    Ok(())
}

#[test]
fn sockets_bound_to_a_device_do_not_get_in_the_way_of_others() -> Result<()> {
    // All captured connections go to one address and port: the kernel must not give two of them one source port, as it
    // does when sockets that are bound to different devices, or to none, connect at the same time.
    let world = World::new("devices")?;
    let _server = world.far.serve("--listen 8000-8031 --ident")?;
    let targets = list((8000..8032).map(|port| world.far.at(port)));
    let line = format!("--to {targets} --count 1500 --concurrency 8 --bytes 16 --ident --check-local");
    let ways = ["", "--bind-device eth0", "", "--bind-device eth0"];
    let reports: Vec<_> = std::thread::scope(|scope| {
        let clients = ways.map(|how| {
            scope.spawn({
                let (client, line) = (&world.client, format!("{line} {how}"));
                move || connect(client, &line).unwrap()
            })
        });
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    for (how, report) in ways.iter().zip(&reports) {
        assert!(report.all_good(1500), "{how}: {report:?}\n{}", failures(&[&world.a, &world.b])?);
    }
    Ok(())
}

#[test]
fn udp_is_untouched() -> Result<()> {
    let mut world = World::new("udp")?;
    let udp_echo = |address: SocketAddr| -> Result<Process> {
        let mut server = world.far.peer(&format!("udp-echo --listen {address}"))?.start()?;
        server.wait_line(Duration::from_secs(5), |line| line.contains("listening"))?;
        Ok(server)
    };
    let _servers = [udp_echo(world.far.at(9000))?, udp_echo(world.far.at6(9000))?];
    let _tcp = world.far.serve("--listen 9000")?;
    for to in [world.far.at(9000), world.far.at6(9000)] {
        for how in ["", "--connected"] {
            let report: PingReport = world.client.ask(&format!("udp-ping --to {to} --count 10 {how}"))?;
            assert_eq!((report.sent, report.answered), (10, 10), "{to} {how}");
        }
        assert!(echoed(&probe(&world.client, to, "tcp")?, "tcp"), "the same port over TCP goes by the mesh");
    }
    let log = world.log_of_a()?;
    assert_eq!(lines_to(&log, world.far.at(9000), "outbound").len(), 1, "the TCP connection only");
    Ok(())
}

#[test]
fn loopback_and_the_pods_own_addresses_are_untouched() -> Result<()> {
    let mut world = World::new("local")?;
    let client = world.client.clone();
    let _server = client.serve("--listen 8080 --ident")?;
    let loopback = [SocketAddr::from(([127, 0, 0, 1], 8080)), SocketAddr::from(([127, 1, 2, 3], 8080))];
    let targets = [loopback[0], loopback[1], "[::1]:8080".parse()?, client.at(8080), client.at6(8080)];
    for to in targets {
        let report = connect(&client, &format!("--to {to} --count 5 --ident --check-local --check-peername"))?;
        assert!(report.all_good(5), "{to}: {report:?}");
    }
    let mapped = connect(&client, &format!("--to {} --ident --check-local --mapped-v6", client.at(8080)))?;
    assert!(mapped.all_good(1), "{mapped:?}");
    let log = world.log_of_a()?;
    for to in targets {
        let logged = [lines_to(&log, to, "outbound"), lines_to(&log, to, "inbound")];
        assert!(logged.iter().all(Vec::is_empty), "{to}: {logged:?}");
    }
    let passed = world.a.metrics()?.sum("heddle_kernel_events_total", &[("event", "outbound_local")]);
    assert_eq!(passed, 26.0);
    Ok(())
}

#[test]
fn a_pod_that_calls_the_agents_listener_itself_is_refused() -> Result<()> {
    let world = World::new("own-port")?;
    for to in ["127.0.0.1:15001".parse()?, "[::1]:15001".parse()?] {
        let report = probe(&world.client, to, "hello")?;
        assert!(refused(&report), "{to}: {report:?}");
    }
    let reason = [("reason", "unknown_destination")];
    assert_eq!(world.a.metrics()?.sum("heddle_refused_connections_total", &reason), 2.0);
    Ok(())
}

#[test]
fn the_agents_mark_does_not_take_a_pod_out_of_the_mesh() -> Result<()> {
    let mut world = World::new("mark")?;
    let _server = world.far.serve("--listen 8080 --ident")?;
    let to = world.far.at(8080);
    let report = connect(&world.client, &format!("--to {to} --count 3 --ident --check-local --mark 1337"))?;
    assert!(report.all_good(3), "{report:?}");
    assert_eq!(lines_to(&world.log_of_a()?, to, "outbound").len(), 3);
    Ok(())
}

#[test]
fn a_pod_outside_the_mesh_is_not_captured() -> Result<()> {
    let mut world = World::new("outsider")?;
    let outsider = world.client.node().pod("outsider").outside_mesh().start()?;
    world.settle()?;
    let server = world.stranger()?;
    let _server = server.serve("--listen 8080 --ident")?;
    let line = format!("--to {} --ident --check-local --expect-source {}", server.at(8080), outsider.v4());
    assert!(connect(&outsider, &line)?.all_good(1));
    assert_eq!(lines_to(&world.log_of_a()?, server.at(8080), "outbound").len(), 0);
    Ok(())
}
