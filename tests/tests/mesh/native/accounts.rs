//! Which connections go natively, and what is told of them.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{FROM_CLIENT, counted, in_force, policy, warm, went_natively, with, world};
use crate::world::{SOON, World, connect, echoed, eventually, hold, lines_to, probe};

#[test]
fn a_pod_of_the_node_is_reached_natively_and_accounted_by_both_sides() -> Result<()> {
    let mut world = world("native-accounts")?;
    let _server = world.near.serve("--listen 8080")?;
    let to = world.near.at(8080);
    warm(&world, &world.client, to)?;
    let native = counted(&world, "outbound_native")?;
    let report =
        connect(&world.client, &format!("--to {to} --count 20 --concurrency 4 --bytes 5000 --check-peername"))?;
    ensure!(report.all_good(20), "{report:?}");
    assert_eq!(counted(&world, "outbound_native")?, native + 20.0);
    assert_eq!(counted(&world, "inbound_native")?, native + 20.0);
    for reporter in ["source", "destination"] {
        let labels = [
            ("reporter", reporter),
            ("connection_security_policy", "native"),
            ("source_principal", &*world.client.identity()),
            ("destination_principal", &*world.near.identity()),
            ("destination_workload", "near"),
        ];
        let metrics = world.a.wait_metrics("all ends are counted", SOON, |metrics| {
            metrics.sum("istio_tcp_connections_closed_total", &labels) == native + 20.0
        })?;
        assert_eq!(metrics.sum("istio_tcp_connections_opened_total", &labels), native + 20.0, "{reporter}");
        let words = 5.0 * native;
        assert_eq!(metrics.sum("istio_tcp_sent_bytes_total", &labels), 100_000.0 + words, "{reporter}");
        assert_eq!(metrics.sum("istio_tcp_received_bytes_total", &labels), 100_000.0 + words, "{reporter}");
    }
    let log = world.log_of_a()?;
    for direction in ["outbound", "inbound"] {
        let lines = lines_to(&log, to, direction);
        let lines: Vec<&Value> = lines.iter().filter(|line| line["sent_bytes"] == 5000).collect();
        assert_eq!(lines.len(), 20, "{direction}: {log:?}");
        for line in lines {
            assert_eq!((&line["received_bytes"], &line["flag"]), (&5000.into(), &"-".into()), "{line}");
            assert_eq!(line["source_identity"], world.client.identity(), "{line}");
            assert_eq!(line["destination_identity"], world.near.identity(), "{line}");
            assert!(line["source_address"].as_str().unwrap().starts_with(&format!("{}:", world.client.v4())), "{line}");
            assert!((1..1_000_000).contains(&line["server_rtt_us"].as_u64().unwrap()), "{line}");
            assert!(line["duration_ms"].as_u64().unwrap() < 10_000, "{line}");
        }
    }
    assert_eq!(world.a.metrics()?.get("heddle_native_connections_open", &[]), Some(0.0));
    Ok(())
}

#[test]
fn every_kind_of_plain_tcp_goes_natively_in_both_families() -> Result<()> {
    let world = world("native-kinds")?;
    let _server = world.near.serve("--listen 8080 --ident")?;
    for (to, how) in [
        (world.near.at(8080), ""),
        (world.near.at(8080), "--nonblocking"),
        (world.near.at(8080), "--mapped-v6"),
        (world.near.at6(8080), ""),
    ] {
        let line = format!("--to {to} --count 5 --ident --check-local --check-peername {how}");
        ensure!(connect(&world.client, &line)?.all_good(5));
        let before = counted(&world, "outbound_native")?;
        let report = connect(&world.client, &line)?;
        ensure!(report.all_good(5), "{to} {how}: {report:?}");
        assert_eq!(counted(&world, "outbound_native")?, before + 5.0, "{to} {how}");
    }
    // What the kernel programs cannot follow, the agent carries.
    let before = counted(&world, "outbound_native")?;
    let report = connect(&world.client, &format!("--to {} --count 2 --ident --bind-device eth0", world.near.at(8080)))?;
    ensure!(report.all_good(2), "{report:?}");
    assert_eq!(counted(&world, "outbound_native")?, before);
    Ok(())
}

#[test]
fn what_is_outside_the_mesh_is_reached_natively_and_counted_as_such() -> Result<()> {
    let mut world = World::new("native-outside")?;
    let stranger = world.stranger()?;
    let _server = stranger.serve("--listen 80")?;
    for to in [stranger.at(80), stranger.at6(80)] {
        warm(&world, &world.client, to)?;
        let capture = world.bed.wire_capture()?;
        assert!(went_natively(&world, &world.client, to)?);
        let record = capture.stop()?;
        assert!(record.contains(b"word"), "from pod to pod: {:?}", record.flows());
    }
    let labels = [("reporter", "source"), ("connection_security_policy", "none"), ("destination_principal", "unknown")];
    let native = counted(&world, "outbound_native")?;
    let metrics = world.a.wait_metrics("all are counted", SOON, |metrics| {
        metrics.sum("istio_tcp_connections_closed_total", &labels) >= native + 2.0
    })?;
    // Two went by the agent, one of each family.
    assert_eq!(metrics.sum("heddle_bypassed_connections_total", &[("reason", "outside_mesh")]), native + 2.0);
    let lines = lines_to(&world.log_of_a()?, stranger.at(80), "outbound");
    assert!(lines.iter().all(|line| line["sent_bytes"] == 5 && line["flag"] == "-"), "{lines:?}");
    Ok(())
}

#[test]
fn whatever_needs_the_agent_stays_with_it() -> Result<()> {
    let world = world("native-not")?;
    let _servers = [&world.near, &world.far].map(|pod| pod.serve("--listen 8080-8081").unwrap());
    let service = world.bed.service("near", &[(80, 8080)])?;
    service.backends(&[&world.near])?;
    let disabled = "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: near, namespace: default}\n\
                    spec: {selector: {matchLabels: {app: near}}, portLevelMtls: {8080: {mode: DISABLE}}}\n";
    let stays = |what: &str, to| -> Result<()> {
        for _ in 0..3 {
            assert!(!went_natively(&world, &world.client, to)?, "{what}");
        }
        Ok(())
    };
    world.settle()?;
    stays("a port that may carry requests", world.near.at(8081))?;
    stays("a Service", service.at(80))?;
    stays("a pod of another node", world.far.at(8080))?;
    in_force(&world, disabled)?;
    stays("a port in plaintext", world.near.at(8080))?;
    in_force(&world, &policy("AUDIT", FROM_CLIENT))?;
    stays("a port of which each connection is reported", world.near.at(8080))?;
    in_force(&world, "")?;
    warm(&world, &world.client, world.near.at(8080))?;
    assert_eq!(counted(&world, "native_cut_off")?, 0.0);
    Ok(())
}

#[test]
fn the_configuration_keeps_encryption_on_the_node_or_leaves_nothing_to_the_kernel() -> Result<()> {
    for (word, outside_too) in [("outsideMesh", true), ("off", false)] {
        let world = with(&format!("native-{word}"), |agent| agent.set("capture.fastPath", word))?;
        let stranger = world.stranger()?;
        let _servers = [&world.near, &stranger].map(|pod| pod.serve("--listen 8080").unwrap());
        for _ in 0..3 {
            assert!(!went_natively(&world, &world.client, world.near.at(8080))?, "{word}");
        }
        if outside_too {
            warm(&world, &world.client, stranger.at(8080))?;
        } else {
            for _ in 0..3 {
                assert!(!went_natively(&world, &world.client, stranger.at(8080))?, "{word}");
            }
        }
    }
    Ok(())
}

#[test]
fn an_open_native_connection_is_shown() -> Result<()> {
    let world = world("native-shown")?;
    let _server = world.near.serve("--listen 8080")?;
    let to = world.near.at(8080);
    warm(&world, &world.client, to)?;
    let mut held = hold(&world.client, to, 3)?;
    eventually("they are shown at both sides", SOON, || {
        let shown = world.a.get_json("/connections")?;
        let all = shown["connections"].as_array().cloned().unwrap_or_default();
        let native = |direction: &str| {
            let is_one = |one: &&Value| one["security"] == "native" && one["direction"] == direction;
            all.iter().filter(is_one).count()
        };
        Ok((native("outbound"), native("inbound")) == (3, 3))
    })?;
    assert_eq!(world.a.metrics()?.get("heddle_native_connections_open", &[]), Some(3.0));
    held.still_exchanges()?;
    assert_eq!(held.end()?.healthy, 3);
    eventually("none is open", SOON, || Ok(world.a.get_json("/connections")?["open"] == 0))?;
    Ok(())
}

#[test]
fn a_port_where_nobody_listens_is_told_as_such() -> Result<()> {
    let mut world = world("native-refused")?;
    let to = world.near.at(8080);
    let server = world.near.serve("--listen 8080")?;
    warm(&world, &world.client, to)?;
    drop(server);
    eventually("the server is gone", SOON, || Ok(probe(&world.client, to, "word")?.connect == "ECONNREFUSED"))?;
    let report = probe(&world.client, to, "word")?;
    assert!(!echoed(&report, "word") && report.connect == "ECONNREFUSED", "as without the mesh: {report:?}");
    let log = world.log_of_a()?;
    assert!(lines_to(&log, to, "outbound").iter().any(|line| line["flag"] == "UF"), "{log:?}");
    Ok(())
}
