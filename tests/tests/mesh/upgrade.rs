//! One agent taking over from another while both run, and what becomes of that where one of them dies.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use heddle_tests::bed::{Capture, Flow, Process};
use heddle_tests::peer::report::ConnectReport;
use rustix::process::Signal;

use crate::{
    http::tools::{HttpLoad, Server},
    load::Load,
    native::warm,
    world::{SOON, World, connect, enrolled, eventually, failures, hold},
};

/// A world in which connections to `near` go natively once one has been carried.
fn world(name: &str) -> Result<World> {
    let world = World::with(name, |agent| agent.set("limits.drainTimeout", "10m"))?;
    world.near.annotate("heddle.io/opaque-ports", Some("8080,8081"))?;
    world.settle()?;
    Ok(world)
}

/// An agent that was replaced is told to end, as by Kubernetes, and ends well when its connections have.
fn ends_well(mut old: Process) -> Result<()> {
    let finished = old.wait(SOON)?;
    assert_eq!(finished.status.code(), Some(0), "{}", finished.describe());
    Ok(())
}

/// Flows to an address that are no tunnels.
fn in_the_clear(record: &Capture, to: IpAddr) -> usize {
    let is_tunnel = |flow: &Flow| [flow.source.port(), flow.destination.port()].contains(&15008);
    record.flows().into_keys().filter(|flow| flow.destination.ip() == to && !is_tunnel(flow)).count()
}

#[test]
fn twenty_upgrades_in_a_row_are_noticed_by_nobody() -> Result<()> {
    let mut world = world("upgrades")?;
    let _servers = [&world.near, &world.far].map(|pod| pod.serve("--listen 8080 --ident").unwrap());
    let _requests = [&world.near, &world.far].map(|pod| Server::start(pod, "--listen 8000").unwrap());
    let _echoes = [&world.near, &world.far].map(|pod| pod.serve("--listen 8081").unwrap());
    warm(&world, &world.client, world.near.at(8081))?;
    let mut held = [&world.near, &world.far].map(|pod| hold(&world.client, pod.at(8081), 3).unwrap());
    assert_eq!(world.a.metrics()?.get("heddle_native_connections_open", &[]), Some(3.0));
    let capture = world.bed.wire_capture()?;
    let connections = Load::start(&world.client, &format!("{},{}", world.near.at(8080), world.far.at(8080)))?;
    let kept = |to, more: &str| HttpLoad::start(&world.client, &format!("--to {to} --per-connection 1000000 {more}"));
    let requests =
        [kept(world.far.at(8000), "")?, kept(world.near.at(8000), "--pause-ms 20")?, kept(world.far.at(8000), "--h2")?];
    let mut replaced = Vec::new();
    for round in 0..20 {
        let agent = if round % 4 == 3 { &mut world.b } else { &mut world.a };
        let old = agent.upgrade().with_context(|| format!("upgrade {round}"))?;
        old.signal(Signal::TERM)?;
        replaced.push(old);
        held.iter_mut().try_for_each(|held| held.still_exchanges())?;
    }
    enrolled(&world.a, 2)?;
    enrolled(&world.b, 1)?;
    for load in requests {
        let report = load.end()?;
        let answered: u64 = report.answers.iter().filter(|(answer, _)| answer.starts_with("200")).map(|(_, n)| n).sum();
        assert_eq!(answered, report.attempted, "{report:?}\n{}", failures(&[&world.a, &world.b])?);
    }
    connections.end_without_failure(&[&world.a, &world.b])?;
    assert_eq!(in_the_clear(&capture.stop()?, world.far.at(0).ip()), 0);
    for mut held in held {
        held.still_exchanges()?;
        assert_eq!(held.end()?.healthy, 3, "connections of before the first upgrade");
    }
    replaced.into_iter().try_for_each(ends_well)
}

#[test]
fn the_agent_before_keeps_its_connections_until_the_deadline_and_tells_how_many() -> Result<()> {
    let mut world = World::with("upgrade-deadline", |agent| agent.set("limits.drainTimeout", "3s"))?;
    let _server = world.far.serve("--listen 8080")?;
    let mut held = hold(&world.client, world.far.at(8080), 3)?;
    let old = world.a.upgrade()?;
    let begun = Instant::now();
    world.a.wait_metrics("it hears of them", SOON, |metrics| {
        metrics.get("heddle_predecessor_connections", &[]) == Some(3.0)
    })?;
    held.still_exchanges()?;
    eventually("they are ended", SOON, || Ok(held.report()?.healthy == 0))?;
    assert!(begun.elapsed() > Duration::from_secs(2), "not before: {:?}", begun.elapsed());
    world
        .a
        .wait_metrics("it has none", SOON, |metrics| metrics.get("heddle_predecessor_connections", &[]) == Some(0.0))?;
    old.signal(Signal::TERM)?;
    ends_well(old)
}

#[test]
fn an_agent_that_was_replaced_stays_until_it_is_told_to_end_or_the_next_one_is_gone() -> Result<()> {
    let mut world = World::new("upgrade-stays")?;
    let mut old = world.a.upgrade()?;
    std::thread::sleep(Duration::from_secs(1));
    assert!(old.running()?, "whatever started it would start it again");
    world.a.kill()?;
    let finished = old.wait(SOON)?;
    assert_eq!(finished.status.code(), Some(1), "{}", finished.describe());
    world.a.restart()?;
    enrolled(&world.a, 2)
}

#[test]
fn the_endpoints_answer_throughout() -> Result<()> {
    let mut world = World::new("upgrade-endpoints")?;
    let mut old = world.a.begin_upgrade()?;
    let mut asked = 0;
    loop {
        assert_eq!(world.a.live()?.status, 200);
        world.a.metrics()?;
        world.a.config_json()?;
        asked += 1;
        let mut said = world.a.process().stderr();
        said.retain(|line| line.contains("took over from the agent before"));
        if !said.is_empty() && world.a.ready()?.status == 200 {
            break;
        }
        assert!(asked < 10_000, "{}", old.describe("was not replaced"));
    }
    old.signal(Signal::TERM)?;
    old.wait(SOON)?;
    let socket = world.client.node().directory().join("admin.sock");
    let heddle = heddle_tests::bed::binary("heddle")?.display().to_string();
    let said = world.client.node().command(&heddle)?.words("status --socket").arg(socket).output(SOON)?;
    assert!(said.contains("2 pods") || said.contains("enrolled"), "by the unix socket, too: {said}");
    Ok(())
}

#[test]
fn a_next_agent_that_fails_leaves_all_as_it_was() -> Result<()> {
    let mut world = world("upgrade-fails")?;
    let _servers = [&world.near, &world.far].map(|pod| pod.serve("--listen 8080 --ident").unwrap());
    let good = std::fs::read_to_string(world.a.config_file())?;
    let bad = format!("{good}metrics: {{address: \"203.0.113.1:15020\"}}\n");
    let load = Load::start(&world.client, &format!("{},{}", world.near.at(8080), world.far.at(8080)))?;
    for _ in 0..3 {
        std::fs::write(world.a.config_file(), &bad)?;
        let old = world.a.begin_upgrade()?;
        let failed = world.a.process().wait(SOON)?;
        assert_eq!(failed.status.code(), Some(1), "{}", failed.describe());
        assert!(failed.stderr.iter().any(|line| line.contains("203.0.113.1:15020")), "{}", failed.describe());
        world.a.put_back(old);
        world.a.process().wait_stderr(SOON, |line| line.contains("does not serve; going on"))?;
    }
    std::fs::write(world.a.config_file(), &good)?;
    // It still follows the mesh, and is the one to take over from.
    let late = world.client.node().pod("late").start()?;
    enrolled(&world.a, 3)?;
    let report: ConnectReport = connect(&late, &format!("--to {} --count 2 --ident", world.far.at(8080)))?;
    assert!(report.all_good(2), "{report:?}");
    let old = world.a.upgrade()?;
    old.signal(Signal::TERM)?;
    ends_well(old)?;
    load.end_without_failure(&[&world.a, &world.b])
}

#[test]
fn an_agent_of_another_place_takes_nothing_over() -> Result<()> {
    let mut world = World::new("upgrade-place")?;
    let good = std::fs::read_to_string(world.a.config_file())?;
    std::fs::write(world.a.config_file(), good.replace("heddle\n", "heddle-other\n"))?;
    let old = world.a.begin_upgrade()?;
    let failed = world.a.process().wait(SOON)?;
    assert!(failed.stderr.iter().any(|line| line.contains("handover.socket of its own")), "{}", failed.describe());
    std::fs::write(world.a.config_file(), &good)?;
    world.a.put_back(old);
    enrolled(&world.a, 2)
}

/// Gives the maps of a node's agent the name of another layout: the next agent makes its own.
fn make_maps_unreadable(world: &World) -> Result<()> {
    let maps = world.client.node().bpffs().join("heddle/maps");
    let versions = std::fs::read_dir(&maps)?.collect::<std::io::Result<Vec<_>>>()?;
    let [version] = &versions[..] else { anyhow::bail!("one layout at a time: {versions:?}") };
    Ok(std::fs::rename(version.path(), maps.join("v0"))?)
}

#[test]
fn an_agent_with_maps_of_another_layout_leaves_nothing_open_on_the_way() -> Result<()> {
    let mut world = world("upgrade-layout")?;
    let _servers = [&world.near, &world.far].map(|pod| pod.serve("--listen 8080 --ident").unwrap());
    let targets = format!("{},{}", world.near.at(8080), world.far.at(8080));
    let far = world.far.at(0).ip();
    let load = Load::start(&world.client, &targets)?;
    let capture = world.bed.wire_capture()?;
    for round in 0..6 {
        make_maps_unreadable(&world)?;
        if round % 2 == 0 {
            let old = world.a.upgrade()?;
            old.signal(Signal::TERM)?;
            ends_well(old)?;
        } else {
            world.a.restart()?;
        }
        enrolled(&world.a, 2)?;
        let report: ConnectReport =
            connect(&world.client, &format!("--to {targets} --count 20 --ident --check-local --check-peername"))?;
        assert!(report.all_good(20), "round {round}: {report:?}");
        let report: ConnectReport = connect(&world.far, &format!("--to {} --count 5 --ident", world.near.at(8080)))?;
        assert!(report.all_good(5), "round {round}, inbound: {report:?}");
    }
    assert_eq!(in_the_clear(&capture.stop()?, far), 0);
    let maps = std::fs::read_dir(world.client.node().bpffs().join("heddle/maps"))?.count();
    assert_eq!(maps, 1, "those of the other layout are gone");
    let report = load.end()?;
    assert!(report.failures.keys().all(|failure| !failure.contains("wrong")), "refused, never wrong: {report:?}");
    Ok(())
}

/// What pods and pins look like from outside, to be compared.
fn left_behind(world: &World) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for node in [world.client.node(), world.far.node()] {
        let mut folders = vec![node.bpffs().join("heddle")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder)? {
                let path = entry?.path();
                all.push(path.display().to_string());
                if path.is_dir() {
                    folders.push(path);
                }
            }
        }
    }
    for pod in [&world.client, &world.near] {
        all.push(pod.command("ip").words("rule").output(SOON)?);
        all.push(pod.command("ip").words("route show table all").output(SOON)?);
    }
    all.sort();
    Ok(all)
}

#[test]
fn fifty_agents_killed_at_random_moments_leave_nothing_open_and_nothing_behind() -> Result<()> {
    let mut world = world("kills")?;
    let _servers = [&world.near, &world.far].map(|pod| pod.serve("--listen 8080 --ident").unwrap());
    let targets = format!("{},{}", world.near.at(8080), world.far.at(8080));
    let before = left_behind(&world)?;
    let capture = world.bed.wire_capture()?;
    let load = Load::start(&world.client, &targets)?;
    for round in 0..50_u64 {
        // Spread over the start of an agent, by a sequence without a period of its own.
        let delay = Duration::from_millis(round * 137 % 400);
        let mut old = match round % 2 {
            0 => None,
            _ => Some(world.a.begin_upgrade()?),
        };
        std::thread::sleep(delay);
        world.a.kill()?;
        if let Some(old) = &mut old {
            old.kill()?;
        }
        world.a.restart()?;
        enrolled(&world.a, 2)?;
        let report: ConnectReport = connect(&world.client, &format!("--to {targets} --count 2 --ident"))?;
        assert!(report.all_good(2), "round {round}: {report:?}");
    }
    let _ = load.end()?;
    assert_eq!(in_the_clear(&capture.stop()?, world.far.at(0).ip()), 0);
    assert_eq!(left_behind(&world)?, before);
    Ok(())
}
