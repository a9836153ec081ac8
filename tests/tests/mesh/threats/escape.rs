//! Out of a pod past the capture: what a program with CAP_NET_RAW or CAP_NET_ADMIN in its own namespace can try.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use heddle_tests::bed::{Agent, Pod};
use heddle_tests::peer::report::{ProbeReport, RawReport};

use crate::world::{SOON, World, connect, echoed, enrolled, eventually, lines_to, probe, refused};

const RAW: &str = "raw-syn --count 5 --data needle";

/// What the agent counted of packets that were dropped on a pod's wire.
fn stopped(agent: &Agent, event: &str) -> Result<f64> {
    Ok(agent.metrics()?.sum("heddle_kernel_events_total", &[("event", event)]))
}

fn raw(from: &Pod, to: SocketAddr, more: &str) -> Result<RawReport> {
    let source = if to.is_ipv4() { from.at(4242) } else { from.at6(4242) };
    from.ask(&format!("{RAW} --from {source} --to {to} {more}"))
}

#[test]
fn a_connection_opened_by_raw_packets_is_stopped_on_the_pods_wire_and_counted() -> Result<()> {
    let mut world = World::new("raw")?;
    let stranger = world.stranger()?;
    let outside = world.client.node().pod("outside").outside_mesh().start()?;
    world.settle()?;
    let _servers = [&stranger, &world.near, &world.far].map(|pod| pod.serve("--listen 8080").unwrap());
    let targets =
        [stranger.at(8080), stranger.at6(8080), world.far.at(8080), world.near.at(8080), world.near.at6(8080)];
    for to in targets {
        assert!(raw(&outside, to, "")?.answered, "the control: from outside the mesh it works, to {to}");
    }
    assert!(raw(&outside, stranger.at(8080), "--shape fragments")?.answered, "the control, in fragments");
    let capture = world.bed.wire_capture()?;
    for to in targets {
        assert!(!raw(&world.client, to, "")?.answered, "to {to}");
    }
    assert_eq!(stopped(&world.a, "wire_escape")?, 25.0, "five packets to each of five");
    // Another pod's address does not help.
    let forged: RawReport =
        world.client.ask(&format!("{RAW} --from {} --to {}", world.near.at(4242), stranger.at(8080)))?;
    assert_eq!(forged.sent, 5);
    assert_eq!(stopped(&world.a, "wire_escape")?, 30.0);
    assert!(!capture.stop()?.contains(b"needle"), "nothing of it is on the wire between the nodes");
    for to in [stranger.at(8080), stranger.at6(8080)] {
        assert!(!raw(&world.client, to, "--shape fragments")?.answered, "in fragments to {to}");
    }
    assert!(stopped(&world.a, "wire_hidden")? >= 10.0, "{:?}", world.a.metrics()?.heddle());

    let report = connect(&world.client, &format!("--to {},{} --count 20", world.far.at(8080), stranger.at6(8080)))?;
    assert!(report.all_good(20), "what goes by connect() is served as ever: {report:?}");
    world.a.kill()?;
    assert!(!raw(&world.client, stranger.at(8080), "")?.answered, "while no agent runs, too");
    Ok(())
}

#[test]
fn excluded_ports_are_open_to_raw_packets_too_and_a_released_pods_wire_is_open() -> Result<()> {
    let world = World::new("raw-excluded")?;
    let stranger = world.stranger()?;
    let _server = stranger.serve("--listen 80-81")?;
    world.client.annotate("heddle.io/exclude-outbound-ports", Some("80"))?;
    eventually("the excluded port is open", SOON, || Ok(raw(&world.client, stranger.at(80), "")?.answered))?;
    assert!(!raw(&world.client, stranger.at(81), "")?.answered, "only that port");
    world.client.set_mesh(Some(false))?;
    enrolled(&world.a, 1)?;
    eventually("the wire is open", SOON, || Ok(raw(&world.client, stranger.at(81), "")?.answered))
}

/// Moves the pod's wire, with its addresses, to a namespace that the mesh does not know, and becomes the program that is
/// given there. It takes CAP_NET_ADMIN and CAP_SYS_ADMIN, or a user namespace in which they are had.
fn from_behind(pod: &Pod, line: &str) -> Result<ProbeReport> {
    let (node4, node6) = {
        let [a, b, c, _] = pod.v4().octets();
        let mut six = pod.v6().segments();
        six[7] = 1;
        (std::net::Ipv4Addr::new(a, b, c, 1), std::net::Ipv6Addr::from(six))
    };
    let inside = format!(
        "ip link set lo up; ip link set eth0 up; ip addr add {}/24 dev eth0; ip addr add {}/64 dev eth0 nodad; \
         ip route add default via {node4}; ip route add default via {node6}; exec {} {line}",
        pod.v4(),
        pod.v6(),
        heddle_tests::bed::binary("heddle-peer")?.display(),
    );
    let script = format!(
        "unshare --net sh -c 'while ! ip link show eth0 >/dev/null 2>&1; do sleep 0.02; done; {inside}' & \
         child=$!; sleep 0.2; ip link set eth0 netns $child; wait $child"
    );
    let output = pod.command("sh").arg("-c").arg(script).output(Duration::from_secs(60))?;
    Ok(serde_json::from_str(output.lines().last().unwrap_or_default())?)
}

#[test]
fn a_wire_that_is_moved_to_another_namespace_carries_no_connection() -> Result<()> {
    let world = World::new("moved-wire")?;
    let stranger = world.stranger()?;
    let outside = world.client.node().pod("outside").outside_mesh().start()?;
    world.settle()?;
    let _server = stranger.serve("--listen 8080")?;
    let line = format!("probe --to {} --send needle --watch-ms 3000 --timeout 4", stranger.at(8080));
    let control = from_behind(&outside, &line)?;
    assert!(echoed(&control, "needle"), "the control: outside the mesh it works: {control:?}");
    let capture = world.bed.wire_capture()?;
    let report = from_behind(&world.client, &line)?;
    assert!(!echoed(&report, "needle") && report.connect != "connected", "{report:?}");
    assert!(stopped(&world.a, "wire_escape")? >= 1.0);
    assert!(!capture.stop()?.contains(b"needle"));
    Ok(())
}

#[test]
fn every_kind_of_socket_is_captured() -> Result<()> {
    let mut world = World::with("kinds", |agent| agent.strict())?;
    let _server = world.far.serve("--listen 8080 --ident")?;
    let to = world.far.at(8080);
    let ways = [
        "--mptcp",
        "--mptcp --mapped-v6",
        "--transparent",
        "--transparent --mark 1337",
        "--mark 1337 --bind-device eth0",
        "--mptcp --bind-device eth0 --nonblocking",
    ];
    for how in ways {
        let report = connect(&world.client, &format!("--to {to} --count 2 --ident --check-local {how}"))?;
        assert!(report.all_good(2), "{how}: STRICT lets in only what came by the mesh: {report:?}");
    }
    assert_eq!(lines_to(&world.log_of_a()?, to, "outbound").len(), 2 * ways.len());
    assert_eq!(stopped(&world.a, "wire_escape")?, 0.0, "none of them had to be stopped later");
    Ok(())
}

#[test]
fn a_foreign_source_address_takes_no_connection_past_the_agent() -> Result<()> {
    let world = World::new("foreign-source")?;
    let stranger = world.stranger()?;
    let _servers = [&stranger, &world.far].map(|pod| pod.serve("--listen 8080").unwrap());
    let capture = world.bed.wire_capture()?;
    for to in [stranger.at(8080), world.far.at(8080)] {
        let line = format!("probe --to {to} --send needle --transparent --bind {} --timeout 2", world.near.v4());
        let report: ProbeReport = world.client.ask(&line)?;
        // The agent carries it as the pod's, or the kernel does not connect it at all.
        assert!(report.connect != "connected" || echoed(&report, "needle"), "{report:?}");
    }
    let flows = capture.stop()?.flows();
    let forged = flows.keys().find(|flow| flow.source.ip() == world.near.at(0).ip());
    assert!(forged.is_none(), "{forged:?}");
    let clear = flows.keys().find(|flow| flow.destination == world.far.at(8080));
    assert!(clear.is_none(), "{clear:?}");
    Ok(())
}

#[test]
fn a_socket_belongs_to_the_namespace_that_it_was_made_in_whoever_uses_it() -> Result<()> {
    let mut world = World::with("handed-over", |agent| agent.strict())?;
    let outside = world.client.node().pod("outside").outside_mesh().start()?;
    world.settle()?;
    let _server = world.far.serve("--listen 8080")?;
    let to = world.far.at(8080);
    let line =
        |pod: &Pod| format!("probe --to {to} --send hello --watch-ms 3000 --made-in {}", pod.netns().path().display());
    // An enrolled pod that gets a socket from outside: it is outside, and STRICT refuses it.
    let borrowed = world.client.ask(&line(&outside))?;
    assert!(refused(&borrowed), "{borrowed:?}");
    assert!(lines_to(&world.log_of_a()?, to, "outbound").is_empty());
    // The other way round: the enrolled pod's socket is the enrolled pod.
    let lent = outside.ask(&line(&world.client))?;
    assert!(echoed(&lent, "hello"), "{lent:?}");
    let log = world.log_of_b()?;
    let identity = world.client.identity();
    assert!(lines_to(&log, to, "inbound").iter().any(|line| line["source_identity"] == *identity), "{log:?}");
    Ok(())
}

#[test]
fn a_pod_that_breaks_the_agents_routing_cuts_itself_off_and_nothing_leaves_in_the_clear() -> Result<()> {
    let world = World::new("own-routes")?;
    let _server = world.far.serve("--listen 8080 --greet needle")?;
    let to = world.far.at(8080);
    assert!(connect(&world.client, &format!("--to {to}=needle --bytes 0"))?.all_good(1), "the control");
    let capture = world.bed.wire_capture()?;
    world.far.netns().ip("rule del priority 100\nroute flush table 1337\n")?;
    let gone = probe(&world.client, to, "needle")?;
    world.far.netns().sysctl(&[("ipv4/tcp_fwmark_accept", "0"), ("ipv4/fwmark_reflect", "0")])?;
    let unmarked = probe(&world.client, to, "needle")?;
    for report in [gone, unmarked] {
        assert!(report.data.is_none(), "{report:?}");
    }
    let record = capture.stop()?;
    assert!(!record.contains(b"needle"), "{:?}", record.flows());
    // The client's side of the mesh is not touched by what another pod does to itself.
    let _near = world.near.serve("--listen 8080")?;
    assert!(echoed(&probe(&world.client, world.near.at(8080), "others")?, "others"));
    Ok(())
}

#[test]
fn a_pod_that_destroys_the_agents_listeners_cuts_itself_off_and_wears_nobody_out() -> Result<()> {
    let mut world = World::new("destroyed")?;
    let stranger = world.stranger()?;
    let _servers = [&stranger, &world.far, &world.client].map(|pod| pod.serve("--listen 8080").unwrap());
    let to = stranger.at(8080);
    assert!(echoed(&probe(&world.client, to, "before")?, "before"));
    let destroy =
        |port: u16| world.client.command("ss").words(&format!("--kill --tcp --listening sport = :{port}")).output(SOON);
    for port in [15001, 15006, 15008] {
        destroy(port)?;
    }
    let capture = world.bed.wire_capture()?;
    for to in [to, world.far.at(8080)] {
        let report = probe(&world.client, to, "needle")?;
        assert!(refused(&report), "{to}: {report:?}");
    }
    let inbound: ProbeReport =
        world.far.ask(&format!("probe --to {} --send needle --timeout 2", world.client.at(8080)))?;
    assert!(!echoed(&inbound, "needle"), "{inbound:?}");
    assert!(!capture.stop()?.contains(b"needle"));
    std::thread::sleep(Duration::from_secs(1));
    let told = world.a.process().stderr().iter().filter(|line| line.contains("destroyed a listener")).count();
    assert!((1..=4).contains(&told), "{told} lines: each listener is missed once");
    assert!(world.a.process().stderr().len() < 100, "{:?}", world.a.process().stderr().last());
    assert!(echoed(&probe(&world.near, to, "others")?, "others"));
    world.a.restart()?;
    assert!(echoed(&probe(&world.client, to, "after")?, "after"), "a new agent listens again");
    Ok(())
}
