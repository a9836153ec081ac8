//! The logs of an agent: lines of what is open for long, their number a second, and levels that change while it runs.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use heddle_tests::bed::{Finished, Node, binary};
use serde_json::Value;

use crate::world::{SOON, World, connect, echoed, hold, lines_to, probe};

/// `heddle log-level` on a node.
fn log_level(node: &Node, words: &str) -> Result<Finished> {
    let heddle = binary("heddle")?.display().to_string();
    let socket = node.directory().join("admin.sock").display().to_string();
    node.command(&heddle)?.words(&format!("log-level --socket {socket} {words}")).finish(SOON)
}

#[test]
fn a_long_connection_is_told_while_it_is_open_with_what_the_kernel_knows_of_its_sockets() -> Result<()> {
    let mut world = World::with("long-lines", |agent| agent.set("log.longConnections", "1s"))?;
    let _server = world.far.serve("--listen 8080")?;
    let to = world.far.at(8080);
    let held = hold(&world.client, to, 1)?;
    let is_open = |line: &Value| line["event"] == "open" && line["destination_address"] == to.to_string().as_str();
    world.a.wait_access_log(SOON, is_open)?;
    world.b.wait_access_log(SOON, is_open)?;
    sleep(Duration::from_millis(1500));
    held.end()?;
    for (log, direction) in [(world.log_of_a()?, "outbound"), (world.log_of_b()?, "inbound")] {
        let lines = lines_to(&log, to, direction);
        let (last, before) = lines.split_last().unwrap();
        assert!((1..10).contains(&before.len()), "{lines:?}");
        assert!(before.iter().all(|line| line["event"] == "open" && line["flag"] == "-"), "{lines:?}");
        assert_eq!(last["event"], "end");
        let sent = |line: &Value| line["sent_bytes"].as_u64().unwrap();
        assert!(lines.is_sorted_by_key(sent) && sent(&lines[0]) > 0, "bytes so far: {lines:?}");
        for line in &lines {
            assert_eq!((&line["destination_workload"], &line["start"]), (&"far".into(), &last["start"]), "{line}");
            for end in ["client", "server"] {
                let rtt = line[format!("{end}_rtt_us")].as_u64();
                assert!(rtt.is_some_and(|rtt| rtt > 0 && rtt < 1_000_000), "{end} of {line}");
                assert!(line[format!("{end}_retransmits")].as_u64().is_some_and(|count| count < 100), "{line}");
            }
        }
    }
    Ok(())
}

#[test]
fn without_long_connections_there_are_only_lines_at_the_end() -> Result<()> {
    let mut world = World::with("no-long-lines", |agent| agent.set("log.longConnections", "0s"))?;
    let _server = world.far.serve("--listen 8080")?;
    let held = hold(&world.client, world.far.at(8080), 1)?;
    sleep(Duration::from_millis(1500));
    held.end()?;
    let lines = lines_to(&world.log_of_a()?, world.far.at(8080), "outbound");
    assert_eq!(lines.iter().map(|line| line["event"].clone()).collect::<Vec<_>>(), ["end"]);
    Ok(())
}

#[test]
fn a_flood_of_connections_is_no_flood_of_lines_and_what_was_left_out_is_counted_and_said() -> Result<()> {
    let mut world = World::with("log-rate", |agent| agent.set("log.accessRate", 5))?;
    let _server = world.far.serve("--listen 8080")?;
    let to = world.far.at(8080);
    let flood = connect(&world.client, &format!("--to {to} --count 300 --concurrency 8"))?;
    assert!(flood.all_good(300), "{flood:?}");
    let left_out = [("reason", "rate")];
    let all = |metrics: &heddle_tests::bed::Metrics, written: f64| {
        metrics.sum("heddle_access_log_left_out_total", &left_out) + written
    };
    let written = |world: &World| lines_to(&world.a.access_log(), to, "outbound").len();
    crate::world::eventually("each line is written or counted", SOON, || {
        Ok(all(&world.a.metrics()?, written(&world) as f64) == 300.0)
    })?;
    assert!((1..150).contains(&written(&world)), "{} lines", written(&world));
    world
        .a
        .process()
        .wait_stderr(SOON, |line| line.contains("access log lines out") && line.contains("log.accessRate"))?;
    Ok(())
}

/// A message of the kernel programs: a packet that left the pod past the capture.
const DROPPED: &str = "dropped a packet from device";

fn escape(world: &World) -> Result<()> {
    let (from, to) = (world.client.at(4242), world.far.at(80));
    let _sent: Value = world.client.ask(&format!("raw-syn --count 1 --data x --from {from} --to {to}"))?;
    Ok(())
}

#[test]
fn the_kernel_programs_log_appears_when_the_level_asks_for_it_and_follows_it_live() -> Result<()> {
    let mut world = World::with("kernel-log", |agent| agent.set("log.level", "info"))?;
    let node = world.client.node().clone();
    escape(&world)?;
    let shown = log_level(&node, "")?;
    let text = shown.stdout.join("\n");
    assert!(shown.status.success() && text.contains("level       info") && text.contains("access log  on"), "{text}");

    let changed = log_level(&node, "info,heddle::kernel=debug")?;
    ensure!(changed.status.success(), "{}", changed.describe());
    sleep(Duration::from_millis(200));
    assert!(!world.a.process().stderr().iter().any(|line| line.contains(DROPPED)), "the level was info before");
    escape(&world)?;
    let line = world.a.process().wait_stderr(SOON, |line| line.contains(DROPPED))?;
    assert!(line.contains("heddle::kernel") && line.contains("DEBUG"), "{line}");

    world.a.process().wait_stderr(SOON, |line| line.contains("the level of this log is being changed"))?;
    let reset = log_level(&node, "--reset")?;
    ensure!(reset.status.success(), "{}", reset.describe());
    let count = |world: &mut World| world.a.process().stderr().iter().filter(|line| line.contains(DROPPED)).count();
    sleep(Duration::from_millis(200));
    let before = count(&mut world);
    escape(&world)?;
    sleep(Duration::from_millis(300));
    assert_eq!(count(&mut world), before, "the level is info again");
    Ok(())
}

#[test]
fn the_kernel_programs_log_appears_when_it_is_configured() -> Result<()> {
    let mut world = World::with("kernel-log-set", |agent| agent.set("log.level", "info,heddle::kernel=debug"))?;
    escape(&world)?;
    world.a.process().wait_stderr(SOON, |line| line.contains(DROPPED) && line.contains("heddle::kernel"))?;
    Ok(())
}

#[test]
fn a_bad_level_is_refused_with_what_is_wrong_and_the_access_log_is_turned_off_and_on() -> Result<()> {
    let mut world = World::new("log-level")?;
    let node = world.client.node().clone();
    let refused = log_level(&node, "info,heddle::capture=loud")?;
    assert_eq!(refused.status.code(), Some(2));
    let text = refused.stderr.join("\n");
    assert!(text.contains("log directive 2") && text.contains("heddle::capture=loud"), "{text}");

    let _server = world.far.serve("--listen 8080-8081")?;
    ensure!(log_level(&node, "--access off")?.status.success(), "off");
    assert!(echoed(&probe(&world.client, world.far.at(8080), "unseen")?, "unseen"));
    ensure!(log_level(&node, "--access on")?.status.success(), "on");
    assert!(echoed(&probe(&world.client, world.far.at(8081), "seen")?, "seen"));
    let log = world.log_of_a()?;
    let lines = [8080, 8081].map(|port| lines_to(&log, world.far.at(port), "outbound").len());
    assert_eq!(lines, [0, 1]);
    Ok(())
}
