//! Which pods are in the mesh.

use super::{batch::Batch, problems::Problems};
use crate::{
    mesh::Membership,
    objects::{Kind, Map, ObjectKey, ObjectName, ObjectSet, Pod},
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
pub(super) fn of(pod: &Pod, objects: &ObjectSet, problems: &mut Vec<String>) -> Membership {
    let own = wish(&pod.labels);
    if let Err(found) = own {
        problems.push(bad_label(found, "the namespace's label decides"));
    }
    let inherited = || objects.namespaces.get(&pod.name.namespace).and_then(|ns| wish(&ns.labels).ok().flatten());
    match own.ok().flatten().or_else(inherited) {
        Some(Wish::Enabled) => Membership::Enrolled,
        Some(Wish::Disabled) | None => Membership::Outside,
    }
}

/// Reports namespaces whose label is not understood: once each, not with each of their pods.
pub(super) fn check_namespaces(batch: &Batch, objects: &ObjectSet, problems: &mut Problems) {
    for name in batch.namespaces.keys() {
        let found = objects.namespaces.get(name).and_then(|namespace| wish(&namespace.labels).err());
        let message = found.map(|found| bad_label(found, "only pods with a label of their own are enrolled"));
        let object = ObjectKey { kind: Kind::Namespace, name: ObjectName::new("", name) };
        problems.set(&object, message.into_iter().collect());
    }
}

/// Host-network pods share the node's network namespace, which is not captured; one that asks for it is told so.
pub(super) fn check_host_network(pod: &Pod, problems: &mut Vec<String>) {
    if wish(&pod.labels) == Ok(Some(Wish::Enabled)) {
        problems.push(format!("label {LABEL}: enabled has no effect on a host-network pod; remove the label"));
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
