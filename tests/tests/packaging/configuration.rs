//! The configurations in the manifests, and those that explain every key.

use anyhow::{Context, Result};
use serde_json::json;

use crate::{
    objects::with_data_read,
    programs::{check, configuration, here, kustomize},
};

#[test]
fn the_configurations_of_the_manifests_are_taken() -> Result<()> {
    let objects = kustomize(&here("deploy/manifests"))?;
    for (program, map) in [("agent", "heddle-agent"), ("ca", "heddle-ca")] {
        let data = &objects[&format!("ConfigMap/{map}")]["data"];
        configuration(program, data[format!("{program}.yaml")].as_str().context("no configuration")?)?;
    }
    let agent = with_data_read(objects["ConfigMap/heddle-agent"].clone())?;
    let agent = &agent["data"]["agent.yaml"][0];
    // What one names, the other mounts.
    let pod = objects["DaemonSet/heddle-agent"]["spec"]["template"]["spec"].to_string();
    for path in ["/ca/remote/roots", "/ca/remote/token", "/admin/socket", "/handover/socket"] {
        let file = agent.pointer(path).and_then(|path| path.as_str()).with_context(|| path.to_owned())?;
        let folder = file.rsplit_once('/').context("no path")?.0;
        assert!(pod.contains(&format!("\"mountPath\":\"{folder}\"")), "{path}: {folder} is not mounted");
    }
    Ok(())
}

#[test]
fn the_configurations_that_explain_every_key_are_taken() -> Result<()> {
    for (program, file) in [("agent", "deploy/agent.yaml"), ("ca", "deploy/ca.yaml")] {
        configuration(program, &std::fs::read_to_string(here(file))?)?;
    }
    Ok(())
}

#[test]
fn the_first_documents_of_the_mesh_are_accepted() -> Result<()> {
    let report = check(&[&here("deploy/manifests/mesh.yaml")])?;
    assert_eq!(report["accepted"], 1, "{report}");
    assert_eq!(report["findings"], json!([]), "{report}");
    Ok(())
}
