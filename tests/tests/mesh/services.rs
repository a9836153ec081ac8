//! Where connections go: to a ready endpoint of a Service, to exactly the pod, or outside, as dialled.

use std::collections::BTreeMap;

use anyhow::Result;
use heddle_tests::bed::{Pod, Process};
use serde_json::{Value, json};

use crate::world::{SOON, World, connect, echoed, enrolled, eventually, lines_to, list, probe, refused};

#[test]
fn a_cluster_ip_leads_to_ready_endpoints_only_and_to_each_of_them() -> Result<()> {
    let mut world = World::new("ready")?;
    let idle = world.far.node().pod("idle").start()?;
    enrolled(&world.b, 2)?;
    let pods = [&world.near, &world.far, &idle];
    let _servers = greeters(&pods)?;
    let service = world.bed.service("echo", &[(80, 8080), (81, 8081)])?;
    service.backends_with(&[(&world.near, true), (&world.far, true), (&idle, false)])?;
    world.settle()?;
    for to in [service.at(80), service.at6(80), service.at(81)] {
        let servers = reached(&world.client, &to.to_string(), 120)?;
        assert_eq!(servers.keys().collect::<Vec<_>>(), ["far", "near"], "{to}");
        // 60 each; 22 is seven standard deviations below.
        assert!(servers.values().all(|count| *count >= 22), "{to}: {servers:?}");
    }
    service.backends_with(&[(&world.near, false), (&world.far, false), (&idle, true)])?;
    world.settle()?;
    assert_eq!(reached(&world.client, &service.at(80).to_string(), 20)?, BTreeMap::from([("idle".to_owned(), 20)]));
    let log = world.log_of_a()?;
    let line = lines_to(&log, service.at(80), "outbound").pop().unwrap();
    assert_eq!(line["service"], "echo.default.svc.cluster.local");
    assert_eq!((&line["endpoint"], &line["destination_workload"]), (&idle.at(8080).to_string().into(), &"idle".into()));
    Ok(())
}

#[test]
fn a_pod_address_leads_to_that_pod() -> Result<()> {
    let world = World::new("pod-address")?;
    let pods = [&world.near, &world.far];
    let _servers = greeters(&pods)?;
    let service = world.bed.service("echo", &[(8080, 8080)])?;
    service.backends(&pods)?;
    world.settle()?;
    for pod in pods {
        for to in [pod.at(8080), pod.at6(8080)] {
            assert_eq!(reached(&world.client, &to.to_string(), 20)?, BTreeMap::from([(pod.name().to_owned(), 20)]));
        }
    }
    Ok(())
}

#[test]
fn an_unknown_port_and_a_service_without_ready_endpoints_are_refused_with_a_reason() -> Result<()> {
    let mut world = World::new("nowhere")?;
    let _servers = greeters(&[&world.far])?;
    let some = world.bed.service("some", &[(80, 8080)])?;
    some.backends(&[&world.far])?;
    let none = world.bed.service("none", &[(80, 8080)])?;
    let down = world.bed.service("down", &[(80, 8080)])?;
    down.backends_with(&[(&world.far, false)])?;
    world.settle()?;
    let cases =
        [(some.at(8080), "NR"), (some.at6(443), "NR"), (none.at(80), "UH"), (down.at(80), "UH"), (down.at6(80), "UH")];
    for (to, flag) in cases {
        let report = probe(&world.client, to, "hello")?;
        assert!(refused(&report), "{to}: {report:?}");
        let line = lines_to(&world.log_of_a()?, to, "outbound").pop().unwrap();
        assert_eq!(line["flag"], flag, "{line}");
        assert!(line["error"].as_str().is_some_and(|error| !error.is_empty()), "{line}");
    }
    let metrics = world.a.metrics()?;
    for (flag, count) in [("NR", 2.0), ("UH", 3.0)] {
        let failed = [("reporter", "source"), ("response_flags", flag)];
        assert_eq!(metrics.sum("istio_tcp_connections_failed_total", &failed), count, "{flag}");
    }
    Ok(())
}

#[test]
fn a_service_with_a_dead_endpoint_always_succeeds_by_the_living_one() -> Result<()> {
    let world = World::new("one-dead")?;
    let dead = world.far.node().pod("dead").start()?;
    enrolled(&world.b, 2)?;
    let _servers = greeters(&[&world.far])?;
    let service = world.bed.service("echo", &[(80, 8080)])?;
    service.backends(&[&world.far, &dead])?;
    world.settle()?;
    let all_reach_far = |what: &str| -> Result<()> {
        let line = format!("--to {},{} --count 30 --concurrency 10 --ident", service.at(80), service.at6(80));
        let report = connect(&world.client, &line)?;
        assert!(report.all_good(30), "{what}: {report:?}");
        assert_eq!(report.servers, BTreeMap::from([("far".to_owned(), 30)]), "{what}");
        Ok(())
    };
    all_reach_far("nobody listens there")?;
    dead.black_hole(true)?;
    all_reach_far("nothing answers there")?;
    dead.black_hole(false)?;
    dead.set_mesh(Some(false))?;
    enrolled(&world.b, 1)?;
    world.settle()?;
    all_reach_far("outside the mesh, and nobody listens there")
}

#[test]
fn destinations_outside_the_mesh_pass_through() -> Result<()> {
    let mut world = World::new("through")?;
    let (stranger, outside) = (world.stranger()?, world.far.node().pod("outside").outside_mesh().start()?);
    let _servers = greeters(&[&stranger, &outside])?;
    let service = world.bed.service("outside", &[(80, 8080)])?;
    service.backends(&[&outside])?;
    world.settle()?;
    let targets =
        [stranger.at(8080), stranger.at6(8080), outside.at(8080), outside.at6(8080), service.at(80), service.at6(80)];
    for to in targets {
        let source = if to.is_ipv4() { world.client.at(0) } else { world.client.at6(0) };
        let line = format!("--to {to} --ident --check-peername --expect-source {}", source.ip());
        let report = connect(&world.client, &line)?;
        assert!(report.all_good(1), "{to}: {report:?}");
    }
    let log = world.log_of_a()?;
    for to in targets {
        let line = lines_to(&log, to, "outbound").pop().unwrap();
        assert!(
            line["tls_version"].is_null() && line["destination_identity"].is_null() && line["flag"] == "-",
            "{line}"
        );
    }
    let outside_mesh = [("reason", "outside_mesh")];
    assert_eq!(world.a.metrics()?.sum("heddle_bypassed_connections_total", &outside_mesh), 6.0);
    let report = probe(&world.client, stranger.at(9), "hello")?;
    assert!(refused(&report), "nobody listens: {report:?}");
    Ok(())
}

#[test]
fn a_pod_reaches_itself_by_its_service() -> Result<()> {
    let world = World::new("hairpin")?;
    let _servers = greeters(&[&world.client])?;
    let service = world.bed.service("self", &[(80, 8080)])?;
    service.backends(&[&world.client])?;
    world.settle()?;
    for to in [service.at(80), service.at6(80)] {
        assert_eq!(reached(&world.client, &to.to_string(), 5)?, BTreeMap::from([("client".to_owned(), 5)]));
    }
    Ok(())
}

#[test]
fn a_new_service_is_in_force_at_once_and_a_removed_one_is_gone() -> Result<()> {
    let world = World::new("live")?;
    let _server = world.far.serve("--listen 8080")?;
    let service = world.bed.service("late", &[(80, 8080)])?;
    service.backends(&[&world.far])?;
    let reached = || -> Result<bool> { Ok(echoed(&probe(&world.client, service.at(80), "hello")?, "hello")) };
    eventually("the new service is reached", SOON, reached)?;
    service.remove()?;
    eventually("the removed service is not reached", SOON, || Ok(!reached()?))
}

#[test]
fn services_of_one_name_in_two_namespaces_are_two() -> Result<()> {
    let world = World::new("namespaces")?;
    let _servers = greeters(&[&world.near, &world.far])?;
    let (one, two) = (world.bed.service("web", &[(80, 8080)])?, world.bed.service_in("shop", "web", &[(80, 8080)])?);
    one.backends(&[&world.near])?;
    two.backends(&[&world.far])?;
    world.settle()?;
    assert_eq!(reached(&world.client, &one.at(80).to_string(), 10)?, BTreeMap::from([("near".to_owned(), 10)]));
    assert_eq!(reached(&world.client, &two.at(80).to_string(), 10)?, BTreeMap::from([("far".to_owned(), 10)]));
    let both = list([one.at(80), two.at(80)]);
    assert_eq!(reached(&world.client, &both, 10)?.len(), 2);
    Ok(())
}

#[test]
fn a_client_with_affinity_stays_at_one_endpoint_while_that_is_there() -> Result<()> {
    let world = World::new("affinity")?;
    let pods = [&world.near, &world.far];
    let _servers = greeters(&pods)?;
    let service = world.bed.service("echo", &[(80, 8080)])?;
    service.backends(&pods)?;
    world.settle()?;
    let to = service.at(80).to_string();
    assert_eq!(reached(&world.client, &to, 60)?.len(), 2, "without affinity");
    service.specify("sessionAffinity", "ClientIP")?;
    world.settle()?;
    let own = reached(&world.client, &to, 60)?;
    assert_eq!(own.len(), 1, "{own:?}");
    let other = pods.into_iter().find(|pod| !own.contains_key(pod.name())).unwrap();
    service.backends(&[other])?;
    world.settle()?;
    assert_eq!(reached(&world.client, &to, 10)?, BTreeMap::from([(other.name().to_owned(), 10)]), "its own is gone");
    service.backends(&pods)?;
    world.settle()?;
    assert_eq!(reached(&world.client, &to, 60)?, own, "and is back");
    Ok(())
}

#[test]
fn endpoints_that_are_being_stopped_serve_while_none_is_ready() -> Result<()> {
    let world = World::new("terminating")?;
    let _servers = greeters(&[&world.near, &world.far])?;
    let service = world.bed.service("echo", &[(80, 8080)])?;
    let stopping = json!({"conditions": {"ready": false, "serving": true, "terminating": true}});
    let ready = json!({"conditions": {"ready": true, "serving": true, "terminating": false}});
    let gone = json!({"conditions": {"ready": false, "serving": false, "terminating": true}});
    let cases = [(&ready, "far"), (&gone, "near")];
    for (far, expected) in cases {
        service.endpoints(&[(&world.near, stopping.clone()), (&world.far, far.clone())])?;
        world.settle()?;
        let servers = reached(&world.client, &service.at(80).to_string(), 20)?;
        assert_eq!(servers, BTreeMap::from([(expected.to_owned(), 20)]), "{far}");
    }
    Ok(())
}

#[test]
fn zone_hints_keep_connections_in_the_clients_zone() -> Result<()> {
    let world = World::new("zones")?;
    let _servers = greeters(&[&world.near, &world.far])?;
    let in_zone = |zone: &str| -> Result<()> {
        world.bed.objects().put(&json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": world.client.node().name(), "labels": {"topology.kubernetes.io/zone": zone}},
        }))
    };
    let service = world.bed.service("echo", &[(80, 8080)])?;
    let hint = |zone: &str| -> Value {
        json!({
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "hints": {"forZones": [{"name": zone}]},
        })
    };
    service.endpoints(&[(&world.near, hint("east")), (&world.far, hint("west"))])?;
    for (zone, expected) in [("east", vec!["near"]), ("west", vec!["far"]), ("south", vec!["far", "near"])] {
        in_zone(zone)?;
        world.settle()?;
        let servers = reached(&world.client, &service.at(80).to_string(), 60)?;
        assert_eq!(servers.keys().collect::<Vec<_>>(), expected, "{zone}");
    }
    Ok(())
}

/// Servers that say their pod's name, on ports 8080 and 8081.
fn greeters(pods: &[&Pod]) -> Result<Vec<Process>> {
    pods.iter().map(|pod| pod.serve(&format!("--listen 8080,8081 --ident --greet {}", pod.name()))).collect()
}

/// Who answered so many connections, all of which must succeed.
fn reached(client: &Pod, targets: &str, count: u64) -> Result<BTreeMap<String, u64>> {
    let report = connect(client, &format!("--to {targets} --count {count} --concurrency 4 --ident --check-peername"))?;
    assert!(report.all_good(count), "{targets}: {report:?}");
    Ok(report.servers)
}
