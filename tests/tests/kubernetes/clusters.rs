//! What also runs against a real cluster: list, watch, create, update and delete in a namespace of one's own.

use std::pin::pin;

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use heddle_tests::kubernetes::{Cluster, Verb};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};
use serde_json::{Value, json};

use super::setting::{Setting, client, soon};

fn config_map(name: &str, value: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"test": "yes"}},
        "data": {"key": value},
    })
}

#[test]
fn objects_come_change_and_go() -> Result<()> {
    let cluster = Cluster::for_test("objects")?;
    let first = cluster.put(&config_map("a", "1"))?;
    let second = cluster.put(&config_map("a", "2"))?;
    assert_eq!(first["metadata"]["uid"], second["metadata"]["uid"]);
    assert_ne!(first["metadata"]["resourceVersion"], second["metadata"]["resourceVersion"]);
    assert_eq!(cluster.get("ConfigMap", "a")?.context("it is gone")?["data"]["key"], "2");
    // A real cluster has one of its own there, with its root certificate.
    let mine = |list: Vec<Value>| list.iter().filter(|map| map["metadata"]["labels"]["test"] == "yes").count();
    assert_eq!(mine(cluster.list("ConfigMap")?), 1);
    cluster.delete("ConfigMap", "a")?;
    assert_eq!(cluster.get("ConfigMap", "a")?, None);
    assert!(cluster.delete("ConfigMap", "a").is_err());
    Ok(())
}

#[test]
fn a_pod_has_the_status_that_the_test_gives_it() -> Result<()> {
    let cluster = Cluster::for_test("status")?;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
        // Nobody schedules it.
        "spec": {"schedulerName": "nobody", "containers": [{"name": "app", "image": "none"}]},
        "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}], "podIP": "10.0.0.1"},
    });
    assert_eq!(cluster.put(&pod)?["status"]["phase"], "Running");
    cluster.delete("Pod", "a")
}

#[test]
fn other_namespaces_and_cluster_wide_kinds_are_left_alone() -> Result<()> {
    let cluster = Cluster::for_test("bounds")?;
    let mut elsewhere = config_map("a", "1");
    elsewhere["metadata"]["namespace"] = json!("default");
    assert!(cluster.put(&elsewhere).is_err());
    assert!(cluster.put(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})).is_err());
    Ok(())
}

#[tokio::test]
async fn a_watch_from_a_list_on_sees_every_change() -> Result<()> {
    let cluster = Cluster::for_test("watch")?;
    cluster.put(&config_map("a", "1"))?;
    let maps: Api<ConfigMap> = Api::namespaced(client(cluster.kubeconfig()).await?, cluster.namespace());
    let list = maps.list(&ListParams::default().labels("test=yes")).await?;
    assert_eq!(list.items.len(), 1);
    let begin = list.metadata.resource_version.context("a list without a version")?;
    let mut stream = pin!(maps.watch(&WatchParams::default().labels("test=yes"), &begin).await?);
    cluster.put(&config_map("b", "1"))?;
    cluster.put(&config_map("a", "2"))?;
    cluster.delete("ConfigMap", "b")?;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        match soon(stream.try_next()).await??.context("it ended")? {
            WatchEvent::Added(map) => seen.push(("added", map.metadata.name.unwrap())),
            WatchEvent::Modified(map) => seen.push(("modified", map.metadata.name.unwrap())),
            WatchEvent::Deleted(map) => seen.push(("deleted", map.metadata.name.unwrap())),
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(status) => panic!("{status:?}"),
        }
    }
    let expected = [("added", "b"), ("modified", "a"), ("deleted", "b")];
    assert_eq!(seen, expected.map(|(what, name)| (what, name.to_owned())));
    Ok(())
}

#[test]
fn the_cluster_that_the_environment_names_is_used_and_left_as_it_was() -> Result<()> {
    // Another process, because the environment of this one is everybody's. Our server stands for a real cluster.
    let setting = Setting::new()?;
    let before = setting.server.list("Namespace", "")?;
    let path = std::env::temp_dir().join(format!("heddle-kubeconfig-{}", std::process::id()));
    std::fs::write(&path, setting.server.kubeconfig(setting.address)?)?;
    let mut child = std::process::Command::new(std::env::current_exe()?);
    child.args(["--exact", "clusters::objects_come_change_and_go"]);
    let output = child.env("HEDDLE_TEST_CLUSTER", "1").env("KUBECONFIG", &path).output();
    std::fs::remove_file(&path)?;
    let output = output?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    let journal = setting.server.journal();
    assert_eq!(journal.of(Verb::Create, "namespaces").len(), 1);
    assert_eq!(journal.of(Verb::Update, "configmaps").len(), 1);
    assert_eq!(setting.server.list("Namespace", "")?, before);
    Ok(())
}

#[test]
fn the_namespace_goes_with_the_test() -> Result<()> {
    let cluster = Cluster::for_test("gone")?;
    let Some(own) = cluster.own() else { return Ok(()) };
    assert!(own.get("Namespace", "", cluster.namespace()).is_some());
    let other = Cluster::for_test("gone")?;
    assert_ne!(other.namespace(), cluster.namespace());
    Ok(())
}
