//! Nodes without a ready agent are tainted, and nothing else of them is touched.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use heddle_tests::kubernetes::{Fault, Verb};
use serde_json::{Value, json};

use super::client::Ask;
use super::setting::{Authority, SOON, Setting, id, wait};

const OURS: &str = "heddle.io/agent-not-ready";

/// Longer than all that is to happen within it, shorter than a test is to wait.
const GRACE: Duration = Duration::from_secs(3);

fn on() -> Value {
    json!({"taintNodes": true, "agents": {"grace": "3s"}})
}

fn node(setting: &Setting, name: &str, os: &str, taints: &Value) -> Result<()> {
    let metadata = json!({"name": name, "labels": {"kubernetes.io/os": os}});
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {"taints": taints}});
    setting.server.put(&node).map(drop)
}

fn agent(setting: &Setting, name: &str, node: &str, ready: bool) -> Result<()> {
    let status = if ready { "True" } else { "False" };
    setting.server.put(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "heddle-system", "labels": {"app.kubernetes.io/name": "heddle"}},
        "spec": {"nodeName": node, "containers": [{"name": "agent", "image": "none"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": status}]},
    }))?;
    Ok(())
}

fn taints(setting: &Setting, name: &str) -> Result<Vec<Value>> {
    let node = setting.server.get("Node", "", name).with_context(|| format!("no node {name}"))?;
    Ok(node["spec"]["taints"].as_array().cloned().unwrap_or_default())
}

fn is_tainted(setting: &Setting, name: &str) -> Result<bool> {
    Ok(taints(setting, name)?.contains(&json!({"key": OURS, "effect": "NoSchedule"})))
}

fn until(setting: &Setting, name: &str, tainted: bool) -> Result<()> {
    wait(&format!("{name} is tainted: {tainted}"), || {
        ensure!(is_tainted(setting, name)? == tainted, "{:?}", taints(setting, name)?);
        Ok(())
    })
}

fn patched(authority: &Authority, result: &str) -> Result<f64> {
    authority.metric(&format!("heddle_ca_node_patches_total{{result=\"{result}\"}}"))
}

/// The patches of nodes that were made.
fn patches(setting: &Setting) -> usize {
    setting.server.journal().of(Verb::Patch, "nodes").iter().filter(|asked| asked.status == Some(200)).count()
}

#[test]
fn a_node_is_tainted_while_it_has_no_ready_agent() -> Result<()> {
    let setting = Setting::new()?;
    let other = json!({"key": "dedicated", "value": "gpu", "effect": "NoExecute"});
    node(&setting, "bare", "linux", &json!([other]))?;
    node(&setting, "served", "linux", &json!([other, {"key": OURS, "effect": "NoSchedule"}]))?;
    node(&setting, "windows", "windows", &json!([]))?;
    agent(&setting, "of-served", "served", true)?;
    let authority = setting.authority(&on())?;
    // As the kubelet registered it.
    until(&setting, "served", false)?;
    until(&setting, "bare", true)?;
    assert_eq!(taints(&setting, "bare")?[0], other);
    assert_eq!(taints(&setting, "served")?, [other]);
    wait("it is counted", || {
        ensure!(authority.metric("heddle_ca_nodes_tainted")? == 1.0);
        Ok(())
    })?;
    // A node that joins has no grace: pods would be there before it is over.
    node(&setting, "late", "linux", &Value::Null)?;
    until(&setting, "late", true)?;
    agent(&setting, "of-bare", "bare", false)?;
    agent(&setting, "of-late", "late", true)?;
    until(&setting, "late", false)?;
    assert!(is_tainted(&setting, "bare")?, "one that is not ready yet is no agent");
    agent(&setting, "of-bare", "bare", true)?;
    until(&setting, "bare", false)?;
    assert_eq!((taints(&setting, "windows")?.len(), patches(&setting)), (0, 5));
    assert_eq!((patched(&authority, "tainted")?, patched(&authority, "freed")?), (2.0, 3.0));
    Ok(())
}

#[test]
fn a_short_restart_is_no_reason_and_a_long_one_is() -> Result<()> {
    let setting = Setting::new()?;
    node(&setting, "a", "linux", &json!([]))?;
    agent(&setting, "first", "a", true)?;
    let _authority = setting.authority(&on())?;
    setting.server.wait_journal("nodes are watched", SOON, |journal| !journal.of(Verb::Watch, "nodes").is_empty())?;
    for _ in 0..3 {
        agent(&setting, "first", "a", false)?;
        std::thread::sleep(GRACE / 3);
        agent(&setting, "first", "a", true)?;
    }
    // The pod is replaced.
    setting.server.delete("Pod", "heddle-system", "first")?;
    std::thread::sleep(GRACE / 3);
    agent(&setting, "second", "a", true)?;
    std::thread::sleep(GRACE * 2);
    assert_eq!(setting.server.journal().of(Verb::Patch, "nodes").len(), 0);
    agent(&setting, "second", "a", false)?;
    until(&setting, "a", true)
}

#[test]
fn what_others_write_at_the_same_time_is_kept() -> Result<()> {
    let setting = Setting::new()?;
    node(&setting, "a", "linux", &json!([]))?;
    agent(&setting, "of-a", "a", false)?;
    let authority = setting.start(&on())?;
    // Between the look at the node and the patch of it somebody else adds a taint.
    setting.server.fault(Fault::delay(Duration::from_secs(2)).verb(Verb::Patch).resource("nodes").times(1));
    setting.server.wait_journal("a is patched", SOON, |journal| !journal.of(Verb::Patch, "nodes").is_empty())?;
    let other = json!({"key": "node.kubernetes.io/memory-pressure", "effect": "NoSchedule"});
    node(&setting, "a", "linux", &json!([other]))?;
    until(&setting, "a", true)?;
    assert_eq!(taints(&setting, "a")?[0], other);
    assert_eq!(patched(&authority, "conflict")?, 1.0);
    Ok(())
}

#[test]
fn replicas_do_not_fight() -> Result<()> {
    let setting = Setting::new()?;
    node(&setting, "a", "linux", &json!([]))?;
    agent(&setting, "of-a", "a", true)?;
    let (_one, _two) = (setting.authority(&on())?, setting.authority(&on())?);
    setting.server.wait_journal("both watch nodes", SOON, |journal| journal.of(Verb::Watch, "nodes").len() >= 2)?;
    for round in 1..=2 {
        agent(&setting, "of-a", "a", false)?;
        until(&setting, "a", true)?;
        agent(&setting, "of-a", "a", true)?;
        until(&setting, "a", false)?;
        std::thread::sleep(GRACE + Duration::from_secs(1));
        assert_eq!(patches(&setting), 2 * round, "{}", setting.server.journal().describe());
    }
    Ok(())
}

#[test]
fn without_any_agent_or_an_api_server_nothing_is_touched() -> Result<()> {
    let setting = Setting::new()?;
    node(&setting, "a", "linux", &json!([]))?;
    let mut authority = setting.authority(&on())?;
    authority.process.wait_stderr(SOON, |line| line.contains("no node is touched before there is one"))?;
    std::thread::sleep(GRACE + Duration::from_secs(1));
    agent(&setting, "of-a", "a", true)?;
    setting.server.wait_journal("pods are watched", SOON, |journal| !journal.of(Verb::Watch, "pods").is_empty())?;
    setting.server.go_down();
    std::thread::sleep(GRACE + Duration::from_secs(1));
    setting.server.come_back()?;
    std::thread::sleep(GRACE + Duration::from_secs(1));
    assert_eq!(patches(&setting), 0);
    agent(&setting, "of-a", "a", false)?;
    until(&setting, "a", true)
}

#[tokio::test]
async fn missing_rights_are_told_and_signing_goes_on() -> Result<()> {
    let setting = Setting::new()?;
    node(&setting, "a", "linux", &json!([]))?;
    agent(&setting, "of-a", "a", false)?;
    setting.server.fault(Fault::status(403).verb(Verb::Patch).resource("nodes"));
    setting.server.fault(Fault::status(403).verb(Verb::List).resource("nodes").times(1));
    let mut authority = setting.authority(&on())?;
    let told = |line: &str| line.contains("\"ERROR\"") && line.contains("grant the verbs list and watch on nodes");
    authority.process.wait_stderr(SOON, told)?;
    authority
        .process
        .wait_stderr(SOON, |line| line.contains("ERROR") && line.contains("grant get and patch on nodes"))?;
    assert!(patched(&authority, "failed")? >= 1.0);
    assert!(authority.metric("heddle_ca_node_watch_problems_total")? >= 1.0);
    assert!(setting.ask(&authority, &Ask::new("secret-node-a", &id("shop", "web"))).await?.is_ok());
    setting.server.clear_faults();
    until(&setting, "a", true)
}
