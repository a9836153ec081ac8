//! Which pods are in the mesh.

use super::Problems;
use crate::{
    mesh::Membership,
    objects::{Kind, Map, ObjectName, ObjectSet, Pod},
};

/// The label on a Namespace or a Pod.
const LABEL: &str = "heddle.io/mesh";

/// What the label of one object says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Enabled,
    Disabled,
}

/// The pod's own label decides; without one, its namespace's.
pub(super) fn of(pod: &Pod, objects: &ObjectSet, problems: &mut Problems) -> Membership {
    let own = wish(&pod.labels);
    if let Err(found) = own {
        problems.add(Kind::Pod, &pod.name, bad_label(found, "the namespace's label decides"));
    }
    let inherited = || objects.namespaces.get(&pod.name.namespace).and_then(|ns| wish(&ns.labels).ok().flatten());
    match own.ok().flatten().or_else(inherited) {
        Some(Wish::Enabled) => Membership::Enrolled,
        Some(Wish::Disabled) | None => Membership::Outside,
    }
}

/// Reports namespaces whose label is not understood: once each, not with each of their pods.
pub(super) fn check_namespaces(objects: &ObjectSet, problems: &mut Problems) {
    for (name, namespace) in &objects.namespaces {
        if let Err(found) = wish(&namespace.labels) {
            let message = bad_label(found, "only pods with a label of their own are enrolled");
            problems.add(Kind::Namespace, &ObjectName::new("", name), message);
        }
    }
}

/// Host-network pods share the node's network namespace, which is not captured; one that asks for it is told so.
pub(super) fn check_host_network(pod: &Pod, problems: &mut Problems) {
    if wish(&pod.labels) == Ok(Some(Wish::Enabled)) {
        let message = format!("label {LABEL}: enabled has no effect on a host-network pod; remove the label");
        problems.add(Kind::Pod, &pod.name, message);
    }
}

fn wish(labels: &Map) -> Result<Option<Wish>, &str> {
    match labels.get(LABEL).map(String::as_str) {
        None => Ok(None),
        Some("enabled") => Ok(Some(Wish::Enabled)),
        Some("disabled") => Ok(Some(Wish::Disabled)),
        Some(other) => Err(other),
    }
}

fn bad_label(found: &str, meanwhile: &str) -> String {
    format!("label {LABEL}: found {found:?}, allowed: enabled or disabled; until then {meanwhile}")
}
