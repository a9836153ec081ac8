//! Other meshes: what is there of them, and whether a namespace is in two.
//!
//! A pod in two meshes is captured twice, and both want the ports 15001, 15006 and 15008 of its network namespace.

use std::collections::BTreeMap;

use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::Namespace};

use super::network_plugin::name_of;
use crate::check::Outcome;

/// DaemonSets of other meshes.
const DAEMON_SETS: [(&str, &str); 4] =
    [("ztunnel", "Istio ambient"), ("istio-cni-node", "Istio"), ("kmesh", "Kmesh"), ("linkerd-cni", "Linkerd")];
/// Namespaces that other meshes are installed in.
const NAMESPACES: [(&str, &str); 2] = [("istio-system", "Istio"), ("linkerd", "Linkerd")];

/// How a namespace is in another mesh: a key of its labels or annotations, and the values that say so; any if there are none.
const MEMBERSHIPS: [(&str, &[&str], &str); 4] = [
    ("istio.io/dataplane-mode", &["ambient", "Kmesh"], "Istio ambient or Kmesh"),
    ("istio-injection", &["enabled"], "Istio with sidecars"),
    ("istio.io/rev", &[], "Istio with sidecars"),
    ("linkerd.io/inject", &["enabled", "ingress"], "Linkerd"),
];

/// Judges what is installed, and each enrolled namespace.
pub(super) fn judge(daemon_sets: &[DaemonSet], namespaces: &[Namespace]) -> Vec<Outcome> {
    let check = "other meshes";
    let conflicts: Vec<Outcome> =
        namespaces.iter().filter(|namespace| is_enrolled(namespace)).flat_map(conflicts).collect();
    if !conflicts.is_empty() {
        return conflicts;
    }
    let found = installed(daemon_sets, namespaces);
    let seen = match found.is_empty() {
        true => "none".to_owned(),
        false => format!("{}; no namespace is in one of them and in Heddle", found.join(", ")),
    };
    vec![Outcome::ok(check, seen)]
}

/// Whether the label of a namespace enrols its pods.
pub(super) fn is_enrolled(namespace: &Namespace) -> bool {
    let labels = namespace.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get("heddle.io/mesh")).is_some_and(|value| value == "enabled")
}

fn conflicts(namespace: &Namespace) -> Vec<Outcome> {
    let (name, nothing) = (namespace.metadata.name.as_deref().unwrap_or_default(), BTreeMap::new());
    let labels = namespace.metadata.labels.as_ref().unwrap_or(&nothing);
    let annotations = namespace.metadata.annotations.as_ref().unwrap_or(&nothing);
    let places = [(labels, "label"), (annotations, "annotate")];
    let says = |values: &[&str], value: &String| values.is_empty() || values.contains(&&**value);
    let found = places.into_iter().flat_map(|(map, verb)| {
        let member =
            move |(key, values, mesh)| map.get(key).filter(|value| says(values, value)).map(|value| (key, value, mesh));
        MEMBERSHIPS.into_iter().filter_map(member).map(move |found| (verb, found))
    });
    found
        .map(|(verb, (key, value, mesh))| {
            Outcome::error(
                "other meshes",
                format!("namespace {name} is enrolled in Heddle and, by {key}={value}, in {mesh}"),
                format!("take it out of one of them: kubectl {verb} namespace {name} {key}-"),
            )
        })
        .collect()
}

fn installed(daemon_sets: &[DaemonSet], namespaces: &[Namespace]) -> Vec<String> {
    let sets = daemon_sets.iter().filter_map(|set| {
        let (_, mesh) = DAEMON_SETS.iter().find(|(name, _)| set.metadata.name.as_deref() == Some(name))?;
        Some(format!("{mesh} (DaemonSet {})", name_of(set)))
    });
    let namespaces = namespaces.iter().filter_map(|namespace| {
        let (name, mesh) = NAMESPACES.iter().find(|(name, _)| namespace.metadata.name.as_deref() == Some(name))?;
        Some(format!("{mesh} (namespace {name})"))
    });
    sets.chain(namespaces).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use serde_json::{Value, json};

    use super::*;
    use crate::check::Standing;

    fn namespace(name: &str, labels: &Value, annotations: &Value) -> Namespace {
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": labels, "annotations": annotations},
        }))
        .unwrap()
    }

    #[test]
    fn a_namespace_in_two_meshes_is_an_error_with_the_command_that_takes_it_out() {
        for (labels, annotations, command) in [
            (
                json!({"istio.io/dataplane-mode": "ambient"}),
                json!({}),
                "kubectl label namespace shop istio.io/dataplane-mode-",
            ),
            (json!({"istio-injection": "enabled"}), json!({}), "kubectl label namespace shop istio-injection-"),
            (json!({"istio.io/rev": "canary"}), json!({}), "kubectl label namespace shop istio.io/rev-"),
            (json!({}), json!({"linkerd.io/inject": "enabled"}), "kubectl annotate namespace shop linkerd.io/inject-"),
        ] {
            let mut both = labels.clone();
            both["heddle.io/mesh"] = json!("enabled");
            let outcomes = judge(&[], &[namespace("shop", &both, &annotations)]);
            let [outcome] = &outcomes[..] else { panic!("{outcomes:?}") };
            assert_eq!(outcome.standing, Standing::Error);
            assert!(outcome.remedy.as_ref().unwrap().ends_with(command), "{outcome}");
            let outcomes = judge(&[], &[namespace("shop", &labels, &annotations)]);
            assert_eq!(outcomes[0].standing, Standing::Ok, "not enrolled here: {labels}");
        }
        let out = json!({"heddle.io/mesh": "enabled", "istio-injection": "disabled"});
        assert_eq!(judge(&[], &[namespace("shop", &out, &json!({}))])[0].seen, "none");
    }

    #[test]
    fn a_mesh_beside_this_one_is_told() {
        let set = json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "ztunnel", "namespace": "istio-system"},
        });
        let outcomes = judge(&[serde_json::from_value(set).unwrap()], &[namespace("linkerd", &json!({}), &json!({}))]);
        assert!(outcomes[0].seen.contains("ztunnel") && outcomes[0].seen.contains("Linkerd"), "{}", outcomes[0]);
    }
}
