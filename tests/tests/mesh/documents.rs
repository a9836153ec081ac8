//! Mesh documents: what is accepted, rejected and kept, as `heddle status` and the metrics tell it.

use std::{path::Path, time::Duration};

use anyhow::Result;
use heddle_tests::bed::{Bed, Metrics, Node, binary};
use heddle_tests::kubernetes::Fault;
use serde_json::{Value, json};

use crate::world::{SOON, eventually};

/// A ReferenceGrant, the document with the least in it.
fn grant(name: &str, from: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\nmetadata: {{name: {name}}}\n\
         spec: {{from: [{{group: g, kind: k, namespace: {from}}}], to: [{{group: g, kind: k}}]}}\n"
    )
}

fn config_map(name: &str, text: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", "labels": {"heddle.io/config": "true"}},
        "data": {"mesh.yaml": text},
    })
}

/// What `heddle status` says, and its exit code.
fn status(node: &Node) -> Result<(Value, Option<i32>)> {
    let socket = node.directory().join("admin.sock");
    let heddle = binary("heddle")?.display().to_string();
    let finished = node.command(&heddle)?.words("status --output json --socket").arg(socket).finish(SOON)?;
    Ok((serde_json::from_str(&finished.stdout.join("\n")).unwrap_or_default(), finished.status.code()))
}

#[test]
fn documents_are_judged_as_they_change_and_status_says_what_became_of_them() -> Result<()> {
    let bed = Bed::new("documents")?;
    let node = bed.node("a")?;
    let agent = node.agent().start()?;
    assert_eq!(status(&node)?.1, Some(0), "all is well: {}", status(&node)?.0);

    let objects = bed.objects();
    objects.put(&config_map("grants", &grant("x", "one")))?;
    agent.wait_metrics("the document is in force", SOON, in_state("accepted", 1.0))?;
    assert_eq!(status(&node)?.1, Some(0));

    objects.put(&config_map("grants", &(broken("x") + &grant("y", "one"))))?;
    agent.wait_metrics("the bad version is rejected", SOON, in_state("rejected", 1.0))?;
    let (said, code) = status(&node)?;
    assert_eq!(code, Some(1), "{said}");
    let [x, y] = said["documents"].as_array().unwrap().as_slice() else { panic!("{said}") };
    assert_eq!(
        (&x["rule"], &x["state"], &x["line"]),
        (&json!("ReferenceGrant default/x"), &json!("rejected"), &json!(2))
    );
    assert_eq!((&y["state"], &y["message"]), (&json!("accepted"), &Value::Null));
    let message = x["message"].as_str().unwrap();
    assert!(message.contains("its last accepted version stays in force"), "{message}");
    assert!(message.contains("key mesh.yaml:5:46: spec.from[0].namespace: found the number 7"), "{message}");

    // A file of documents, as a mounted ConfigMap has them, beside the Kubernetes objects.
    objects.put_text("routes.yaml", &grant("z", "one"))?;
    agent.wait_metrics("the file's document is in force", SOON, in_state("accepted", 2.0))?;
    objects.remove("ConfigMap", "default", "grants")?;
    agent.wait_metrics("the ConfigMap's documents are gone", SOON, in_state("accepted", 1.0))?;
    let (said, code) = status(&node)?;
    assert_eq!((code, &said["documents"][0]["rule"]), (Some(0), &json!("ReferenceGrant heddle-system/z")), "{said}");
    Ok(())
}

#[test]
fn a_rejected_authorization_policy_is_loud() -> Result<()> {
    let bed = Bed::new("loud")?;
    let node = bed.node("a")?;
    let mut agent = node.agent().start()?;
    let policy =
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: deny}\nspec: {action: CUSTOM}\n";
    bed.objects().put(&config_map("policies", policy))?;
    agent.wait_metrics("the policy is counted", SOON, |metrics| {
        metrics.get("heddle_rejected_authorization_policies", &[]) == Some(1.0)
    })?;
    let said = agent.process().wait_stderr(SOON, |line| line.contains("AuthorizationPolicy default/deny"))?;
    assert!(said.contains("ERROR") && said.contains("not enforced by this build"), "{said}");
    let (said, code) = status(&node)?;
    assert_eq!((code, &said["documents"][0]["leavesWorkloadsOpen"]), (Some(1), &json!(true)), "{said}");
    Ok(())
}

#[test]
fn status_of_an_agent_that_does_not_run_says_so_and_ends_with_2() -> Result<()> {
    let bed = Bed::new("absent")?;
    let node = bed.node("a")?;
    assert_eq!(status(&node)?.1, Some(2));
    let mut agent = node.agent().start()?;
    eventually("an agent that runs answers", SOON, || Ok(status(&node)?.1 == Some(0)))?;
    agent.kill()?;
    assert_eq!(status(&node)?.1, Some(2));
    Ok(())
}

#[test]
fn owners_of_refused_documents_are_told_once_by_an_event() -> Result<()> {
    let bed = Bed::with_api_server("events")?;
    let nodes = [bed.node("a")?, bed.node("b")?];
    let agents = [nodes[0].agent().start()?, nodes[1].agent().start()?];
    let api = bed.api_server()?;
    bed.objects().put(&config_map("grants", &(broken("x") + &grant("y", "one"))))?;
    eventually("both agents have told it", SOON, || {
        let told = |result: &str| -> Result<f64> {
            let of = |agent: &heddle_tests::bed::Agent| {
                Ok(agent.metrics()?.sum("heddle_events_total", &[("result", result)]))
            };
            agents.iter().map(of).sum()
        };
        Ok(told("written")? == 1.0 && told("exists")? == 1.0)
    })?;
    let events = api.events();
    let [event] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((&event["reason"], &event["type"]), (&json!("DocumentRejected"), &json!("Warning")), "{event}");
    let about = &event["involvedObject"];
    assert_eq!(
        (&about["kind"], &about["name"], &about["namespace"]),
        (&json!("ConfigMap"), &json!("grants"), &json!("default"))
    );
    assert_eq!(about["uid"], api.get("ConfigMap", "default", "grants").unwrap()["metadata"]["uid"]);
    let message = event["message"].as_str().unwrap();
    assert!(
        message.starts_with("ReferenceGrant default/x (ConfigMap default/grants, key mesh.yaml, line 2)"),
        "{message}"
    );

    api.fault(Fault::status(403).resource("events"));
    bed.objects().put(&config_map("grants", &broken("z")))?;
    for agent in &agents {
        agent.wait_metrics("an Event that is refused is counted", SOON, |metrics| {
            metrics.get("heddle_events_total", &[("result", "failed")]) == Some(1.0)
        })?;
    }
    Ok(())
}

#[test]
fn a_running_cluster_is_checked_and_files_as_if_they_were_applied() -> Result<()> {
    let bed = Bed::with_api_server("check-kube")?;
    let node = bed.node("a")?;
    let heddle = binary("heddle")?.display().to_string();
    let check = |paths: &str| -> Result<(Value, Option<i32>)> {
        let launch = node.command(&heddle)?.words("check --kube -o json --kubeconfig").arg(node.admin_kubeconfig());
        let finished = launch.words(paths).finish(SOON)?;
        Ok((serde_json::from_str(&finished.stdout.join("\n")).unwrap_or_default(), finished.status.code()))
    };
    bed.objects().put(&config_map("grants", &grant("x", "one")))?;
    let (said, code) = check("")?;
    assert_eq!((code, &said["accepted"]), (Some(0), &json!(1)), "{said}");
    let file = node.directory().join("grants.yaml");
    std::fs::write(&file, serde_saphyr::to_string(&config_map("grants", &broken("x")))?)?;
    let (said, code) = check(&file.display().to_string())?;
    assert_eq!((code, said["findings"].as_array().map(Vec::len)), (Some(1), Some(1)), "{said}");
    bed.api_server()?.fault(Fault::status(403).resource("pods"));
    assert_eq!(check("")?.1, Some(2), "a cluster that refuses");
    Ok(())
}

#[test]
fn a_mounted_config_map_is_followed_through_the_swap_of_its_data_link() -> Result<()> {
    let bed = Bed::with_api_server("mounted")?;
    let node = bed.node("a")?;
    let volume = node.directory().join("mesh");
    std::fs::create_dir(&volume)?;
    mount(&volume, 1, &grant("x", "one"))?;
    std::os::unix::fs::symlink("..data/grants.yaml", volume.join("grants.yaml"))?;
    let agent = node.agent().set("source.kubernetes.documents", volume.display().to_string()).start()?;
    agent.wait_metrics("the volume's document is in force", SOON, in_state("accepted", 1.0))?;
    for version in 2..5 {
        mount(&volume, version, &(grant("x", "two") + &grant(&format!("v{version}"), "two")))?;
        eventually("the swap is in force within a second", Duration::from_secs(1), || {
            let rules = agent.config_json()?["mesh"]["rules"].take();
            Ok(rules[0]["name"] == format!("v{version}"))
        })?;
    }
    Ok(())
}

/// As a kubelet updates a volume: a new directory aside, then one rename of the link to it.
fn mount(volume: &Path, version: u32, text: &str) -> Result<()> {
    let directory = format!("..version-{version}");
    std::fs::create_dir(volume.join(&directory))?;
    std::fs::write(volume.join(&directory).join("grants.yaml"), text)?;
    std::os::unix::fs::symlink(&directory, volume.join("..data_tmp"))?;
    std::fs::rename(volume.join("..data_tmp"), volume.join("..data"))?;
    Ok(())
}

/// A document that is refused.
fn broken(name: &str) -> String {
    grant(name, "7")
}

fn in_state(state: &'static str, count: f64) -> impl Fn(&Metrics) -> bool {
    move |metrics| metrics.get("heddle_documents", &[("state", state)]) == Some(count)
}
