//! AuthorizationPolicies over real connections: who is let in, who is refused, and what becomes of connections that were
//! open before.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use crate::world::{SOON, World, echoed, eventually, hold, lines_to, probe, refused};

/// Within this time an open connection that is no longer allowed is closed: a second is promised, the rest is for a machine
/// that is busy with other tests.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);

fn config_map(text: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "access", "namespace": "default", "labels": {"heddle.io/config": "true"}},
        "data": {"access.yaml": text},
    })
}

/// A policy of the namespace `default`, for all its pods.
fn policy(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    )
}

fn put(world: &World, policies: &[String]) -> Result<()> {
    world.bed.objects().put(&config_map(&policies.concat()))?;
    world.settle()
}

#[test]
fn deny_wins_allow_must_match_and_without_policies_all_are_let_in() -> Result<()> {
    let mut world = World::new("access")?;
    let _server = world.far.serve("--listen 8080 --listen 8081")?;
    let client = world.client.identity().replace("spiffe://", "");
    let near = world.near.identity().replace("spiffe://", "");
    let from = |principal: &str| format!("from: [{{source: {{principals: [{principal}]}}}}]");
    let allow_near = policy("allow-near", &format!("{{rules: [{{{}}}]}}", from(&near)));
    let allow_port = policy("allow-port", "{rules: [{to: [{operation: {ports: [\"8081\"]}}]}]}");
    let deny_client = policy("deny-client", &format!("{{action: DENY, rules: [{{{}}}]}}", from(&client)));
    let nothing = policy("nothing", "{}");
    let methods = policy("methods", "{action: DENY, rules: [{to: [{operation: {methods: [DELETE]}}]}]}");
    let tried = "{action: DENY, rules: [{}]}";
    let dry_run =
        policy("tried", tried).replace("{name: tried}", "{name: tried, annotations: {heddle.io/dry-run: \"true\"}}");
    // Policies; whether the client, then near, reach port 8080, then 8081; the policy that refuses the client on 8080.
    let cases: [(&str, &[String], [[bool; 2]; 2], Option<&str>); 7] = [
        ("no policy", &[], [[true, true], [true, true]], None),
        ("allow near", &[allow_near.clone()], [[false, false], [true, true]], None),
        ("allow a port beside", &[allow_near.clone(), allow_port], [[false, true], [true, true]], None),
        ("deny the client", &[deny_client.clone()], [[false, false], [true, true]], Some("default/deny-client")),
        ("nobody", &[nothing], [[false, false], [false, false]], None),
        ("what cannot be inspected", &[methods], [[false, false], [false, false]], Some("default/methods")),
        ("a trial", &[dry_run], [[true, true], [true, true]], None),
    ];
    for (what, policies, expected, by) in cases {
        put(&world, policies)?;
        for (pod, expected) in [&world.client, &world.near].into_iter().zip(expected) {
            for (port, expected) in [8080, 8081].into_iter().zip(expected) {
                for to in [world.far.at(port), world.far.at6(port)] {
                    let report = probe(pod, to, "hello")?;
                    assert_eq!(echoed(&report, "hello"), expected, "{what}: {} to {to}: {report:?}", pod.name());
                    assert_eq!(refused(&report), !expected, "{what}: {} to {to}: {report:?}", pod.name());
                }
            }
        }
        let to = world.far.at(8080);
        let log = world.log_of_b()?;
        let line = lines_to(&log, to, "inbound").into_iter().rev().find(|line| line["source_workload"] == "client");
        let line = line.unwrap_or_default();
        assert_eq!(line["flag"], if expected[0][0] { "-" } else { "DENY" }, "{what}: {line}");
        if let Some(by) = by {
            assert!(line["error"].as_str().is_some_and(|error| error.contains(by)), "{what}: {line}");
        }
    }
    Ok(())
}

#[test]
fn same_node_connections_and_plaintext_are_judged_alike() -> Result<()> {
    let world = World::new("access-near")?;
    let stranger = world.stranger()?;
    let _servers = [world.near.serve("--listen 8080")?, world.far.serve("--listen 8080")?];
    let namespaces = policy("mesh-only", "{rules: [{from: [{source: {namespaces: [default]}}]}]}");
    put(&world, &[namespaces])?;
    assert!(echoed(&probe(&world.client, world.near.at(8080), "hello")?, "hello"), "same node, by its identity");
    assert!(echoed(&probe(&world.client, world.far.at(8080), "hello")?, "hello"), "other node, by its identity");
    assert!(refused(&probe(&stranger, world.far.at(8080), "hello")?), "plaintext has no identity");
    let blocks = format!("{{rules: [{{from: [{{source: {{ipBlocks: [{}]}}}}]}}]}}", stranger.v4());
    put(&world, &[policy("by-address", &blocks)])?;
    assert!(echoed(&probe(&stranger, world.far.at(8080), "hello")?, "hello"), "an address that is allowed");
    assert!(refused(&probe(&world.client, world.near.at(8080), "hello")?), "an address that is not");
    Ok(())
}

#[test]
fn open_connections_that_a_policy_forbids_are_closed_within_its_time_and_the_others_stay() -> Result<()> {
    let world = World::new("recheck")?;
    let _servers = [world.near.serve("--listen 8080")?, world.far.serve("--listen 8080")?];
    let mut refused = hold(&world.client, world.far.at(8080), 20)?;
    let mut kept = hold(&world.near, world.far.at(8080), 20)?;
    let mut elsewhere = hold(&world.client, world.near.at(8080), 5)?;
    let client = world.client.identity().replace("spiffe://", "");
    let from = format!("{{source: {{principals: [{client}]}}}}");
    let deny = policy(
        "late",
        &format!("{{action: DENY, rules: [{{from: [{from}], to: [{{operation: {{ports: [\"8080\"]}}}}]}}]}}"),
    );
    let to_far = deny.replace("spec: {", "spec: {selector: {matchLabels: {tier: back}}, ");
    // A policy that selects nobody yet.
    put(&world, &[to_far])?;
    refused.still_exchanges()?;
    put(&world, &[deny])?;
    let written = Instant::now();
    eventually("the client's connections are closed", CLOSED_WITHIN, || Ok(refused.report()?.healthy == 0))?;
    eventually("those within the node as well", CLOSED_WITHIN, || Ok(elsewhere.report()?.healthy == 0))?;
    kept.still_exchanges()?;
    world.b.wait_metrics("they are counted", SOON, |metrics| {
        metrics.sum("heddle_rechecked_connections_closed_total", &[]) == 20.0
    })?;
    assert!(written.elapsed() < SOON + CLOSED_WITHIN * 2);
    Ok(())
}

#[test]
fn a_pod_that_is_relabelled_gets_the_policies_of_its_new_labels() -> Result<()> {
    let world = World::new("relabel")?;
    let _server = world.far.serve("--listen 8080")?;
    let spec = "{selector: {matchLabels: {tier: back}}, action: DENY, rules: [{}]}";
    put(&world, &[policy("back", spec)])?;
    assert!(echoed(&probe(&world.client, world.far.at(8080), "hello")?, "hello"), "not selected yet");
    let mut open = hold(&world.client, world.far.at(8080), 3)?;
    world.far.relabel("tier", "back")?;
    eventually("open connections are closed", CLOSED_WITHIN, || Ok(open.report()?.healthy == 0))?;
    assert!(refused(&probe(&world.client, world.far.at(8080), "hello")?), "selected");
    world.far.relabel("tier", "front")?;
    eventually("it is let in again", SOON, || Ok(echoed(&probe(&world.client, world.far.at(8080), "hello")?, "hello")))
}
