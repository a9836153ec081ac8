//! Pods join and leave the mesh while they run: nothing is restarted, nothing open is cut, nothing new fails.

use std::time::Duration;

use anyhow::Result;
use heddle_tests::bed::{Agent, Bed, Metrics, Pod};
use serde_json::json;

use crate::load::Load;
use crate::world::{SOON, World, connect, echoed, enrolled, hold, lines_to, pair, probe, settle};

#[test]
fn connections_open_before_enrolment_are_not_cut_and_are_counted() -> Result<()> {
    let mut world = World::new("survivors")?;
    let _server = world.far.serve("--listen 8080")?;
    let late = world.client.node().pod("late").outside_mesh().start()?;
    settle(&world.bed, &[&world.a])?;
    let mut v4 = hold(&late, world.far.at(8080), 5)?;
    let mut v6 = hold(&late, world.far.at6(8080), 2)?;
    late.set_mesh(Some(true))?;
    enrolled(&world.a, 3)?;
    counted_before_enrolment(&world.a, 7.0)?;
    v4.still_exchanges()?;
    v6.still_exchanges()?;
    let report = connect(&late, &format!("--to {} --count 3", world.far.at(8080)))?;
    assert!(report.all_good(3), "{report:?}");
    let lines = lines_to(&world.log_of_a()?, world.far.at(8080), "outbound");
    assert_eq!(lines.len(), 3, "new ones go by the mesh");
    assert!(lines.iter().all(|line| line["source_identity"] == late.identity().as_str()), "{lines:?}");
    assert_eq!((v4.end()?.healthy, v6.end()?.healthy), (5, 2));
    Ok(())
}

#[test]
fn connections_to_a_server_open_before_its_enrolment_are_not_cut_and_are_counted() -> Result<()> {
    let world = World::new("server-survivors")?;
    let late = world.far.node().pod("late").outside_mesh().start()?;
    let stranger = world.stranger()?;
    let _server = late.serve("--listen 8080")?;
    world.settle()?;
    let mut outside = hold(&stranger, late.at(8080), 3)?;
    let mut meshed = hold(&world.client, late.at(8080), 2)?;
    late.set_mesh(Some(true))?;
    enrolled(&world.b, 2)?;
    counted_before_enrolment(&world.b, 5.0)?;
    outside.still_exchanges()?;
    meshed.still_exchanges()?;
    Ok(())
}

#[test]
fn connections_of_pods_that_were_there_before_the_agent_are_not_cut_and_are_counted() -> Result<()> {
    let (bed, client, server) = pair("before-agent")?;
    server.set_mesh(Some(false))?;
    let _server = server.serve("--listen 8080")?;
    let mut v4 = hold(&client, server.at(8080), 4)?;
    let mut v6 = hold(&client, server.at6(8080), 2)?;
    let agent = client.node().agent().start()?;
    enrolled(&agent, 1)?;
    counted_before_enrolment(&agent, 6.0)?;
    v4.still_exchanges()?;
    v6.still_exchanges()?;
    assert!(connect(&client, &format!("--to {} --count 3", server.at(8080)))?.all_good(3));
    assert_eq!((v4.end()?.healthy, v6.end()?.healthy), (4, 2));
    bed.close()
}

#[test]
fn a_released_pod_keeps_its_open_connections_and_connects_as_if_there_were_no_mesh() -> Result<()> {
    let world = World::new("release")?;
    let stranger = world.stranger()?;
    let _servers = [&world.client, &world.far, &stranger].map(|pod| pod.serve("--listen 8080").unwrap());
    let mut out = hold(&world.client, world.far.at(8080), 4)?;
    let mut into = hold(&world.far, world.client.at(8080), 4)?;
    world.client.set_mesh(Some(false))?;
    enrolled(&world.a, 1)?;
    world.settle()?;
    out.still_exchanges()?;
    into.still_exchanges()?;
    assert!(echoed(&probe(&world.client, stranger.at(8080), "out")?, "out"));
    assert!(echoed(&probe(&world.client, world.far.at(8080), "far")?, "far"));
    assert!(echoed(&probe(&stranger, world.client.at(8080), "in")?, "in"));
    assert!(echoed(&probe(&world.far, world.client.at(8080), "back")?, "back"));
    assert_eq!((out.end()?.healthy, into.end()?.healthy), (4, 4));
    let log = world.a.access_log();
    assert!(lines_to(&log, stranger.at(8080), "outbound").is_empty(), "{log:?}");
    Ok(())
}

#[test]
fn a_namespaces_label_enrols_its_pods_and_a_pods_own_label_wins() -> Result<()> {
    let bed = Bed::new("labels")?;
    let node = bed.node("a")?;
    bed.objects().put_namespace("shop", None)?;
    let pod = |name: &str| node.pod(name).namespace("shop");
    let (_plain, _out) = (pod("plain").start()?, pod("out").outside_mesh().start()?);
    let own = pod("in").label("heddle.io/mesh", "enabled").start()?;
    let agent = node.agent().start()?;
    enrolled(&agent, 1)?;
    bed.objects().put_namespace("shop", Some(true))?;
    enrolled(&agent, 2)?;
    own.set_mesh(None)?;
    bed.objects().put_namespace("shop", Some(false))?;
    enrolled(&agent, 0)
}

#[test]
fn pods_come_and_go_while_the_agent_runs() -> Result<()> {
    let world = World::new("churn")?;
    for round in 0..3 {
        // The same name each time: another pod, another namespace, the same identity.
        let pod = world.far.node().pod("temporary").start()?;
        enrolled(&world.b, 2)?;
        world.settle()?;
        let _server = pod.serve("--listen 8080 --ident")?;
        let there = connect(&world.client, &format!("--to {} --ident --check-local", pod.at(8080)))?;
        let back = connect(&pod, &format!("--to {} --ident --check-local", pod.at(8080)))?;
        assert!(there.all_good(1) && back.all_good(1), "round {round}: {there:?} {back:?}");
        pod.delete()?;
        enrolled(&world.b, 1)?;
    }
    Ok(())
}

#[test]
fn a_pod_without_ipv6_is_enrolled() -> Result<()> {
    let world = World::new("v4-only")?;
    let pod = world.client.node().pod("v4-only").unlisted().start()?;
    pod.netns().sysctl(&[("ipv6/conf/all/disable_ipv6", "1"), ("ipv6/conf/lo/disable_ipv6", "1")])?;
    let _servers = [&pod, &world.far].map(|pod| pod.serve("--listen 0.0.0.0:8080 --ident").unwrap());
    pod.publish()?;
    enrolled(&world.a, 3)?;
    world.settle()?;
    for (from, to) in [(&pod, &world.far), (&world.far, &pod), (&world.client, &pod)] {
        let line = format!("--to {} --count 3 --ident --check-local --expect-source {}", to.at(8080), from.v4());
        let report = connect(from, &line)?;
        assert!(report.all_good(3), "{} to {}: {report:?}", from.name(), to.name());
    }
    assert_eq!(world.a.ready()?.status, 200);
    Ok(())
}

#[test]
fn pods_of_the_host_network_and_ended_pods_are_not_enrolled() -> Result<()> {
    let world = World::new("not-enrolled")?;
    for (name, host_network, phase) in [("on-host", true, "Running"), ("ended", false, "Succeeded")] {
        world.bed.objects().put(&json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": name, "namespace": "default", "uid": name,
                "annotations": {"heddle.io/netns": world.client.node().netns().path()},
            },
            "spec": {"nodeName": world.client.node().name(), "hostNetwork": host_network, "containers": []},
            "status": {"phase": phase, "podIPs": [{"ip": world.client.node().wire_v4()}]},
        }))?;
    }
    world.settle()?;
    enrolled(&world.a, 2)?;
    assert_eq!((world.a.ready()?.status, world.b.ready()?.status), (200, 200));
    Ok(())
}

#[test]
fn a_client_is_enrolled_and_released_under_load_without_a_failed_connection() -> Result<()> {
    let world = World::new("client-load")?;
    let stranger = world.stranger()?;
    let _servers = [&world.near, &world.far, &stranger].map(|pod| pod.serve("--listen 8080 --ident").unwrap());
    let targets = [&world.near, &world.far, &stranger].map(|pod| pod.at(8080).to_string()).join(",");
    let loaded = Load::start(&world.client, &targets)?;
    toggle(&world.client, &world.a, 2)?;
    loaded.end_without_failure(&[&world.a, &world.b])
}

#[test]
fn a_server_is_enrolled_and_released_under_load_from_its_own_node_without_a_failed_connection() -> Result<()> {
    let world = World::new("near-load")?;
    let _server = world.near.serve("--listen 8080 --ident")?;
    let loaded = Load::start(&world.client, &world.near.at(8080).to_string())?;
    toggle(&world.near, &world.a, 2)?;
    loaded.end_without_failure(&[&world.a, &world.b])
}

#[test]
fn a_server_is_enrolled_and_released_under_load_from_another_node_without_a_failed_connection() -> Result<()> {
    let world = World::new("far-load")?;
    let _server = world.far.serve("--listen 8080 --ident")?;
    let loaded = Load::start(&world.client, &world.far.at(8080).to_string())?;
    toggle(&world.far, &world.b, 1)?;
    loaded.end_without_failure(&[&world.a, &world.b])
}

#[test]
fn a_server_is_enrolled_and_released_under_load_from_outside_without_a_failed_connection() -> Result<()> {
    let world = World::new("outside-load")?;
    let stranger = world.stranger()?;
    let _server = world.far.serve("--listen 8080 --ident")?;
    let loaded = Load::start(&stranger, &world.far.at(8080).to_string())?;
    toggle(&world.far, &world.b, 1)?;
    loaded.end_without_failure(&[&world.a, &world.b])
}

/// They are counted after the enrolment, aside.
fn counted_before_enrolment(agent: &Agent, count: f64) -> Result<()> {
    let survivors =
        |metrics: &Metrics| metrics.sum("heddle_bypassed_connections_total", &[("reason", "before_enrolment")]);
    agent.wait_metrics("survivors are counted", SOON, |metrics| survivors(metrics) == count).map(drop)
}

/// Releases and enrols a pod three times.
fn toggle(pod: &Pod, agent: &Agent, with_it: u32) -> Result<()> {
    for _ in 0..3 {
        pod.set_mesh(Some(false))?;
        enrolled(agent, with_it - 1)?;
        std::thread::sleep(Duration::from_millis(100));
        pod.set_mesh(Some(true))?;
        enrolled(agent, with_it)?;
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
