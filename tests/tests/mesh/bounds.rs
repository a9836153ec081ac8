//! The agent at its own bounds: what is new is refused, clearly and at once; what is there goes on; and afterwards all is as before.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use heddle_tests::bed::Metrics;
use heddle_tests::peer::http::report::Ask;
use heddle_tests::peer::report::{BulkReport, ConnectReport};
use serde_json::Value;

use crate::http::tools::{Client, Web};
use crate::world::{SOON, World, connect, echoed, enrolled, eventually, hold, probe, refused};

const MIB: f64 = (1 << 20) as f64;

#[test]
fn pods_share_the_agents_connections_and_the_last_are_for_those_that_have_few() -> Result<()> {
    let mut world = World::new("bounds-connections")?;
    let _server = world.far.serve("--listen 8080")?;
    let to = world.far.at(8080);
    bound(&mut world, "connections", 40)?;
    // Nine tenths are for whoever comes first.
    let mut many = hold(&world.client, to, 36)?;
    assert!(!is_overloaded(&world.a.metrics()?, "memory"));
    let metrics = world.a.wait_metrics("the agent is full", SOON, |metrics| is_overloaded(metrics, "connections"))?;
    assert_eq!(sizes(&metrics, ["heddle_node_connections", "heddle_node_connections_limit"]), [36.0, 40.0]);
    let beyond = probe(&world.client, to, "beyond")?;
    assert!(refused(&beyond), "{beyond:?}");
    // Four are kept, two for each of the two pods.
    let mut few = hold(&world.near, to, 2)?;
    few.still_exchanges()?;
    let beyond = probe(&world.near, to, "beyond")?;
    assert!(refused(&beyond), "{beyond:?}");
    many.still_exchanges()?;
    few.still_exchanges()?;
    assert_eq!(refusals(&world.a.metrics()?, "connections"), 2.0);
    let line = world.a.wait_access_log(SOON, |line| line["flag"] == "OM")?;
    assert!(line["error"].as_str().is_some_and(|error| error.contains("limits.connections")), "{line}");

    assert_eq!(many.end()?.healthy, 36);
    world.a.wait_metrics("there is room again", SOON, |metrics| !is_overloaded(metrics, "connections"))?;
    assert!(connect(&world.client, &format!("--to {to} --count 50 --concurrency 10"))?.all_good(50));
    assert_eq!(few.end()?.healthy, 2);
    Ok(())
}

#[test]
fn a_node_is_full_for_connections_in_tunnels_and_in_the_clear_too() -> Result<()> {
    let mut world = World::new("bounds-inbound")?;
    let (_server, stranger) = (world.far.serve("--listen 8080")?, world.stranger()?);
    let to = world.far.at(8080);
    std::mem::swap(&mut world.a, &mut world.b);
    bound(&mut world, "connections", 20)?;
    std::mem::swap(&mut world.a, &mut world.b);
    let mut held = hold(&stranger, to, 18)?;
    // What the kernel has accepted, the agent has then, too.
    held.still_exchanges()?;
    // Two are kept, and the one pod of this node has more.
    for from in [&stranger, &world.client] {
        let beyond = probe(from, to, "beyond")?;
        assert!(refused(&beyond), "{}: {beyond:?}", from.name());
    }
    let tunnel = [("reason", "overloaded")];
    world.b.wait_metrics("a tunnel was refused", SOON, |metrics| {
        metrics.sum("heddle_refused_connections_total", &tunnel) >= 1.0
    })?;
    held.still_exchanges()?;
    assert_eq!(held.end()?.healthy, 18);
    eventually("there is room again", SOON, || Ok(echoed(&probe(&world.client, to, "now")?, "now")))
}

#[test]
fn with_few_descriptors_connections_are_refused_before_there_is_none_left() -> Result<()> {
    let world = World::with("bounds-descriptors", |agent| agent.descriptors(800))?;
    let _server = world.far.serve("--listen 8080")?;
    let to = world.far.at(8080);
    let before = world.a.metrics()?;
    let mut held = hold(&world.client, to, 100)?;
    held.still_exchanges()?;
    let report = connect(&world.near, &format!("--to {to} --count 2000 --concurrency 200"))?;
    let resets = only_resets(&report)?;
    assert!(report.succeeded > 0 && resets > 0, "some have room, and not all: {report:?}");
    held.still_exchanges()?;
    let metrics = world.a.metrics()?;
    assert_eq!(metrics.get("process_max_fds", &[]), Some(800.0));
    for agent in [&world.a, &world.b] {
        assert!(!agent.complained("accept a connection"), "descriptors ran out");
    }
    assert!(refusals(&metrics, "connections") + refusals(&world.b.metrics()?, "connections") >= resets as f64);
    assert_eq!(held.end()?.healthy, 100);
    assert!(connect(&world.near, &format!("--to {to} --count 200 --concurrency 20"))?.all_good(200));
    let open = |metrics: &Metrics| metrics.get("process_open_fds", &[]).unwrap_or_default();
    // Tunnels and kept connections stay for a while.
    world.a.wait_metrics("its descriptors are free again", SOON, |metrics| open(metrics) < open(&before) + 40.0)?;
    Ok(())
}

#[test]
fn an_agent_without_descriptors_serves_again_once_it_has_some() -> Result<()> {
    // More connections than there are descriptors for: whoever configures that has the kernel refuse them.
    let world = World::with("bounds-no-descriptors", |agent| agent.descriptors(300).set("limits.connections", 10_000))?;
    let _server = world.far.serve("--listen 8080")?;
    let to = world.far.at(8080);
    let line = format!("connect --to {to} --count 100000 --concurrency 400 --until-eof --bytes 100000 --timeout 3");
    let mut storm = world.client.peer(&line)?.start()?;
    eventually("descriptors are short", SOON, || {
        Ok(world.a.complained("Descriptors") || world.a.complained("files and sockets open"))
    })?;
    storm.close_stdin();
    storm.wait(SOON * 3)?;
    eventually("it serves as before", SOON, || {
        let report = connect(&world.client, &format!("--to {to} --count 50 --concurrency 5"))?;
        Ok(report.all_good(50))
    })?;
    let failures = world.a.metrics()?.sum("heddle_accept_failures_total", &[]);
    anyhow::ensure!((failures > 0.0) == world.a.complained("accept a connection"), "{failures} accepts failed");
    Ok(())
}

#[test]
fn without_memory_nothing_new_is_taken_on_what_is_there_goes_on_and_memory_is_given_back() -> Result<()> {
    const STREAMS: u64 = 48;
    let mut world = World::new("bounds-memory")?;
    let _servers = ["--listen 8080 --mode source", "--listen 8081"].map(|line| world.far.serve(line).unwrap());
    let idle = resident(&world.a.metrics()?);
    let limit = idle + 24.0 * MIB;
    bound(&mut world, "memory", limit as u64)?;
    let mut held = hold(&world.near, world.far.at(8081), 4)?;
    // Each has up to a mebibyte unread.
    let line = format!("stall --to {} --bytes {} --count {STREAMS} --timeout 90", world.far.at(8080), 8 << 20);
    let mut stalled = world.client.peer(&line)?.start()?;
    world.a.wait_metrics("memory is short", SOON, |metrics| is_overloaded(metrics, "memory"))?;
    let beyond = probe(&world.near, world.far.at(8081), "beyond")?;
    assert!(refused(&beyond), "{beyond:?}");
    let line = world.a.wait_access_log(SOON, |line| line["flag"] == "OM")?;
    assert!(line["error"].as_str().is_some_and(|error| error.contains("limits.memory")), "{line}");
    held.still_exchanges()?;
    let most = resident(&world.a.metrics()?);
    assert!(most < limit + 40.0 * MIB, "{} MiB, and {} MiB are the bound", most / MIB, limit / MIB);

    stalled.write_line("go on")?;
    let finished = stalled.wait(SOON * 6)?;
    let report: BulkReport = serde_json::from_str(finished.stdout.last().context("no report")?)?;
    assert_eq!(report.failures.len(), 0, "{report:?}");
    // The allocator gives pages back by and by, while there is something to do.
    eventually("memory is free again", SOON * 3, || {
        held.still_exchanges()?;
        Ok(!is_overloaded(&world.a.metrics()?, "memory"))
    })?;
    assert!(refusals(&world.a.metrics()?, "memory") >= 1.0);
    assert!(connect(&world.near, &format!("--to {} --count 20", world.far.at(8081)))?.all_good(20));
    assert_eq!(held.end()?.healthy, 4);
    Ok(())
}

#[test]
fn what_is_in_the_kernels_tables_is_told_and_goes_with_its_pod() -> Result<()> {
    let world = World::new("bounds-tables")?;
    let entries = |metrics: &Metrics, map| metrics.get("heddle_map_entries", &[("map", map)]);
    let metrics = world.a.metrics()?;
    assert_eq!(metrics.get("heddle_map_max_entries", &[("map", "PODS")]), Some(4096.0));
    assert_eq!(entries(&metrics, "PODS"), Some(2.0));
    let listeners = entries(&metrics, "LISTENERS").context("no such series")?;
    let maps: BTreeSet<_> = metrics.matching("heddle_map_entries", &[]).map(|it| it.labels["map"].clone()).collect();
    let all = ["EXCLUDED_NETWORKS", "EXCLUDED_PORTS", "LISTENERS", "PODS", "POD_ADDRESSES", "PROBED_PORTS", "WIRES"];
    assert_eq!(maps, all.map(str::to_owned).into());
    let recent = |metrics: &Metrics, map| metrics.get("heddle_map_recent_entries", &[("map", map)]);
    let before = ["FLOWS", "AGENT_DIALS", "VERDICTS"].map(|map| recent(&metrics, map));
    assert!(before.iter().all(Option::is_some), "{before:?}");
    // Nobody answers: what the agent has entered for the dial stays.
    let _ = connect(&world.near, "--to 203.0.113.1:9 --count 3 --timeout 1");
    let metrics = world.a.metrics()?;
    assert!(recent(&metrics, "AGENT_DIALS") > before[1], "{before:?}");
    world.near.unpublish()?;
    enrolled(&world.a, 1)?;
    let metrics = world.a.metrics()?;
    assert_eq!((entries(&metrics, "PODS"), entries(&metrics, "LISTENERS")), (Some(1.0), Some(listeners / 2.0)));
    Ok(())
}

#[test]
fn connections_that_ask_nothing_are_closed_in_both_versions_and_those_that_wait_for_an_answer_are_not() -> Result<()> {
    let web = Web::within(World::with("bounds-idle", |agent| agent.set("http.idleTimeout", "1s"))?)?;
    let open =
        || Ok::<_, anyhow::Error>(web.world.a.metrics()?.sum("heddle_pod_connections", &[("direction", "outbound")]));
    for h2 in [false, true] {
        let mut client = Client::of(&web.world.client)?;
        let slow = client.ask(Ask { h2, ..web.get("/").behave("delay=2500") })?;
        assert_eq!(slow.status, 200, "h2 {h2}: {slow:?}");
        eventually("it is closed", SOON, || Ok(open()? == 0.0))?;
        assert_eq!(client.ask(Ask { h2, ..web.get("/") })?.status, 200, "h2 {h2}");
    }
    Ok(())
}

/// Has the first agent start anew with this among its limits.
fn bound(world: &mut World, key: &str, value: u64) -> Result<()> {
    let pods = world.a.metrics()?.get("heddle_enrolled_pods", &[]).context("no such metric")?;
    let file = world.a.config_file().to_owned();
    let mut config: Value = serde_saphyr::from_str(&std::fs::read_to_string(&file)?)?;
    config["limits"][key] = value.into();
    std::fs::write(&file, serde_saphyr::to_string(&config)?)?;
    world.a.restart()?;
    enrolled(&world.a, pods as u32)
}

fn is_overloaded(metrics: &Metrics, resource: &str) -> bool {
    metrics.get("heddle_overload", &[("resource", resource)]) == Some(1.0)
}

fn refusals(metrics: &Metrics, resource: &str) -> f64 {
    metrics.sum("heddle_overload_refusals_total", &[("resource", resource)])
}

fn resident(metrics: &Metrics) -> f64 {
    metrics.get("process_resident_memory_bytes", &[]).unwrap_or_default()
}

fn sizes<const N: usize>(metrics: &Metrics, names: [&str; N]) -> [f64; N] {
    names.map(|name| metrics.get(name, &[]).unwrap_or_default())
}

/// How many were refused, if that is all that failed.
fn only_resets(report: &ConnectReport) -> Result<u64> {
    ensure!(report.failures.keys().all(|failure| failure.ends_with("ECONNRESET")), "{report:?}");
    Ok(report.failures.values().sum())
}
