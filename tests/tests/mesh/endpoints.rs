//! What the agent says about itself: metrics, health, configuration, and a line per connection.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use heddle_tests::bed::Metrics;
use heddle_tests::peer::report::HttpReport;
use serde_json::{Value, json};

use crate::world::{SOON, World, connect, eventually, lines_to, probe};

#[test]
fn metrics_have_istios_names_and_labels_and_count_exactly_what_was_sent() -> Result<()> {
    let world = World::new("metrics")?;
    let _server = world.far.serve("--listen 8080 --greet hello")?;
    let service = world.bed.service("web", &[(80, 8080)])?;
    service.backends(&[&world.far])?;
    world.settle()?;
    let to = service.at(80);
    assert!(connect(&world.client, &format!("--to {to}=hello --count 4 --bytes 10000"))?.all_good(4));
    let (client, far) = (world.client.identity(), world.far.identity());
    let common = [
        ("source_workload", "client"),
        ("source_workload_namespace", "default"),
        ("source_principal", client.as_str()),
        ("source_app", "client"),
        ("source_cluster", "Kubernetes"),
        ("source_canonical_service", "client"),
        ("destination_workload", "far"),
        ("destination_workload_namespace", "default"),
        ("destination_principal", far.as_str()),
        ("destination_app", "far"),
        ("destination_cluster", "Kubernetes"),
        ("destination_canonical_service", "far"),
        ("request_protocol", "tcp"),
        ("connection_security_policy", "mutual_tls"),
    ];
    let service_labels = [
        ("destination_service", "web.default.svc.cluster.local"),
        ("destination_service_name", "web"),
        ("destination_service_namespace", "default"),
    ];
    let at_source = [&common[..], &service_labels, &[("reporter", "source")]].concat();
    let at_destination = [&common[..], &[("reporter", "destination")]].concat();
    for (agent, labels) in [(&world.a, &at_source), (&world.b, &at_destination)] {
        let metrics = agent.wait_metrics("four connections were closed", SOON, |metrics| {
            metrics.sum("istio_tcp_connections_closed_total", labels) == 4.0
        })?;
        let sum = |name: &str| metrics.sum(name, labels);
        assert_eq!(sum("istio_tcp_connections_opened_total"), 4.0, "{labels:?}");
        assert_eq!(sum("istio_tcp_sent_bytes_total"), 40_000.0, "{labels:?}");
        assert_eq!(sum("istio_tcp_received_bytes_total"), 40_000.0 + 4.0 * 6.0, "{labels:?}");
        assert_eq!(sum("istio_tcp_connections_failed_total"), 0.0, "{labels:?}");
        assert_eq!(metrics.sum("heddle_open_connections", &[]), 0.0);
    }
    Ok(())
}

#[test]
fn open_connections_are_counted_while_they_last() -> Result<()> {
    let world = World::new("open")?;
    let _server = world.far.serve("--listen 8080")?;
    let held = crate::world::hold(&world.client, world.far.at(8080), 3)?;
    for agent in [&world.a, &world.b] {
        let metrics = agent.wait_metrics("bytes of open connections are counted", SOON, |metrics| {
            metrics.sum("istio_tcp_sent_bytes_total", &[]) > 100.0
        })?;
        assert_eq!(metrics.sum("heddle_open_connections", &[]), 3.0);
        assert_eq!(metrics.sum("istio_tcp_connections_closed_total", &[]), 0.0);
    }
    held.end()?;
    world.a.wait_metrics("all are closed", SOON, |metrics| {
        metrics.sum("heddle_open_connections", &[]) == 0.0
            && metrics.sum("istio_tcp_connections_closed_total", &[]) == 3.0
    })?;
    Ok(())
}

#[test]
fn the_agents_own_metrics_say_what_is_in_force() -> Result<()> {
    let world = World::new("own-metrics")?;
    let metrics = world.a.metrics()?;
    assert_eq!(metrics.get("heddle_enrolled_pods", &[]), Some(2.0));
    assert_eq!(metrics.get("heddle_objects", &[("kind", "Pod")]), Some(3.0));
    assert_eq!(metrics.get("heddle_object_problems", &[]), Some(0.0));
    assert_eq!(metrics.get("heddle_certificates", &[("state", "valid")]), Some(2.0));
    let expiry = metrics.get("heddle_certificate_expiry_seconds", &[]).unwrap();
    assert!((80_000.0..=86_400.0).contains(&expiry), "24 hours: {expiry}");
    assert_eq!(metrics.get("heddle_draining", &[]), Some(0.0));
    assert!(metrics.get("heddle_build_info", &[]).is_some());
    assert!(metrics.get("process_resident_memory_bytes", &[]).unwrap() > 1e6);
    for thread in ["control", "data-0"] {
        assert!(metrics.get("heddle_runtime_busy_seconds_total", &[("thread", thread)]).unwrap() > 0.0, "{thread}");
        assert!(metrics.get("heddle_runtime_queued_tasks", &[("thread", thread)]).is_some(), "{thread}");
    }
    let (batches, took) = (metrics.sum("heddle_compiles_total", &[]), metrics.sum("heddle_compile_seconds_total", &[]));
    assert!(batches >= 1.0 && took > 0.0, "{batches} {took}");
    let generation = metrics.get("heddle_snapshot_generation", &[]).unwrap();
    let age = |metrics: &Metrics| metrics.get("heddle_snapshot_age_seconds", &[]).unwrap();
    let begun = age(&metrics);
    world.a.wait_metrics("the snapshot gets older", SOON, |metrics| age(metrics) > begun + 0.5)?;
    world.bed.service("new", &[(80, 8080)])?;
    world.a.wait_metrics("a change makes a new generation", SOON, |metrics| {
        metrics.get("heddle_snapshot_generation", &[]).is_some_and(|now| now > generation)
    })?;
    Ok(())
}

#[test]
fn readiness_names_what_is_missing() -> Result<()> {
    let world = World::new("ready")?;
    assert_eq!(world.a.ready()?.status, 200);
    world.bed.objects().put(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "ghost", "namespace": "default", "uid": "ghost",
            "annotations": {"heddle.io/netns": "/run/netns/there-is-no-such-namespace"},
        },
        "spec": {"nodeName": world.client.node().name(), "serviceAccountName": "ghost", "containers": []},
        "status": {"phase": "Running", "podIP": "10.244.1.200", "podIPs": [{"ip": "10.244.1.200"}]},
    }))?;
    eventually("the agent is not ready", SOON, || Ok(world.a.ready()?.status == 503))?;
    let missing = world.a.ready()?.text();
    assert!(missing.contains("default/ghost"), "{missing}");
    eventually("the reason is given", SOON, || {
        Ok(world.a.ready()?.text().contains("/run/netns/there-is-no-such-namespace"))
    })?;
    assert_eq!(world.a.live()?.status, 200);
    assert!(world.a.metrics()?.sum("heddle_enrolment_failures_total", &[]) >= 1.0);
    world.bed.objects().remove("Pod", "default", "ghost")?;
    eventually("the agent is ready again", SOON, || Ok(world.a.ready()?.status == 200))
}

#[test]
fn config_shows_what_is_in_force_as_json_and_no_secret() -> Result<()> {
    let world = World::new("config")?;
    let service = world.bed.service("web", &[(80, 8080)])?;
    service.backends(&[&world.far])?;
    world.settle()?;
    let config = world.a.config_json()?;
    assert_eq!(config["agent"]["node"], world.client.node().name());
    let mesh = &config["mesh"];
    let find = |list: &str, name: &str| -> Value {
        let all = mesh[list].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|item| item["name"] == name).unwrap_or_default()
    };
    let (client, far) = (find("workloads", "client"), find("workloads", "far"));
    assert_eq!((&client["identity"], &client["membership"]), (&world.client.identity().into(), &"enrolled".into()));
    assert!(!client["local"].is_null() && far["local"].is_null(), "{client} {far}");
    let web = find("services", "web");
    assert_eq!(web["ports"][0]["port"], 80);
    assert!(web.to_string().contains(&world.far.at(8080).to_string()), "{web}");
    let text = config.to_string().to_lowercase();
    assert!(!text.contains("private"), "{text}");
    Ok(())
}

#[test]
fn admin_answers_on_loopback_and_its_socket_and_nowhere_else() -> Result<()> {
    let world = World::new("admin")?;
    let (node, other) = (world.client.node(), world.far.node());
    let socket = node.directory().join("admin.sock");
    let get = node.peer(&format!("http-get http://localhost/config --unix {}", socket.display()))?;
    let report: HttpReport = serde_json::from_str(get.output(SOON)?.trim())?;
    assert_eq!(report.status, 200);
    let from_other = |port: u16, path: &str| {
        other.netns().get(SocketAddr::from((node.wire_v4(), port)), path, Duration::from_secs(2))
    };
    assert!(from_other(15000, "/config").is_err(), "admin is not for the network");
    assert_eq!(from_other(15020, "/metrics")?.status, 200);
    assert_eq!(from_other(15021, "/healthz/ready")?.status, 200);
    assert_eq!(from_other(15020, "/config")?.status, 404);
    Ok(())
}

#[test]
fn every_connection_has_one_line_on_each_side_that_says_all() -> Result<()> {
    let mut world = World::new("log")?;
    let _server = world.far.serve("--listen 8080")?;
    assert!(connect(&world.client, &format!("--to {} --count 5 --bytes 1234", world.far.at(8080)))?.all_good(5));
    let logs = [(world.log_of_a()?, "outbound"), (world.log_of_b()?, "inbound")];
    let mut sources = Vec::new();
    for (log, direction) in &logs {
        let lines = lines_to(log, world.far.at(8080), direction);
        assert_eq!(lines.len(), 5, "{direction}: {lines:?}");
        for line in &lines {
            let expected = json!({
                "direction": direction, "source_workload": "client", "source_namespace": "default",
                "source_identity": world.client.identity(), "destination_address": world.far.at(8080),
                "destination_workload": "far", "destination_namespace": "default",
                "destination_identity": world.far.identity(), "service": null, "protocol": "tcp", "flag": "-",
                "sent_bytes": 1234, "received_bytes": 1234, "tls_version": "TLSv1.3", "tls_group": "X25519MLKEM768",
                "error": null,
            });
            for (field, value) in expected.as_object().unwrap() {
                assert_eq!(&line[field], value, "{direction} {field}: {line}");
            }
            assert!(line["source_address"].as_str().is_some_and(|it| it.starts_with(&world.client.v4().to_string())));
            assert!(line["duration_ms"].as_u64().is_some_and(|ms| ms < 60_000), "{line}");
        }
        sources.push(lines.iter().map(|line| line["source_address"].to_string()).collect::<BTreeSet<_>>());
    }
    assert_eq!(sources[0].len(), 5, "each client port once: {:?}", sources[0]);
    Ok(())
}

#[test]
fn failed_connections_have_a_line_a_flag_and_a_count() -> Result<()> {
    let mut world = World::with("flags", |agent| agent.set("limits.connectTimeout", "1s"))?;
    let stranger = world.stranger()?;
    let unreachable = SocketAddr::from(([10, 250, 0, 1], 80));
    let cases = [(world.far.at(9), "CONNECT"), (stranger.at(9), "UF"), (unreachable, "UF"), (world.far.at(80), "UT")];
    for (to, flag) in cases {
        if flag == "UT" {
            world.far.black_hole(true)?;
        }
        let report = probe(&world.client, to, "hello")?;
        assert!(crate::world::refused(&report), "{to}: {report:?}");
        let log = world.log_of_a()?;
        let lines = lines_to(&log, to, "outbound");
        assert_eq!(lines.len(), 1, "{to}: {lines:?}");
        assert_eq!(lines[0]["flag"], flag, "{}", lines[0]);
        assert!(lines[0]["error"].as_str().is_some_and(|error| error.len() > 10), "{}", lines[0]);
        assert_eq!((&lines[0]["sent_bytes"], &lines[0]["received_bytes"]), (&0.into(), &0.into()));
    }
    let metrics = world.a.metrics()?;
    for flag in ["UF", "UT", "CONNECT"] {
        let failed = [("reporter", "source"), ("response_flags", flag)];
        assert!(metrics.sum("istio_tcp_connections_failed_total", &failed) >= 1.0, "{flag}");
    }
    Ok(())
}

#[test]
fn the_access_log_as_text_has_one_line_per_connection() -> Result<()> {
    let mut world = World::with("text-log", |agent| agent.set("log.format", "text"))?;
    let _server = world.far.serve("--listen 8080")?;
    assert!(connect(&world.client, &format!("--to {}", world.far.at(8080)))?.all_good(1));
    let wanted = format!("destination_address={}", world.far.at(8080));
    let line = world.a.process().wait_line(SOON, |line| line.contains(&wanted))?;
    for part in ["direction=outbound", "source_workload=client", "flag=-", "tls_version=TLSv1.3", "sent_bytes=64"] {
        assert!(line.split(' ').any(|field| field == part), "{part} is not in {line}");
    }
    Ok(())
}
