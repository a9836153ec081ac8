//! The mesh with the Kubernetes API as its source: pods found by their uid, changes, outages, and starts without the API.

use std::time::Duration;

use anyhow::{Result, ensure};
use heddle_tests::bed::{Agent, Bed, CgroupDriver, Metrics, Pod};
use heddle_tests::kubernetes::{Cut, Fault, Verb};
use serde_json::{Value, json};

use crate::load::Load;
use crate::world::{SOON, World, connect, enrolled, eventually, probe, refused, settle};

fn world(name: &str) -> Result<World> {
    World::on(Bed::with_api_server(name)?, |agent| agent)
}

#[test]
fn pods_that_a_kubelet_made_are_enrolled_by_their_uid_and_reach_each_other() -> Result<()> {
    let world = world("api-uid")?;
    let systemd = world.far.node().pod("systemd").cgroup_driver(CgroupDriver::Systemd).start()?;
    enrolled(&world.b, 2)?;
    let _servers = [
        world.far.serve("--listen 8080 --ident --greet far")?,
        systemd.serve("--listen 8080 --ident --greet systemd")?,
    ];
    let service = world.bed.service("echo", &[(80, 8080)])?;
    service.backends(&[&world.far, &systemd])?;
    world.settle()?;
    let report = connect(&world.client, &format!("--to {} --count 60 --ident", service.at(80)))?;
    ensure!(report.all_good(60), "{report:?}");
    assert_eq!(report.servers.keys().collect::<Vec<_>>(), ["far", "systemd"]);
    let handshakes = world.a.metrics()?.sum("heddle_handshakes_total", &[("side", "client"), ("result", "ok")]);
    assert!(handshakes >= 2.0, "one tunnel for each server at least: {handshakes}");
    Ok(())
}

#[test]
fn an_agent_in_a_pod_finds_the_api_by_its_service_account() -> Result<()> {
    let bed = Bed::with_api_server("api-in-cluster")?;
    let node = bed.node("a")?;
    let _pod = node.pod("client").start()?;
    let mut agent = node.agent().in_cluster()?.start()?;
    enrolled(&agent, 1)?;
    let journal = bed.api_server()?.journal();
    let watches = journal.of(Verb::Watch, "pods");
    assert!(watches.iter().any(|asked| asked.status == Some(200)), "{}", journal.describe());
    agent.restart()?;
    enrolled(&agent, 1)
}

#[test]
fn a_deleted_pod_is_released_and_a_new_one_enrolled() -> Result<()> {
    let world = world("api-churn")?;
    world.near.delete()?;
    enrolled(&world.a, 1)?;
    let again = world.near.node().pod("again").start()?;
    enrolled(&world.a, 2)?;
    let _server = again.serve("--listen 8080 --ident")?;
    let report = connect(&world.client, &format!("--to {} --count 5 --ident", again.at(8080)))?;
    ensure!(report.all_good(5), "{report:?}");
    Ok(())
}

#[test]
fn an_outage_of_the_api_changes_nothing_in_traffic_and_what_changed_meanwhile_is_seen_afterwards() -> Result<()> {
    let world = world("api-outage")?;
    let _server = world.far.serve("--listen 8080 --ident")?;
    let load = Load::start(&world.client, &world.far.at(8080).to_string())?;
    let api = world.bed.api_server()?;
    api.go_down();
    disconnected(&world.a)?;
    let meanwhile = world.near.node().pod("meanwhile").start()?;
    std::thread::sleep(Duration::from_millis(500));
    api.come_back()?;
    enrolled(&world.a, 3)?;
    meanwhile.set_mesh(Some(false))?;
    enrolled(&world.a, 2)?;
    load.end_without_failure(&[&world.a, &world.b])
}

#[test]
fn watches_that_break_resume_and_an_expired_one_lists_again() -> Result<()> {
    let world = world("api-watches")?;
    let api = world.bed.api_server()?;
    for cut in [Cut::Cleanly, Cut::MidFrame, Cut::Reset] {
        api.forget_journal();
        api.cut_watches("pods", cut);
        let pod = world.near.node().pod(&format!("after-{cut:?}").to_lowercase()).start()?;
        enrolled(&world.a, 3)?;
        ensure!(api.journal().of(Verb::List, "pods").is_empty(), "{cut:?}: {}", api.journal().describe());
        pod.delete()?;
        enrolled(&world.a, 2)?;
    }
    // What goes while nobody watches is noticed by the next list.
    api.fault(Fault::status(503).verb(Verb::Watch).resource("pods"));
    api.cut_watches("pods", Cut::Reset);
    world.near.delete()?;
    api.compact();
    api.clear_faults();
    enrolled(&world.a, 1)?;
    assert!(!api.journal().of(Verb::List, "pods").is_empty(), "{}", api.journal().describe());
    let relists = world.a.metrics()?.get("heddle_source_relists_total", &[("kind", "Pod")]);
    assert!(relists >= Some(1.0), "{relists:?}");
    Ok(())
}

#[test]
fn refusals_of_the_api_are_waited_out_and_told() -> Result<()> {
    let bed = Bed::with_api_server("api-refusals")?;
    let node = bed.node("a")?;
    let pod = node.pod("client").start()?;
    let api = bed.api_server()?;
    api.fault(Fault::too_many_requests(1).resource("pods").times(2));
    api.fault(Fault::status(500).resource("services").times(2));
    api.fault(Fault::status(403).resource("nodes").times(2));
    let agent = node.agent().start()?;
    enrolled(&agent, 1)?;
    let restarts = agent.metrics()?.sum("heddle_source_watch_restarts_total", &[]);
    assert!(restarts >= 6.0, "each refusal is counted: {restarts}");
    drop(pod);
    Ok(())
}

#[test]
fn an_agent_that_starts_without_the_api_serves_from_the_state_on_disk() -> Result<()> {
    let mut world = world("api-state")?;
    let _server = world.far.serve("--listen 8080 --ident")?;
    world.settle()?;
    // The end writes the state.
    ensure!(world.a.terminate(SOON * 2)?.status.success());
    let api = world.bed.api_server()?;
    api.go_down();
    world.a.restart()?;
    enrolled(&world.a, 2)?;
    let to = world.far.at(8080);
    let report = connect(&world.client, &format!("--to {to} --count 10 --ident"))?;
    ensure!(report.all_good(10), "{report:?}");
    let age = world.a.metrics()?.get("heddle_source_state_age_seconds", &[]);
    assert!(age.is_some_and(|age| age >= 0.0), "the age of the state: {age:?}");

    // Gone while the agent could not see it: released only once the API has said so.
    world.near.delete()?;
    std::thread::sleep(Duration::from_secs(1));
    enrolled(&world.a, 2)?;
    api.come_back()?;
    enrolled(&world.a, 1)?;
    world.a.wait_metrics("the source is live", SOON, |metrics| {
        metrics.get("heddle_source_state_age_seconds", &[]).is_none_or(f64::is_nan)
    })?;
    Ok(())
}

#[test]
fn a_damaged_state_is_told_and_ignored() -> Result<()> {
    let mut world = world("api-damage")?;
    world.settle()?;
    ensure!(world.a.terminate(SOON * 2)?.status.success());
    let directory = world.client.node().directory().join("state");
    for entry in std::fs::read_dir(&directory)? {
        let path = entry?.path();
        let mut bytes = std::fs::read(&path)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes)?;
    }
    world.a.restart()?;
    enrolled(&world.a, 2)?;
    world.a.process().wait_stderr(SOON, |line| line.contains("state") && line.contains("WARN"))?;
    Ok(())
}

/// A ConfigMap with a Capture document that excludes an outbound port.
fn capture(port: u16) -> Value {
    let text = format!(
        "apiVersion: heddle.io/v1alpha1\nkind: Capture\nmetadata: {{name: c}}\nspec: {{excludeOutboundPorts: [{port}]}}\n"
    );
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "capture", "namespace": "default", "labels": {"heddle.io/config": "true"}},
        "data": {"capture.yaml": text},
    })
}

#[test]
fn a_document_is_in_force_within_a_second_of_its_config_map() -> Result<()> {
    let world = world("api-documents")?;
    for port in [9001, 9002, 9003] {
        world.bed.objects().put(&capture(port))?;
        let in_force = || {
            let workloads = world.a.config_json()?["mesh"]["workloads"].take();
            let local = workloads.as_array().into_iter().flatten().filter(|workload| !workload["local"].is_null());
            let ports: Vec<_> = local.map(|workload| workload["local"]["excludeOutboundPorts"].clone()).collect();
            Ok(ports == [json!([port]), json!([port])])
        };
        eventually("the document is in force within a second", Duration::from_secs(1), in_force)?;
    }
    world.bed.objects().remove("ConfigMap", "default", "capture")?;
    eventually("the document's end too", Duration::from_secs(1), || {
        Ok(world.a.config_json()?["mesh"]["rules"] == json!([]))
    })
}

#[test]
fn a_hundred_changes_a_second_fail_no_connection_and_end_at_the_last() -> Result<()> {
    let world = world("api-storm")?;
    let _server = world.far.serve("--listen 8080 --ident")?;
    let load = Load::start(&world.client, &world.far.at(8080).to_string())?;
    let pause = Duration::from_millis(10);
    for change in 0..500_u16 {
        world.bed.objects().put(&capture(20_000 + change))?;
        std::thread::sleep(pause);
    }
    settle(&world.bed, &[&world.a, &world.b])?;
    // ConfigMaps come by a watch of their own, which a busy machine may serve later than that of the Service above.
    eventually("the last change is in force", SOON, || {
        Ok(world.a.config_json()?["mesh"]["rules"][0]["spec"]["excludeOutboundPorts"] == json!([20_499]))
    })?;
    load.end_without_failure(&[&world.a, &world.b])
}

#[test]
fn the_state_on_disk_holds_no_secret_and_is_for_its_owner_alone() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut world = world("api-secret")?;
    world.bed.api_server()?.put(&json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "default"},
        "data": {"password": "aHVudGVyMg=="},
    }))?;
    world.settle()?;
    ensure!(world.a.terminate(SOON * 2)?.status.success());
    let directory = world.client.node().directory().join("state");
    let mut files = 0;
    for entry in std::fs::read_dir(&directory)? {
        let path = entry?.path();
        assert_eq!(std::fs::metadata(&path)?.permissions().mode() & 0o777, 0o600, "{}", path.display());
        assert!(!std::fs::read_to_string(&path)?.contains("aHVudGVyMg"), "{}", path.display());
        files += 1;
    }
    assert_eq!(files, 1);
    let journal = world.bed.api_server()?.journal();
    assert!(journal.of(Verb::List, "secrets").is_empty() && journal.of(Verb::Watch, "secrets").is_empty());
    Ok(())
}

fn disconnected(agent: &Agent) -> Result<()> {
    agent
        .wait_metrics("no watch is open", SOON * 3, |metrics: &Metrics| {
            metrics.sum("heddle_source_connected", &[]) == 0.0
        })
        .map(drop)
}

#[test]
fn a_pod_without_a_sandbox_is_waited_for_and_named() -> Result<()> {
    let world = world("api-no-sandbox")?;
    let absent: &Pod = &world.near;
    let mut object = world.bed.api_server()?.get("Pod", "default", absent.name()).unwrap();
    object["metadata"]["name"] = json!("nowhere");
    object["metadata"]["uid"] = json!("11111111-2222-4333-8444-555555555555");
    object["status"]["podIP"] = json!("10.244.9.9");
    object["status"]["podIPs"] = json!([{"ip": "10.244.9.9"}]);
    object["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    world.bed.api_server()?.put(&object)?;
    eventually("readiness names the pod", SOON, || {
        let said = world.a.ready()?.text();
        Ok(said.contains("pod default/nowhere"))
    })?;
    enrolled(&world.a, 2)?;
    let to = world.far.at(8080);
    assert!(refused(&probe(&world.client, to, "hello")?), "the others go on as before");
    Ok(())
}
