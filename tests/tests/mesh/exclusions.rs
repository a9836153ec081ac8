//! What pods leave out of the mesh, by annotation or by a Capture document: it works, it bypasses the agent, and it is counted.

use anyhow::Result;
use heddle_tests::bed::Pod;
use serde_json::{Value, json};

use crate::world::{SOON, World, echoed, eventually, lines_to, probe, refused};

const OUTBOUND_PORTS: &str = "heddle.io/exclude-outbound-ports";
const OUTBOUND_CIDRS: &str = "heddle.io/exclude-outbound-cidrs";
const INBOUND_PORTS: &str = "heddle.io/exclude-inbound-ports";

#[test]
fn excluded_outbound_ports_bypass_the_agent() -> Result<()> {
    let mut world = World::new("out-ports")?;
    let stranger = world.stranger()?;
    let _server = stranger.serve("--listen 80-82")?;
    world.client.annotate(OUTBOUND_PORTS, Some("80, 81"))?;
    in_force(&world, "excludeOutboundPorts", &json!([80, 81]))?;
    let capture = world.bed.wire_capture()?;
    for to in [stranger.at(80), stranger.at6(81), stranger.at(82)] {
        assert!(echoed(&probe(&world.client, to, "needle")?, "needle"), "{to}");
    }
    let record = capture.stop()?;
    assert!(record.contains(b"needle"), "what is left out is not protected");
    let log = world.log_of_a()?;
    let logged = [stranger.at(80), stranger.at6(81), stranger.at(82)].map(|to| lines_to(&log, to, "outbound").len());
    assert_eq!(logged, [0, 0, 1]);
    let metrics = world.a.metrics()?;
    assert_eq!(metrics.sum("heddle_bypassed_connections_total", &[("reason", "excluded_port")]), 2.0);
    assert_eq!(metrics.sum("heddle_kernel_events_total", &[("event", "outbound_excluded_port")]), 2.0);

    world.client.annotate(OUTBOUND_PORTS, None)?;
    in_force(&world, "excludeOutboundPorts", &json!([]))?;
    assert!(echoed(&probe(&world.client, stranger.at(80), "again")?, "again"));
    assert_eq!(lines_to(&world.log_of_a()?, stranger.at(80), "outbound").len(), 1, "live, both ways");
    Ok(())
}

#[test]
fn excluded_outbound_networks_bypass_the_agent() -> Result<()> {
    let mut world = World::new("out-cidrs")?;
    let (inside, outside) = (world.stranger()?, world.near.node().pod("other").unlisted().start()?);
    let _servers = [&inside, &outside].map(|pod| pod.serve("--listen 80").unwrap());
    let networks = format!("{}/32,{}/64", inside.v4(), inside.v6());
    world.client.annotate(OUTBOUND_CIDRS, Some(&networks))?;
    eventually("the networks are in force", SOON, || {
        let excluded = local(&world, &world.client)?["excludeOutboundCidrs"].take();
        Ok(excluded.as_array().is_some_and(|networks| networks.len() == 2))
    })?;
    for pod in [&inside, &outside] {
        for to in [pod.at(80), pod.at6(80)] {
            assert!(echoed(&probe(&world.client, to, "hello")?, "hello"), "{to}");
        }
    }
    let mapped = world.client.ask(&format!("probe --to {} --send mapped --mapped-v6", inside.at(80)))?;
    assert!(echoed(&mapped, "mapped"), "{mapped:?}");
    let log = world.log_of_a()?;
    let count = |pod: &Pod| [pod.at(80), pod.at6(80)].map(|to| lines_to(&log, to, "outbound").len());
    assert_eq!((count(&inside), count(&outside)), ([0, 0], [1, 1]));
    let reason = [("reason", "excluded_network")];
    assert_eq!(world.a.metrics()?.sum("heddle_bypassed_connections_total", &reason), 3.0);
    Ok(())
}

#[test]
fn excluded_inbound_ports_go_straight_to_the_application_also_when_strict() -> Result<()> {
    let mut world = World::with("in-ports", |agent| agent.strict())?;
    let stranger = world.stranger()?;
    let _server = world.far.serve("--listen 80-81")?;
    world.far.annotate(INBOUND_PORTS, Some("80"))?;
    eventually("the port is in force", SOON, || {
        Ok(local_of(&world.b.config_json()?, &world.far)["excludeInboundPorts"] == json!([80]))
    })?;
    for to in [world.far.at(80), world.far.at6(80)] {
        assert!(echoed(&probe(&stranger, to, "plain")?, "plain"), "{to}");
    }
    assert!(refused(&probe(&stranger, world.far.at(81), "plain")?), "only that port");
    let log = world.log_of_b()?;
    assert_eq!(lines_to(&log, world.far.at(80), "inbound").len(), 0);
    assert_eq!(lines_to(&log, world.far.at(81), "inbound").len(), 1);
    let metrics = world.b.metrics()?;
    assert_eq!(metrics.sum("heddle_kernel_events_total", &[("event", "inbound_excluded_port")]), 2.0);
    assert_eq!(metrics.sum("heddle_bypassed_connections_total", &[("reason", "excluded_port")]), 2.0);
    assert!(echoed(&probe(&world.client, world.far.at(80), "meshed")?, "meshed"), "the mesh reaches it too");
    Ok(())
}

#[test]
fn the_agents_tunnel_port_cannot_be_excluded() -> Result<()> {
    let world = World::new("in-hbone")?;
    world.far.annotate(INBOUND_PORTS, Some("15008,15006,15001"))?;
    let _server = world.far.serve("--listen 80")?;
    world.settle()?;
    assert!(echoed(&probe(&world.client, world.far.at(80), "hello")?, "hello"));
    Ok(())
}

#[test]
fn a_bad_exclusion_is_reported_and_excludes_nothing() -> Result<()> {
    let mut world = World::new("bad-exclusion")?;
    let stranger = world.stranger()?;
    let _server = stranger.serve("--listen 80")?;
    world.client.annotate(OUTBOUND_PORTS, Some("80,http"))?;
    world.client.annotate(OUTBOUND_CIDRS, Some("10.0.0.0/99"))?;
    world.a.wait_metrics("two problems are reported", SOON, |metrics| {
        metrics.get("heddle_object_problems", &[]) == Some(2.0)
    })?;
    let problems = world.a.config_json()?["problems"].to_string();
    for part in ["Pod default/client", OUTBOUND_PORTS, "http", OUTBOUND_CIDRS, "10.0.0.0/99"] {
        assert!(problems.contains(part), "{part} is not in {problems}");
    }
    assert!(echoed(&probe(&world.client, stranger.at(80), "hello")?, "hello"));
    assert_eq!(lines_to(&world.log_of_a()?, stranger.at(80), "outbound").len(), 1, "captured all the same");
    Ok(())
}

#[test]
fn a_capture_document_excludes_ports_while_it_is_there() -> Result<()> {
    let mut world = World::with("capture-document", |agent| agent.strict())?;
    let stranger = world.stranger()?;
    let _servers = [&stranger, &world.far].map(|pod| pod.serve("--listen 80-81").unwrap());
    let logged = |world: &mut World| -> Result<[usize; 2]> {
        let log = world.log_of_a()?;
        Ok([stranger.at(80), stranger.at(81)].map(|to| lines_to(&log, to, "outbound").len()))
    };
    let inbound = |world: &World| world.far.at(80);
    assert!(refused(&probe(&stranger, inbound(&world), "plain")?), "without a document");
    let capture = |name: &str, app: &str, key: &str| {
        format!(
            "---\napiVersion: heddle.io/v1alpha1\nkind: Capture\nmetadata: {{name: {name}, namespace: default}}\n\
             spec: {{selector: {{matchLabels: {{app: {app}}}}}, {key}: [80]}}\n"
        )
    };
    let text = capture("out", "client", "excludeOutboundPorts") + &capture("in", "far", "excludeInboundPorts");
    world.bed.objects().put_text("captures.yaml", &text)?;
    in_force(&world, "excludeOutboundPorts", &json!([80]))?;
    eventually("the inbound port is open", SOON, || Ok(echoed(&probe(&stranger, inbound(&world), "plain")?, "plain")))?;
    assert!(refused(&probe(&stranger, world.far.at(81), "plain")?), "only that port");
    for port in [80, 81] {
        assert!(echoed(&probe(&world.client, stranger.at(port), "out")?, "out"), "{port}");
    }
    assert_eq!(logged(&mut world)?, [0, 1], "one bypasses the agent");

    world.bed.objects().remove("captures", "", "")?;
    in_force(&world, "excludeOutboundPorts", &json!([]))?;
    eventually("the inbound port is closed", SOON, || Ok(refused(&probe(&stranger, inbound(&world), "plain")?)))?;
    assert!(echoed(&probe(&world.client, stranger.at(80), "out")?, "out"));
    assert_eq!(logged(&mut world)?, [1, 1], "captured again");
    Ok(())
}

/// Waits until the client's rules are as expected; then they are in the kernel with the next reading at the latest.
fn in_force(world: &World, rule: &str, value: &Value) -> Result<()> {
    eventually("the client's exclusions are in force", SOON, || Ok(local(world, &world.client)?[rule] == *value))?;
    std::thread::sleep(std::time::Duration::from_millis(50));
    Ok(())
}

fn local(world: &World, pod: &Pod) -> Result<Value> {
    Ok(local_of(&world.a.config_json()?, pod))
}

fn local_of(config: &Value, pod: &Pod) -> Value {
    let workloads = config["mesh"]["workloads"].as_array().cloned().unwrap_or_default();
    let own = workloads.into_iter().find(|workload| workload["uid"] == pod.uid());
    own.map(|workload| workload["local"].clone()).unwrap_or_default()
}
