//! PeerAuthentication in force: who gets in, how bytes travel, and what becomes of connections that are open when it changes.

use std::collections::BTreeSet;

use anyhow::Result;
use heddle_tests::bed::Pod;

use crate::world::{Hold, SOON, World, echoed, eventually, hold, lines_to, probe, refused};

/// A PeerAuthentication of the namespace `default`.
fn document(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: {name}, namespace: default}}\n\
         spec: {spec}\n"
    )
}

/// Puts documents in force at both nodes; an empty text takes them back.
fn in_force(world: &World, text: &str) -> Result<()> {
    world.bed.objects().put_text("modes.yaml", text)?;
    world.settle()
}

#[test]
fn strict_of_a_namespace_refuses_plaintext_but_at_a_port_that_is_left_out() -> Result<()> {
    let mut world = World::new("mode-strict")?;
    let stranger = world.stranger()?;
    let _server = world.far.serve("--listen 8080-8081")?;
    let port = "{selector: {matchLabels: {app: far}}, portLevelMtls: {8081: {mode: PERMISSIVE}}}";
    in_force(&world, &(document("all", "{mtls: {mode: STRICT}}") + &document("far", port)))?;
    for to in [world.far.at(8080), world.far.at6(8080)] {
        let report = probe(&stranger, to, "plain")?;
        assert!(refused(&report), "{to}: {report:?}");
    }
    for to in [world.far.at(8081), world.far.at6(8081)] {
        assert!(echoed(&probe(&stranger, to, "plain")?, "plain"), "{to}");
    }
    for to in [world.far.at(8080), world.far.at6(8080), world.far.at(8081)] {
        assert!(echoed(&probe(&world.client, to, "meshed")?, "meshed"), "{to}");
    }
    let lines = lines_to(&world.log_of_b()?, world.far.at(8080), "inbound");
    let denied: Vec<_> = lines.iter().filter(|line| line["flag"] == "DENY").collect();
    let [line] = denied[..] else { panic!("{lines:?}") };
    assert_eq!(line["policy"], "PeerAuthentication default/all", "{line}");
    let metrics = world.b.metrics()?;
    assert_eq!(metrics.sum("heddle_denied_connections_total", &[("reason", "strict_mode")]), 2.0);
    assert_eq!(metrics.sum("heddle_withdrawn_connections_total", &[]), 0.0);

    in_force(&world, "")?;
    assert!(echoed(&probe(&stranger, world.far.at(8080), "plain")?, "plain"), "taken back at once");
    Ok(())
}

#[test]
fn plaintext_that_is_let_in_is_counted_by_source_and_destination() -> Result<()> {
    let world = World::new("mode-counts")?;
    let outside = world.client.node().pod("outside").outside_mesh().start()?;
    let stranger = world.stranger()?;
    let _servers = [&world.near, &world.far].map(|pod| pod.serve("--listen 8080").unwrap());
    world.settle()?;
    for (from, count) in [(&outside, 3), (&stranger, 2)] {
        for _ in 0..count {
            assert!(echoed(&probe(from, world.far.at(8080), "plain")?, "plain"));
        }
    }
    assert!(echoed(&probe(&outside, world.near.at(8080), "plain")?, "plain"));
    let opened = |agent: &heddle_tests::bed::Agent, source: &str, destination: &str| -> Result<f64> {
        let labels = [
            ("reporter", "destination"),
            ("connection_security_policy", "none"),
            ("source_workload", source),
            ("source_principal", "unknown"),
            ("destination_workload", destination),
            ("destination_workload_namespace", "default"),
        ];
        Ok(agent.metrics()?.sum("istio_tcp_connections_opened_total", &labels))
    };
    assert_eq!(opened(&world.b, "outside", "far")?, 3.0);
    assert_eq!(opened(&world.b, "unknown", "far")?, 2.0);
    assert_eq!(opened(&world.a, "outside", "near")?, 1.0);
    let reason = [("reason", "permissive_plaintext")];
    assert_eq!(world.b.metrics()?.sum("heddle_bypassed_connections_total", &reason), 5.0);
    Ok(())
}

#[test]
fn disable_is_plaintext_on_the_wire_until_it_is_taken_back() -> Result<()> {
    let mut world = World::with("mode-disable", |agent| agent.strict())?;
    let _server = world.far.serve("--listen 8080-8081")?;
    let service = world.bed.service("far", &[(80, 8080)])?;
    service.backends(&[&world.far])?;
    let port = "{selector: {matchLabels: {app: far}}, portLevelMtls: {8080: {mode: DISABLE}}}";
    in_force(&world, &document("far", port))?;
    let capture = world.bed.wire_capture()?;
    for to in [world.far.at(8080), world.far.at6(8080), service.at(80)] {
        assert!(echoed(&probe(&world.client, to, "needle-in-the-clear")?, "needle-in-the-clear"), "{to}");
    }
    assert!(echoed(&probe(&world.client, world.far.at(8081), "needle-in-a-tunnel")?, "needle-in-a-tunnel"));
    let record = capture.stop()?;
    assert!(record.contains(b"needle-in-the-clear") && !record.contains(b"needle-in-a-tunnel"), "{:?}", record.flows());
    let dialled: BTreeSet<_> = record.flows().into_keys().map(|flow| flow.destination).collect();
    assert!(dialled.contains(&world.far.at(8080)) && dialled.contains(&world.far.at6(8080)), "{dialled:?}");
    let line = lines_to(&world.log_of_a()?, world.far.at(8080), "outbound").pop().unwrap_or_default();
    assert!(line["flag"] == "-" && line["tls_version"].is_null() && line["destination_identity"].is_null(), "{line}");
    for agent in [&world.a, &world.b] {
        let reason = [("reason", "disabled_mtls")];
        assert_eq!(agent.metrics()?.sum("heddle_bypassed_connections_total", &reason), 3.0);
    }

    in_force(&world, "")?;
    let capture = world.bed.wire_capture()?;
    for to in [world.far.at(8080), world.far.at6(8080), service.at(80)] {
        assert!(echoed(&probe(&world.client, to, "needle-again")?, "needle-again"), "{to}");
    }
    let record = capture.stop()?;
    assert!(!record.contains(b"needle"), "{:?}", record.flows());
    Ok(())
}

#[test]
fn a_change_to_strict_ends_open_plaintext_at_both_ends_and_leaves_tunnels_open() -> Result<()> {
    const MANY: u64 = 200;
    let mut world = World::new("mode-recheck")?;
    let stranger = world.stranger()?;
    let _server = world.far.serve("--listen 8080")?;
    let mut plain = hold(&stranger, world.far.at(8080), MANY)?;
    let mut meshed = hold(&world.client, world.far.at(8080), 5)?;
    plain.still_exchanges()?;
    // Of a connection in plaintext the agent's end is at this port too.
    assert_eq!(open_at(&world.far, 8080)?, 2 * MANY + 5);
    let service = world.bed.service("unrelated", &[(80, 8080)])?;
    service.backends(&[&world.far])?;
    world.settle()?;
    plain.still_exchanges()?;

    world.bed.objects().put_text("modes.yaml", &document("all", "{mtls: {mode: STRICT}}"))?;
    all_reset(&mut plain, MANY)?;
    eventually("only the tunnels' connections are open in the pod", SOON, || Ok(open_at(&world.far, 8080)? == 5))?;
    meshed.still_exchanges()?;
    let metrics = world.b.wait_metrics("all ends are counted", SOON, |metrics| {
        metrics.sum("heddle_withdrawn_connections_total", &[("reason", "strict_mode")]) == MANY as f64
    })?;
    let denied = [("reporter", "destination"), ("response_flags", "DENY")];
    assert_eq!(metrics.sum("istio_tcp_connections_closed_total", &denied), MANY as f64);
    assert_eq!(metrics.sum("heddle_denied_connections_total", &[]), 0.0, "none of them was new");
    let lines = lines_to(&world.log_of_b()?, world.far.at(8080), "inbound");
    let ended: Vec<_> = lines.iter().filter(|line| line["flag"] == "DENY").collect();
    assert_eq!(ended.len() as u64, MANY);
    for line in ended {
        let error = line["error"].as_str().unwrap_or_default();
        assert!(
            error.starts_with("it was open and is no longer permitted: plaintext, and PeerAuthentication"),
            "{line}"
        );
        assert_eq!(line["policy"], "PeerAuthentication default/all", "{line}");
    }
    assert_eq!(meshed.end()?.broken.len(), 0);
    Ok(())
}

#[test]
fn a_label_brings_a_document_to_bear_on_open_and_on_new_connections() -> Result<()> {
    let world = World::new("mode-label")?;
    let stranger = world.stranger()?;
    let _server = world.far.serve("--listen 8080")?;
    in_force(&world, &document("secret", "{selector: {matchLabels: {tier: secret}}, mtls: {mode: STRICT}}"))?;
    let mut plain = hold(&stranger, world.far.at(8080), 3)?;
    plain.still_exchanges()?;
    world.far.relabel("tier", Some("secret"))?;
    all_reset(&mut plain, 3)?;
    assert!(refused(&probe(&stranger, world.far.at(8080), "plain")?));
    assert!(echoed(&probe(&world.client, world.far.at(8080), "meshed")?, "meshed"));
    world.far.relabel("tier", None)?;
    world.settle()?;
    assert!(echoed(&probe(&stranger, world.far.at(8080), "plain")?, "plain"));
    Ok(())
}

/// Waits until each held connection was reset.
fn all_reset(held: &mut Hold, count: u64) -> Result<()> {
    eventually("every connection is reset", SOON, || Ok(held.report()?.broken.get("ECONNRESET") == Some(&count)))
}

/// Connections that a pod's sockets on a port have open, by the pod's kernel.
fn open_at(pod: &Pod, port: u16) -> Result<u64> {
    const ESTABLISHED: &str = "01";
    let table = pod.command("cat").words("/proc/net/tcp /proc/net/tcp6").output(SOON)?;
    let local = format!(":{port:04X}");
    let is_open = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(1).is_some_and(|at| at.ends_with(&local)) && fields.get(3) == Some(&ESTABLISHED)
    };
    Ok(table.lines().filter(is_open).count() as u64)
}
