//! AuthorizationPolicy in force: who gets in by proven identity, and what becomes of open connections when that changes.

use anyhow::Result;

use crate::world::{SOON, World, echoed, eventually, hold, lines_to, probe, refused};

/// An AuthorizationPolicy of the namespace `default` for the pod `far`.
fn policy(name: &str, action: &str, rules: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}, namespace: default}}\n\
         spec: {{selector: {{matchLabels: {{app: far}}}}, action: {action}, rules: {rules}}}\n"
    )
}

/// An AuthorizationPolicy of the namespace `default`.
fn for_all(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}, namespace: default}}\n\
         spec: {spec}\n"
    )
}

/// A rule for connections from a service account of the namespace `default`.
fn from(account: &str) -> String {
    format!("[{{from: [{{source: {{principals: [cluster.local/ns/default/sa/{account}]}}}}]}}]")
}

/// Puts documents in force at both nodes; an empty text takes them back.
fn in_force(world: &World, text: &str) -> Result<()> {
    world.bed.objects().put_text("policies.yaml", text)?;
    world.settle()
}

#[test]
fn policies_let_in_who_is_proven_and_refuse_the_others_by_name() -> Result<()> {
    let mut world = World::new("access")?;
    let stranger = world.stranger()?;
    let _server = world.far.serve("--listen 8080")?;
    in_force(&world, &policy("client-only", "ALLOW", &from("client")))?;
    for to in [world.far.at(8080), world.far.at6(8080)] {
        assert!(echoed(&probe(&world.client, to, "allowed")?, "allowed"), "{to}");
        for other in [&world.near, &stranger] {
            let report = probe(other, to, "denied")?;
            assert!(refused(&report), "{} to {to}: {report:?}", other.name());
        }
    }
    let denied: Vec<_> = lines_to(&world.log_of_b()?, world.far.at(8080), "inbound")
        .into_iter()
        .filter(|line| line["flag"] == "DENY")
        .collect();
    assert_eq!(denied.len(), 2, "{denied:?}");
    assert!(denied.iter().all(|line| line["policy"] == "AuthorizationPolicy default/client-only"), "{denied:?}");
    let line = lines_to(&world.log_of_a()?, world.far.at(8080), "outbound").pop().unwrap_or_default();
    assert_eq!(line["flag"], "DENY", "the client's node is told: {line}");
    let metrics = world.b.metrics()?;
    assert_eq!(metrics.sum("heddle_denied_connections_total", &[("reason", "nothing_allows")]), 4.0);
    let hits = [("policy", "AuthorizationPolicy default/client-only"), ("effect", "denied")];
    assert_eq!(metrics.sum("heddle_policy_hits_total", &hits), 4.0);

    in_force(&world, &policy("no-client", "DENY", &from("client")))?;
    assert!(refused(&probe(&world.client, world.far.at(8080), "denied")?));
    for other in [&world.near, &stranger] {
        assert!(echoed(&probe(other, world.far.at(8080), "allowed")?, "allowed"), "{}", other.name());
    }
    assert_eq!(world.b.metrics()?.sum("heddle_denied_connections_total", &[("reason", "policy_denies")]), 1.0);
    Ok(())
}

#[test]
fn a_new_policy_ends_what_it_denies_at_both_ends_and_nothing_else() -> Result<()> {
    let mut world = World::new("access-recheck")?;
    let _server = world.far.serve("--listen 8080")?;
    // Of one node, so of neighbouring tunnels; the client's connections are many in one tunnel.
    let mut ended = hold(&world.client, world.far.at(8080), 50)?;
    let mut stays = hold(&world.near, world.far.at(8080), 5)?;
    in_force(&world, &policy("near", "ALLOW", &from("near")))?;
    eventually("every connection of the client is reset", SOON, || {
        Ok(ended.report()?.broken.get("ECONNRESET") == Some(&50))
    })?;
    stays.still_exchanges()?;
    let metrics = world.b.wait_metrics("all are counted", SOON, |metrics| {
        metrics.sum("heddle_withdrawn_connections_total", &[("reason", "nothing_allows")]) == 50.0
    })?;
    let hits = [("policy", "AuthorizationPolicy default/near"), ("effect", "withdrawn")];
    assert_eq!(metrics.sum("heddle_policy_hits_total", &hits), 50.0);
    let lines = lines_to(&world.log_of_b()?, world.far.at(8080), "inbound");
    assert_eq!(lines.iter().filter(|line| line["policy"] == "AuthorizationPolicy default/near").count(), 50);
    assert_eq!(stays.end()?.broken.len(), 0);
    Ok(())
}

#[test]
fn what_only_reports_decides_nothing() -> Result<()> {
    let mut world = World::new("access-reports")?;
    let _server = world.far.serve("--listen 8080")?;
    let trial = policy("trial", "DENY", &from("client"))
        .replace("name: trial,", "name: trial, annotations: {heddle.io/dry-run: \"true\"},");
    in_force(&world, &(trial + &policy("audit", "AUDIT", &from("client"))))?;
    assert!(echoed(&probe(&world.client, world.far.at(8080), "allowed")?, "allowed"));
    let metrics = world.b.metrics()?;
    for (policy, effect) in [("trial", "would_deny"), ("audit", "audited")] {
        let name = format!("AuthorizationPolicy default/{policy}");
        let hits = [("policy", name.as_str()), ("effect", effect)];
        assert_eq!(metrics.sum("heddle_policy_hits_total", &hits), 1.0, "{policy}");
    }
    let line = lines_to(&world.log_of_b()?, world.far.at(8080), "inbound").pop().unwrap_or_default();
    assert_eq!(line["flag"], "-", "{line}");
    let remarks = line["remarks"].as_str().unwrap_or_default();
    assert!(remarks.contains("default/audit") && remarks.contains("on trial"), "{line}");
    Ok(())
}

#[test]
fn deny_wins_allow_must_match_and_without_policies_all_are_let_in() -> Result<()> {
    let mut world = World::new("access-table")?;
    let _server = world.far.serve("--listen 8080 --listen 8081")?;
    let client = world.client.identity().replace("spiffe://", "");
    let near = world.near.identity().replace("spiffe://", "");
    let from = |principal: &str| format!("from: [{{source: {{principals: [{principal}]}}}}]");
    let allow_near = for_all("allow-near", &format!("{{rules: [{{{}}}]}}", from(&near)));
    let allow_port = for_all("allow-port", "{rules: [{to: [{operation: {ports: [\"8081\"]}}]}]}");
    let deny_client = for_all("deny-client", &format!("{{action: DENY, rules: [{{{}}}]}}", from(&client)));
    let nothing = for_all("nothing", "{}");
    let methods = for_all("methods", "{action: DENY, rules: [{to: [{operation: {methods: [DELETE]}}]}]}");
    let [none, all] = [[false, false], [true, true]];
    let beside = allow_near.clone() + &allow_port;
    // Whether the client, then near, reach port 8080, then 8081; the policy that refuses the client on 8080.
    let cases = [
        ("no policy", String::new(), [all, all], None),
        ("allow near", allow_near, [none, all], Some("allow-near")),
        ("allow a port beside", beside, [[false, true], all], Some("allow-near")),
        ("deny the client", deny_client, [none, all], Some("deny-client")),
        ("nobody", nothing, [none, none], Some("nothing")),
        ("what cannot be inspected", methods, [none, none], Some("methods")),
    ];
    for (what, policies, expected, by) in cases {
        in_force(&world, &policies)?;
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
        let by = by.map(|name| format!("AuthorizationPolicy default/{name}"));
        assert_eq!(line["policy"].as_str(), by.as_deref(), "{what}: {line}");
    }
    Ok(())
}

#[test]
fn same_node_connections_and_plaintext_are_judged_alike() -> Result<()> {
    let world = World::new("access-near")?;
    let stranger = world.stranger()?;
    let _servers = [world.near.serve("--listen 8080")?, world.far.serve("--listen 8080")?];
    let namespaces = for_all("mesh-only", "{rules: [{from: [{source: {namespaces: [default]}}]}]}");
    in_force(&world, &namespaces)?;
    assert!(echoed(&probe(&world.client, world.near.at(8080), "hello")?, "hello"), "same node, by its identity");
    assert!(echoed(&probe(&world.client, world.far.at(8080), "hello")?, "hello"), "other node, by its identity");
    assert!(refused(&probe(&stranger, world.far.at(8080), "hello")?), "plaintext has no identity");
    let blocks = format!("{{rules: [{{from: [{{source: {{ipBlocks: [{}]}}}}]}}]}}", stranger.v4());
    in_force(&world, &for_all("by-address", &blocks))?;
    assert!(echoed(&probe(&stranger, world.far.at(8080), "hello")?, "hello"), "an address that is allowed");
    assert!(refused(&probe(&world.client, world.near.at(8080), "hello")?), "an address that is not");
    Ok(())
}

#[test]
fn a_pod_that_is_relabelled_gets_the_policies_of_its_new_labels() -> Result<()> {
    let world = World::new("relabel")?;
    let _server = world.far.serve("--listen 8080")?;
    let spec = "{selector: {matchLabels: {tier: back}}, action: DENY, rules: [{}]}";
    in_force(&world, &for_all("back", spec))?;
    assert!(echoed(&probe(&world.client, world.far.at(8080), "hello")?, "hello"), "not selected yet");
    let mut open = hold(&world.client, world.far.at(8080), 3)?;
    world.far.relabel("tier", Some("back"))?;
    eventually("open connections are closed", SOON, || Ok(open.report()?.healthy == 0))?;
    assert!(refused(&probe(&world.client, world.far.at(8080), "hello")?), "selected");
    world.far.relabel("tier", Some("front"))?;
    eventually("it is let in again", SOON, || Ok(echoed(&probe(&world.client, world.far.at(8080), "hello")?, "hello")))
}
