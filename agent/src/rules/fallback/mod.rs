//! Fallback: who serves in the place of a Service that cannot.

#[cfg(test)]
mod tests;

use std::num::NonZeroU16;

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::gateway::{ServiceRef, not_other_kind, port, required_list, service_name, service_ref};
use crate::config::yaml::MapReader;

/// As many as an XBackendTrafficPolicy may have.
const MAX_TARGETS: usize = 16;

/// `heddle.io/v1alpha1` Fallback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fallback {
    /// The Services of its namespace that are not to fail, at least one, each once.
    pub target_refs: Vec<Target>,
    /// The Service that takes over; none of the targets.
    pub backend_ref: ServiceRef,
}

/// A Service of the document's namespace, or one port of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// The one port that is meant; else all that no Fallback names.
    pub port: Option<NonZeroU16>,
}

impl Target {
    /// Whether both name the same port of the same Service.
    fn overlaps(&self, other: &Self) -> bool {
        self.name == other.name && (self.port.is_none() || other.port.is_none() || self.port == other.port)
    }

    /// Whether a reference of a namespace's document is to this.
    fn is(&self, reference: &ServiceRef, namespace: &str) -> bool {
        let same_namespace = reference.namespace.as_deref().is_none_or(|other| other == namespace);
        same_namespace && self.name == reference.name && self.port.is_none_or(|port| port == reference.port)
    }
}

/// Reads the spec of a document of a namespace.
pub(super) fn read(spec: MapReader<'_>, namespace: &str) -> Option<Fallback> {
    let target_refs = target_refs(&spec);
    let backend_ref = backend_ref(&spec);
    if backend_ref.iter().any(|backend| target_refs.iter().any(|target| target.is(backend, namespace))) {
        let message = "is one of its own targetRefs, and a Service port cannot take over from itself; name another, or give the targetRef its port";
        spec.complain("backendRef", message);
    }
    spec.finish();
    Some(Fallback { target_refs, backend_ref: backend_ref? })
}

fn target_refs(spec: &MapReader<'_>) -> Vec<Target> {
    let maps = required_list(spec, "targetRefs", MAX_TARGETS, "the Services that are not to fail");
    let mut targets: Vec<Target> = Vec::with_capacity(maps.len());
    for map in maps {
        let target = target(&map);
        if target.iter().any(|target| targets.iter().any(|earlier| earlier.overlaps(target))) {
            map.complain_here("is the same Service and port as one before it, allowed: each once");
        }
        targets.extend(target);
        map.finish();
    }
    targets
}

fn target(map: &MapReader<'_>) -> Option<Target> {
    not_other_kind(map);
    let (name, port) = (service_name(map), port(map, "port"));
    Some(Target { name: name?, port })
}

fn backend_ref(spec: &MapReader<'_>) -> Option<ServiceRef> {
    if !spec.has("backendRef") {
        spec.missing("backendRef", "the Service that takes over, with name and port");
    }
    let map = spec.map("backendRef")?;
    let reference = service_ref(&map);
    map.finish();
    reference
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("group", "")?;
        map.serialize_entry("kind", "Service")?;
        map.serialize_entry("name", &self.name)?;
        if let Some(port) = self.port {
            map.serialize_entry("port", &port)?;
        }
        map.end()
    }
}
