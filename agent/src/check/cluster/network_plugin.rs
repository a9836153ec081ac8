//! The network plugin and whatever balances Services: what of it would get in the way of the capture.
//!
//! Heddle captures what a pod dials. A plugin that turns a Service's address into a pod's within the pod's own connect() does so
//! before Heddle sees it: then the routes of that Service do not apply. What balances by packets, as kube-proxy does, comes after
//! the capture and never sees those connections.

use std::collections::BTreeMap;

use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::ConfigMap};
use kube::api::DynamicObject;

use crate::check::Outcome;

/// DaemonSets that are network plugins.
const PLUGINS: [&str; 11] = [
    "antrea-agent",
    "aws-node",
    "calico-node",
    "canal",
    "cilium",
    "kindnet",
    "kube-flannel",
    "kube-flannel-ds",
    "kube-router",
    "ovnkube-node",
    "weave-net",
];

/// Which plugin it is.
pub(super) fn judge(daemon_sets: &[DaemonSet]) -> Outcome {
    let known = |set: &&DaemonSet| set.metadata.name.as_deref().is_some_and(|name| PLUGINS.contains(&name));
    let found: Vec<String> = daemon_sets.iter().filter(known).map(name_of).collect();
    let seen = match found.is_empty() {
        true => "none that is known by its DaemonSet; Heddle needs none of its own".to_owned(),
        false => found.join(", "),
    };
    Outcome::ok("network plugin", seen)
}

/// Cilium's own configuration.
pub(super) fn judge_cilium(config: Option<&ConfigMap>) -> Vec<Outcome> {
    let Some(config) = config else { return vec![Outcome::ok("Cilium", "not installed")] };
    let nothing = BTreeMap::new();
    let data = config.data.as_ref().unwrap_or(&nothing);
    let value = |key: &str| data.get(key).map_or("", String::as_str);
    let replaces = value("kube-proxy-replacement");
    let balances = matches!(replaces, "true" | "strict") || value("bpf-lb-sock") == "true";
    let balancing = match (balances, value("bpf-lb-sock-hostns-only") == "true") {
        (false, _) => Outcome::ok("Cilium's balancing", "it is not done in connect()"),
        (true, true) => Outcome::ok("Cilium's balancing", "it is done in connect() of the nodes' own processes only"),
        (true, false) => Outcome::error(
            "Cilium's balancing",
            "Services are resolved in the pods' connect(), before Heddle sees their addresses",
            "set socketLB.hostNamespaceOnly=true (cilium-config: bpf-lb-sock-hostns-only: \"true\") and restart Cilium",
        ),
    };
    let mode = value("datapath-mode");
    let devices = match mode.starts_with("netkit") {
        true => Outcome::warning(
            "Cilium's devices",
            format!("pods have {mode} devices, at which Heddle cannot stop what a pod sends past the capture"),
            "set bpf.datapathMode=veth if pods with CAP_NET_RAW must not get past the mesh",
        ),
        false => Outcome::ok("Cilium's devices", "pods have veth devices; host routing by BPF or by the stack is fine"),
    };
    vec![balancing, devices]
}

/// Calico's, as its agents (Felix) have it.
pub(super) fn judge_calico(felix: Option<&DynamicObject>, daemon_sets: &[DaemonSet]) -> Outcome {
    let check = "Calico";
    let spec = felix.map(|felix| &felix.data["spec"]);
    let by_variable =
        daemon_sets.iter().any(|set| variable(set, "FELIX_BPFENABLED").is_some_and(|value| value == "true"));
    let is_bpf = by_variable || spec.is_some_and(|spec| spec["bpfEnabled"] == true);
    if !is_bpf {
        let seen =
            if felix.is_some() { "its eBPF data plane is off" } else { "not installed, or its eBPF data plane is off" };
        return Outcome::ok(check, seen);
    }
    let is_off = spec.is_some_and(|spec| {
        spec["bpfConnectTimeLoadBalancing"] == "Disabled" || spec["bpfConnectTimeLoadBalancingEnabled"] == false
    });
    match is_off {
        true => Outcome::ok(check, "its eBPF data plane does not balance in connect()"),
        false => Outcome::error(
            check,
            "its eBPF data plane resolves Services in the pods' connect(), before Heddle sees their addresses",
            "set bpfConnectTimeLoadBalancing: Disabled and bpfHostNetworkedNATWithoutCTLB: Enabled in FelixConfiguration default",
        ),
    }
}

/// kube-proxy's.
pub(super) fn judge_kube_proxy(config: Option<&ConfigMap>) -> Outcome {
    let check = "kube-proxy";
    let text = config.and_then(|config| config.data.as_ref()?.get("config.conf"));
    let Some(text) = text else {
        return Outcome::ok(
            check,
            "no ConfigMap kube-system/kube-proxy: something else balances, or it is configured elsewhere",
        );
    };
    let parsed: serde_json::Value = serde_saphyr::from_str(text).unwrap_or_default();
    let mode = match parsed["mode"].as_str().unwrap_or_default() {
        "" => "the default",
        mode => mode,
    };
    Outcome::ok(check, format!("mode {mode}; it comes after the capture, whatever its mode"))
}

fn variable<'a>(set: &'a DaemonSet, name: &str) -> Option<&'a str> {
    let containers = &set.spec.template.spec.as_ref()?.containers;
    let mut variables = containers.iter().flat_map(|container| container.env.iter().flatten());
    variables.find(|variable| variable.name == name)?.value.as_deref()
}

/// `NAMESPACE/NAME`.
pub(super) fn name_of(set: &DaemonSet) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    format!("{}/{}", part(&set.metadata.namespace), part(&set.metadata.name))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use serde_json::{Value, json};

    use super::*;
    use crate::check::Standing;

    fn config(data: &Value) -> ConfigMap {
        serde_json::from_value(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": data})).unwrap()
    }

    fn daemon_set(name: &str, env: &Value) -> DaemonSet {
        serde_json::from_value(json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": name, "namespace": "kube-system"},
            "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "c", "env": env}]}}},
        }))
        .unwrap()
    }

    fn felix(spec: &Value) -> DynamicObject {
        serde_json::from_value(json!({"metadata": {"name": "default"}, "spec": spec})).unwrap()
    }

    #[test]
    fn cilium_must_not_balance_in_the_connect_of_pods() {
        for (data, standing) in [
            (json!({"kube-proxy-replacement": "false"}), Standing::Ok),
            (json!({"kube-proxy-replacement": "true"}), Standing::Error),
            (json!({"kube-proxy-replacement": "strict"}), Standing::Error),
            (json!({"kube-proxy-replacement": "false", "bpf-lb-sock": "true"}), Standing::Error),
            (json!({"kube-proxy-replacement": "true", "bpf-lb-sock-hostns-only": "true"}), Standing::Ok),
            (json!({}), Standing::Ok),
        ] {
            let outcomes = judge_cilium(Some(&config(&data)));
            assert_eq!(outcomes[0].standing, standing, "{data}");
            let names_the_value = || outcomes[0].remedy.as_ref().unwrap().contains("socketLB.hostNamespaceOnly=true");
            assert!(standing == Standing::Ok || names_the_value());
            assert_eq!(outcomes[1].standing, Standing::Ok);
        }
        let netkit = judge_cilium(Some(&config(&json!({"datapath-mode": "netkit"}))));
        assert_eq!(netkit[1].standing, Standing::Warning);
        assert_eq!(judge_cilium(None)[0].seen, "not installed");
    }

    #[test]
    fn neither_must_calicos_ebpf_data_plane() {
        let on = daemon_set("calico-node", &json!([{"name": "FELIX_BPFENABLED", "value": "true"}]));
        for (spec, sets, standing) in [
            (None, vec![], Standing::Ok),
            (Some(json!({})), vec![], Standing::Ok),
            (Some(json!({"bpfEnabled": true})), vec![], Standing::Error),
            (Some(json!({"bpfEnabled": true, "bpfConnectTimeLoadBalancing": "TCP"})), vec![], Standing::Error),
            (Some(json!({"bpfEnabled": true, "bpfConnectTimeLoadBalancing": "Disabled"})), vec![], Standing::Ok),
            (None, vec![on.clone()], Standing::Error),
        ] {
            let object = spec.as_ref().map(felix);
            assert_eq!(judge_calico(object.as_ref(), &sets).standing, standing, "{spec:?}");
        }
    }

    #[test]
    fn kube_proxys_mode_is_told() {
        let config = config(&json!({"config.conf": "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nmode: ipvs\n"}));
        assert!(judge_kube_proxy(Some(&config)).seen.starts_with("mode ipvs"));
        assert_eq!(judge_kube_proxy(None).standing, Standing::Ok);
        let sets = [daemon_set("kindnet", &json!([])), daemon_set("other", &json!([]))];
        assert_eq!(judge(&sets).seen, "kube-system/kindnet");
    }
}
