//! What holds while the agent is down, ending, or back: nothing leaves in the clear, and nothing needs the pods' help.

use std::time::{Duration, Instant};

use anyhow::Result;
use heddle_tests::peer::report::ConnectReport;
use rustix::process::Signal;

use crate::load::Load;
use crate::world::{SOON, World, connect, echoed, enrolled, eventually, hold, lines_to, probe};

#[test]
fn without_an_agent_connections_are_refused_at_once_and_nothing_leaves() -> Result<()> {
    let mut world = World::new("killed")?;
    let stranger = world.stranger()?;
    let _servers = [&world.near, &world.far, &stranger].map(|pod| pod.serve("--listen 8080").unwrap());
    let service = world.bed.service("far", &[(80, 8080)])?;
    service.backends(&[&world.far])?;
    world.settle()?;
    assert!(echoed(&probe(&world.client, world.far.at(8080), "before")?, "before"));
    world.a.kill()?;
    let capture = world.bed.wire_capture()?;
    let (client, near) = (&world.client, &world.near);
    for to in [
        world.far.at(8080),
        world.far.at6(8080),
        near.at(8080),
        stranger.at(8080),
        stranger.at6(8080),
        service.at(80),
        service.at6(80),
    ] {
        for how in ["", "--mapped-v6", "--nonblocking", "--bind-device eth0"] {
            let line = format!("connect --to {to} --count 2 --concurrency 2 {how} --timeout 5");
            let report: ConnectReport = client.ask(&line)?;
            let failures: Vec<_> = report.failures.iter().map(|(error, count)| (error.as_str(), *count)).collect();
            assert_eq!(failures, [("connect: ECONNREFUSED", 2)], "{to} {how}");
            assert!(report.seconds < 2.0, "at once: {report:?}");
        }
    }
    let record = capture.stop()?;
    let own = [client.at(0).ip(), client.at6(0).ip()];
    let sent: Vec<_> =
        record.packets().iter().filter(|p| own.contains(&p.flow.source.ip()) && !p.payload.is_empty()).collect();
    let opened: Vec<_> =
        record.packets().iter().filter(|p| own.contains(&p.flow.source.ip()) && p.flags & 0x02 != 0).collect();
    assert!(sent.is_empty() && opened.is_empty(), "{sent:?} {opened:?}");
    Ok(())
}

#[test]
fn connections_that_were_open_in_a_killed_agent_are_told_at_once() -> Result<()> {
    let mut world = World::new("killed-open")?;
    let _servers = [&world.near, &world.far].map(|pod| pod.serve("--listen 8080").unwrap());
    let mut held = [hold(&world.client, world.far.at(8080), 3)?, hold(&world.client, world.near.at(8080), 3)?];
    world.a.kill()?;
    for held in &mut held {
        eventually("all are broken", Duration::from_secs(2), || Ok(held.report()?.healthy == 0))?;
        let broken = held.report()?.broken;
        assert!(!broken.contains_key("timeout"), "told, and not left alone: {broken:?}");
    }
    Ok(())
}

#[test]
fn without_an_agent_nobody_reaches_an_enrolled_pod() -> Result<()> {
    let mut world = World::new("killed-there")?;
    let stranger = world.stranger()?;
    let _server = world.far.serve("--listen 8080")?;
    let _local = world.far.serve("--listen 127.0.0.1:8081")?;
    world.b.kill()?;
    for client in [&stranger, &world.client] {
        for to in [world.far.at(8080), world.far.at6(8080)] {
            let line = format!("probe --to {to} --send hello --watch-ms 1500 --timeout 1.5");
            let report: heddle_tests::peer::report::ProbeReport = client.ask(&line)?;
            assert!(!echoed(&report, "hello"), "from {} to {to}: {report:?}", client.name());
        }
    }
    let own = probe(&world.far, "127.0.0.1:8081".parse()?, "local")?;
    assert!(echoed(&own, "local"), "inside the pod all works: {own:?}");
    Ok(())
}

#[test]
fn a_restarted_agent_adopts_what_is_pinned_and_works_without_touching_the_pods() -> Result<()> {
    let mut world = World::new("restart")?;
    let _servers = [&world.client, &world.far].map(|pod| pod.serve("--listen 8080 --ident").unwrap());
    for round in 0..3 {
        for agent in [&mut world.a, &mut world.b] {
            agent.kill()?;
            agent.restart()?;
        }
        enrolled(&world.a, 2)?;
        enrolled(&world.b, 1)?;
        for (from, to) in [(&world.client, &world.far), (&world.far, &world.client), (&world.near, &world.client)] {
            let line = format!(
                "--to {},{} --count 20 --concurrency 4 --ident --check-local --check-peername",
                to.at(8080),
                to.at6(8080)
            );
            let report = connect(from, &line)?;
            assert!(report.all_good(20), "round {round}, {} to {}: {report:?}", from.name(), to.name());
        }
    }
    assert_eq!(lines_to(&world.log_of_a()?, world.far.at(8080), "outbound").len(), 10, "captured, not bypassed");
    Ok(())
}

#[test]
fn an_agent_restarted_under_load_serves_every_connection_after_it() -> Result<()> {
    let mut world = World::new("restart-load")?;
    let _servers = [&world.near, &world.far].map(|pod| pod.serve("--listen 8080 --ident").unwrap());
    let targets = format!("{},{}", world.near.at(8080), world.far.at(8080));
    let load = Load::start(&world.client, &targets)?;
    let capture = world.bed.wire_capture()?;
    for round in 0..3 {
        world.a.restart()?;
        enrolled(&world.a, 2)?;
        let line = format!("--to {targets} --count 40 --concurrency 4 --ident --check-local --check-peername");
        let report = connect(&world.client, &line)?;
        assert!(report.all_good(40), "round {round}: {report:?}");
    }
    let clear = capture.stop()?.flows().into_keys().filter(|flow| flow.destination == world.far.at(8080)).count();
    assert_eq!(clear, 0, "nothing left in the clear meanwhile");
    let report = load.end()?;
    let refusals = [
        "connect: ECONNREFUSED",
        "connect: ECONNRESET",
        "greeting: ECONNRESET",
        "greeting: eof",
        "read: ECONNRESET",
        "read: eof",
        "write: EPIPE",
        "write: ECONNRESET",
        "close: ECONNRESET",
    ];
    assert!(
        report.failures.keys().all(|failure| refusals.contains(&failure.as_str())),
        "refused, never wrong: {report:?}"
    );
    Ok(())
}

#[test]
fn sigterm_lets_open_connections_end_and_then_the_agent_ends_well() -> Result<()> {
    let mut world = World::new("drain")?;
    let _server = world.far.serve("--listen 8080")?;
    let mut held = hold(&world.client, world.far.at(8080), 3)?;
    world.a.process().signal(Signal::TERM)?;
    eventually("the agent is not ready any more", SOON, || Ok(world.a.ready()?.status == 503))?;
    let ready = world.a.ready()?.text();
    assert!(ready.contains("draining"), "{ready}");
    assert_eq!(world.a.live()?.status, 200);
    assert_eq!(world.a.metrics()?.get("heddle_draining", &[]), Some(1.0));
    held.still_exchanges()?;
    assert!(world.a.process().running()?);
    assert_eq!(held.end()?.healthy, 3);
    let finished = world.a.process().wait(SOON)?;
    assert_eq!(finished.status.code(), Some(0), "{}", finished.describe());
    let lines: Vec<_> = finished.stdout.iter().filter(|line| line.contains(&world.far.at(8080).to_string())).collect();
    assert_eq!(lines.len(), 3, "the last lines of the access log are written: {lines:?}");
    let after = probe(&world.client, world.far.at(8080), "after")?;
    assert_eq!(after.connect, "ECONNREFUSED", "an agent that ended well leaves nothing open either");
    Ok(())
}

#[test]
fn a_draining_agent_serves_new_connections_too_and_a_second_signal_ends_it_at_once() -> Result<()> {
    let mut world = World::new("drain-new")?;
    let _server = world.far.serve("--listen 8080")?;
    let mut held = hold(&world.client, world.far.at(8080), 2)?;
    for agent in [&mut world.a, &mut world.b] {
        agent.process().signal(Signal::TERM)?;
        eventually("the agent drains", SOON, || Ok(agent.ready()?.status == 503))?;
        held.still_exchanges()?;
    }
    let report = connect(&world.client, &format!("--to {} --count 10", world.far.at(8080)))?;
    assert!(report.all_good(10), "nobody else is there to serve them: {report:?}");
    let finished = world.a.terminate(SOON)?;
    assert_eq!(finished.status.code(), Some(0), "{}", finished.describe());
    Ok(())
}

#[test]
fn a_restart_of_the_other_nodes_agent_costs_no_connection_after_it() -> Result<()> {
    let mut world = World::new("other-restart")?;
    let _server = world.far.serve("--listen 8080 --ident")?;
    for round in 0..3 {
        // The first round opens tunnels; the later ones find them broken.
        let line = format!("--to {} --count 30 --concurrency 6 --ident --check-local", world.far.at(8080));
        let report = connect(&world.client, &line)?;
        assert!(report.all_good(30), "round {round}: {report:?}");
        world.b.restart()?;
        enrolled(&world.b, 1)?;
    }
    Ok(())
}

#[test]
fn a_drain_ends_with_its_timeout() -> Result<()> {
    let mut world = World::with("drain-timeout", |agent| agent.set("limits.drainTimeout", "1s"))?;
    let _server = world.far.serve("--listen 8080")?;
    let mut held = hold(&world.client, world.far.at(8080), 2)?;
    let begin = Instant::now();
    let finished = world.a.terminate(SOON)?;
    assert_eq!(finished.status.code(), Some(0), "{}", finished.describe());
    assert!(begin.elapsed() >= Duration::from_secs(1), "it waited for {:?}", begin.elapsed());
    let flags: Vec<String> = finished
        .stdout
        .iter()
        .filter_map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            (line["destination_address"] == world.far.at(8080).to_string().as_str()).then(|| line["flag"].to_string())
        })
        .collect();
    assert_eq!(flags, ["\"DRAIN\"", "\"DRAIN\""], "what was cut is in the log");
    eventually("the client is told", SOON, || Ok(held.report()?.healthy == 0))
}

#[test]
fn pods_that_left_while_the_agent_was_down_are_released_when_it_is_back() -> Result<()> {
    let mut world = World::new("left")?;
    let gone = world.client.node().pod("gone").start()?;
    enrolled(&world.a, 3)?;
    let stranger = world.stranger()?;
    let _server = stranger.serve("--listen 8080 --ident")?;
    let _own = world.client.serve("--listen 8080 --ident")?;
    world.a.kill()?;
    world.client.unpublish()?;
    gone.delete()?;
    world.a.restart()?;
    enrolled(&world.a, 1)?;
    let tables = [("PODS", 1.0), ("POD_ADDRESSES", 2.0), ("LISTENERS", 3.0), ("WIRES", 1.0)];
    world.a.wait_metrics("the kernel knows the pod that is left, and no other", SOON, |metrics| {
        tables.iter().all(|(map, entries)| metrics.get("heddle_map_entries", &[("map", map)]) == Some(*entries))
    })?;
    let links =
        |folder: &str| std::fs::read_dir(world.client.node().bpffs().join("heddle").join(folder)).unwrap().count();
    assert_eq!((links("pods"), links("wires")), (1, 1));
    let line = format!("--to {} --count 2 --ident --check-local", stranger.at(8080));
    eventually("the released pod connects", SOON, || Ok(connect(&world.client, &line)?.all_good(2)))?;
    let back = connect(&stranger, &format!("--to {} --ident --check-local", world.client.at(8080)))?;
    assert!(back.all_good(1), "{back:?}");
    let log = world.a.access_log();
    assert!(lines_to(&log, stranger.at(8080), "outbound").is_empty(), "{log:?}");
    Ok(())
}
