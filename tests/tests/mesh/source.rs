//! Where objects come from, as an operator meets it.

use std::fs;

use anyhow::Result;
use heddle_tests::bed::Bed;
use serde_json::json;

use crate::world::{SOON, eventually};

#[test]
fn an_agent_whose_api_server_does_not_answer_says_so_and_ends_when_told() -> Result<()> {
    let bed = Bed::new("no-api")?;
    let node = bed.node("a")?;
    let kubeconfig = node.directory().join("kubeconfig");
    let content = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {"token": "t"}}]});
    fs::write(&kubeconfig, content.to_string())?;
    let agent = node.agent().set("source", json!({"kubernetes": {"kubeconfig": kubeconfig}}));
    let mut agent =
        agent.set("state.path", node.directory().join("state").display().to_string()).start_without_waiting()?;
    eventually("readiness names the reason", SOON, || {
        let Ok(ready) = agent.ready() else { return Ok(false) };
        let said = String::from_utf8_lossy(&ready.body).into_owned();
        Ok(said.contains("list pods: cannot reach the API server") && said.contains("onnection refused"))
    })?;
    let source = &agent.config_json()?["source"];
    assert_eq!(source["live"], false, "{source}");
    assert_eq!(source["kinds"].as_array().map(Vec::len), Some(7), "{source}");
    let finished = agent.terminate(SOON)?;
    assert!(finished.status.success(), "{}", finished.describe());
    Ok(())
}
