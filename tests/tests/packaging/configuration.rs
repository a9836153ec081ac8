//! The configurations in the manifests, and those that explain every key.

use anyhow::{Context, Result};
use serde_json::{Value, json};

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

/// What must be the same in two places.
#[test]
fn what_one_object_says_of_another_is_so() -> Result<()> {
    let objects = kustomize(&here("deploy/manifests"))?;
    let ca = with_data_read(objects["ConfigMap/heddle-ca"].clone())?;
    let ca = configuration("ca", &serde_saphyr::to_string(&ca["data"]["ca.yaml"][0])?)?;
    let (agent, authority) = (&objects["DaemonSet/heddle-agent"], &objects["Deployment/heddle-ca"]);
    // The authority finds the agents, on the nodes that they are to run on, and runs where none is ready yet.
    let labels = &agent["spec"]["template"]["metadata"]["labels"];
    assert_eq!(ca["agents"]["namespace"], agent["metadata"]["namespace"]);
    assert_eq!(
        ca["agents"]["selector"],
        format!("app.kubernetes.io/name={}", labels["app.kubernetes.io/name"].as_str().unwrap())
    );
    let selector = &agent["spec"]["template"]["spec"]["nodeSelector"];
    assert_eq!(
        ca["agents"]["nodeSelector"],
        format!("kubernetes.io/os={}", selector["kubernetes.io/os"].as_str().unwrap())
    );
    for workload in [agent, authority] {
        let tolerations = workload["spec"]["template"]["spec"]["tolerations"].as_array().context("no tolerations")?;
        let tolerates = |toleration: &Value| {
            toleration["operator"] == "Exists"
                && toleration.get("key").is_none_or(|key| key == "heddle.io/agent-not-ready")
                && toleration.get("effect").is_none()
        };
        assert!(tolerations.iter().any(tolerates), "{tolerations:?}");
    }
    // API servers reach the webhook.
    let webhook = &objects["ValidatingWebhookConfiguration/heddle"];
    assert_eq!(ca["admission"]["webhook"], webhook["metadata"]["name"]);
    let called = &webhook["webhooks"][0]["clientConfig"]["service"];
    let service = &objects[&format!("Service/{}", called["name"].as_str().unwrap())];
    let ports = service["spec"]["ports"].as_array().context("no ports")?;
    let port = ports.iter().find(|port| port["port"] == called["port"]).context("the Service has no such port")?;
    let containers = authority["spec"]["template"]["spec"]["containers"][0]["ports"].as_array().context("no ports")?;
    let container =
        containers.iter().find(|own| own["name"] == port["targetPort"]).context("no such container port")?;
    let listen = ca["admission"]["listen"].as_str().context("no admission.listen")?;
    assert!(listen.ends_with(&format!(":{}", container["containerPort"])), "{listen} and {container}");
    Ok(())
}

/// What takes Heddle away needs what the agent has.
#[test]
fn the_uninstalling_pods_have_the_agents_rights_and_mounts() -> Result<()> {
    let pod = |directory: &str, name: &str| -> Result<Value> {
        Ok(kustomize(&here(directory))?[name]["spec"]["template"]["spec"].clone())
    };
    let agent = pod("deploy/manifests", "DaemonSet/heddle-agent")?;
    let uninstall = pod("deploy/uninstall", "DaemonSet/heddle-uninstall")?;
    for key in ["hostNetwork", "hostPID", "nodeSelector", "tolerations"] {
        assert_eq!(uninstall[key], agent[key], "{key}");
    }
    let of_agent = &agent["containers"][0];
    for container in [&uninstall["initContainers"][0], &uninstall["containers"][0]] {
        assert_eq!(container["securityContext"], of_agent["securityContext"]);
        for mount in container["volumeMounts"].as_array().context("no mounts")? {
            assert!(of_agent["volumeMounts"].as_array().unwrap().contains(mount), "{mount}");
        }
        let words: Vec<_> = container["args"].as_array().context("no args")?.iter().filter_map(Value::as_str).collect();
        assert_eq!(words[..2], ["agent", "--cleanup"]);
    }
    Ok(())
}
