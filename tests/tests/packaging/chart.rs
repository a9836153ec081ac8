//! The chart and the manifests.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{
    objects::{Objects, documents, with_data_read},
    programs::{chart, configuration, here, kustomize},
};

fn manifests() -> Result<Objects> {
    kustomize(&here("deploy/manifests"))
}

/// Without what only one of the two can have: Helm installs into a namespace that is there, and replaces pods whose configuration changed.
fn comparable(objects: Objects) -> Result<Objects> {
    let mut all = Objects::new();
    for (name, mut object) in objects.into_iter().filter(|(name, _)| name != "Namespace/heddle-system") {
        if let Some(annotations) =
            object.pointer_mut("/spec/template/metadata/annotations").and_then(Value::as_object_mut)
        {
            annotations.remove("checksum/config");
        }
        if let Some(metadata) = object.pointer_mut("/spec/template/metadata").and_then(Value::as_object_mut)
            && metadata.get("annotations") == Some(&json!({}))
        {
            metadata.remove("annotations");
        }
        all.insert(name, with_data_read(object)?);
    }
    Ok(all)
}

#[test]
fn manifests_and_chart_are_the_same_objects() -> Result<()> {
    let (manifests, chart) = (comparable(manifests()?)?, comparable(chart("heddle-system", &json!({}))?)?);
    assert_eq!(manifests.keys().collect::<Vec<_>>(), chart.keys().collect::<Vec<_>>());
    for (name, object) in &manifests {
        assert_eq!(object, &chart[name], "{name}: the manifest, and the chart's");
    }
    assert!(manifests.len() > 15, "{}", manifests.len());
    Ok(())
}

#[test]
fn a_release_in_another_namespace_says_nothing_of_ours() -> Result<()> {
    for (name, object) in chart("mesh", &json!({}))? {
        let text = object.to_string();
        assert!(!text.contains("heddle-system"), "{name}: {text}");
        let is_in_cluster = name.starts_with("ClusterRole") || name.starts_with("ValidatingWebhook");
        assert_eq!(object["metadata"]["namespace"].as_str(), (!is_in_cluster).then_some("mesh"), "{name}");
    }
    Ok(())
}

#[test]
fn an_authority_of_ones_own_leaves_nothing_of_heddle_ca_behind() -> Result<()> {
    let remote = json!({"address": "https://istiod.istio-system.svc:15012", "roots": "/etc/roots/ca.pem"});
    let values = json!({"ca": {"enabled": false}, "agent": {"config": {"ca": {"remote": remote}}}});
    let objects = chart("heddle-system", &values)?;
    assert_eq!(objects.keys().filter(|name| name.contains("heddle-ca")).collect::<Vec<_>>(), [""; 0]);
    let pod = &objects["DaemonSet/heddle-agent"]["spec"]["template"]["spec"];
    assert!(!pod.to_string().contains("heddle-roots"), "{pod}");
    let text = objects["ConfigMap/heddle-agent"]["data"]["agent.yaml"].as_str().context("no agent.yaml")?;
    let config = configuration("agent", text)?;
    assert_eq!(config["ca"]["remote"]["address"], remote["address"], "{config}");
    Ok(())
}

#[test]
fn who_signs_has_to_be_said_where_heddle_ca_does_not() {
    let error = chart("heddle-system", &json!({"ca": {"enabled": false}})).unwrap_err();
    assert!(error.to_string().contains("say under agent.config.ca who signs"), "{error}");
}

#[test]
fn what_is_turned_off_has_no_rights_and_no_objects() -> Result<()> {
    let objects = chart("heddle-system", &json!({"taintNodes": false, "webhook": {"enabled": false}}))?;
    assert!(!objects.contains_key("ValidatingWebhookConfiguration/heddle"));
    let rules = objects["ClusterRole/heddle-ca"]["rules"].to_string();
    assert!(!rules.contains("nodes") && !rules.contains("webhook") && rules.contains("tokenreviews"), "{rules}");
    let text = objects["ConfigMap/heddle-ca"]["data"]["ca.yaml"].as_str().context("no ca.yaml")?;
    let config = configuration("ca", text)?;
    assert_eq!((&config["taintNodes"], &config["admission"]["listen"]), (&json!(false), &json!("")), "{config}");
    Ok(())
}

#[test]
fn an_authority_of_files_has_them_and_no_secret() -> Result<()> {
    let values = json!({
        "agent": {"nodeSelector": {"kubernetes.io/os": "linux", "pool": "mesh"}},
        "ca": {
            "config": {"root": {"files": {"path": "/etc/heddle-ca"}}},
            "extraVolumes": [{"name": "key", "secret": {"secretName": "cacerts"}}],
            "extraVolumeMounts": [{"name": "key", "mountPath": "/etc/heddle-ca", "readOnly": true}],
        },
    });
    let objects = chart("heddle-system", &values)?;
    let text = objects["ConfigMap/heddle-ca"]["data"]["ca.yaml"].as_str().context("no ca.yaml")?;
    let config = configuration("ca", text)?;
    assert_eq!(config["root"]["files"]["path"], "/etc/heddle-ca", "{config}");
    assert_eq!(config["agents"]["nodeSelector"], "kubernetes.io/os=linux,pool=mesh", "{config}");
    let pod = &objects["Deployment/heddle-ca"]["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"][1]["secret"]["secretName"], "cacerts");
    assert_eq!(pod["containers"][0]["volumeMounts"][1]["mountPath"], "/etc/heddle-ca");
    Ok(())
}

#[test]
fn values_reach_the_configurations_and_the_pods() -> Result<()> {
    let values = json!({
        "image": {"repository": "registry.example/heddle", "tag": "1.2.3", "pullSecrets": [{"name": "registry"}]},
        "trustDomain": "prod.example",
        "mtls": {"mode": "STRICT"},
        "agent": {"config": {"limits": {"drainTimeout": "90s"}, "log": {"level": "debug"}}, "terminationGracePeriodSeconds": 100},
        "ca": {"replicas": 3, "tolerations": [{"operator": "Exists"}]},
        "podMonitor": {"enabled": true},
    });
    let objects = chart("heddle-system", &values)?;
    let of = |name: &str, file: &str| -> Result<Value> {
        let text = objects[name]["data"][file].as_str().with_context(|| format!("{name} has no {file}"))?;
        Ok(documents(text)?.remove(0))
    };
    let agent = of("ConfigMap/heddle-agent", "agent.yaml")?;
    assert_eq!(agent["limits"], json!({"drainTimeout": "90s"}));
    assert_eq!(agent["log"], json!({"level": "debug", "format": "json"}));
    for config in [&agent, &of("ConfigMap/heddle-ca", "ca.yaml")?] {
        assert_eq!(config["trustDomain"], "prod.example");
    }
    assert_eq!(of("ConfigMap/heddle-mesh", "mesh.yaml")?["spec"]["mtls"]["mode"], "STRICT");
    for name in ["DaemonSet/heddle-agent", "Deployment/heddle-ca"] {
        let pod = &objects[name]["spec"]["template"]["spec"];
        assert_eq!(pod["containers"][0]["image"], "registry.example/heddle:1.2.3");
        assert_eq!(pod["imagePullSecrets"], json!([{"name": "registry"}]));
    }
    assert_eq!(objects["DaemonSet/heddle-agent"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"], 100);
    assert_eq!(objects["Deployment/heddle-ca"]["spec"]["replicas"], 3);
    assert_eq!(
        objects["Deployment/heddle-ca"]["spec"]["template"]["spec"]["tolerations"][2],
        json!({"operator": "Exists"})
    );
    assert!(objects.contains_key("PodMonitor/heddle") && objects.contains_key("PodMonitor/heddle-ca"));
    Ok(())
}

#[test]
fn the_pods_have_time_to_drain_and_the_probes_ask_this_build() -> Result<()> {
    let objects = manifests()?;
    for (program, workload, map) in [
        ("agent", "DaemonSet/heddle-agent", "ConfigMap/heddle-agent"),
        ("ca", "Deployment/heddle-ca", "ConfigMap/heddle-ca"),
    ] {
        let text = objects[map]["data"][format!("{program}.yaml")].as_str().context("no configuration")?;
        let config = configuration(program, text)?;
        let drain = config["limits"]["drainTimeout"].as_str().context("no drainTimeout")?;
        let drain: u64 = drain.trim_end_matches('s').parse()?;
        let grace = &objects[workload]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"];
        assert!(grace.as_u64().unwrap() > drain, "{workload} has {grace} s to drain for {drain}");
    }
    Ok(())
}
