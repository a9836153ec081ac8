//! `parentRefs`: the Services that a route is for.

use std::num::NonZeroU16;

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{
    backends::{name, namespace},
    port, required_list,
    values::not_core_service,
};
use crate::config::yaml::MapReader;

/// Upstream's limit.
const MAX_PARENTS: usize = 32;

/// What `group` and `kind` are when they are left out.
const DEFAULT_GROUP: &str = "gateway.networking.k8s.io";
const DEFAULT_KIND: &str = "Gateway";

/// ParentReference to a Service: the address that clients dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentRef {
    /// Name of the Service.
    pub name: String,
    /// Its namespace; that of the route where there is none.
    pub namespace: Option<String>,
    /// The one port that is meant, else all ports.
    pub port: Option<NonZeroU16>,
}

impl ParentRef {
    /// Whether both name the same port of the same Service.
    fn overlaps(&self, other: &Self) -> bool {
        let same_port = self.port.is_none() || other.port.is_none() || self.port == other.port;
        (&self.name, &self.namespace) == (&other.name, &other.namespace) && same_port
    }
}

/// Reads `parentRefs`. A route without any would be for nothing.
pub(in crate::rules) fn parent_refs(spec: &MapReader<'_>) -> Vec<ParentRef> {
    let maps = required_list(spec, "parentRefs", MAX_PARENTS, "the Services that the route is for");
    let mut parents: Vec<ParentRef> = Vec::with_capacity(maps.len());
    for map in maps {
        let parent = parent_ref(&map);
        if parent.iter().any(|parent| parents.iter().any(|earlier| earlier.overlaps(parent))) {
            map.complain_here("is the same Service and port as one before it, allowed: each once");
        }
        parents.extend(parent);
        map.finish();
    }
    parents
}

fn parent_ref(map: &MapReader<'_>) -> Option<ParentRef> {
    let is_service = parent_kind(map);
    let (name, namespace, port) = (name(map), namespace(map), port(map, "port"));
    map.tolerate(&["sectionName"]);
    // Where the parent is something else, that has been said, and is enough.
    if is_service && map.has("sectionName") {
        map.complain("sectionName", "is not served for a Service; give the port's number in port");
    }
    Some(ParentRef { name: name?, namespace, port })
}

/// Complains about any parent but a Service of the core group.
fn parent_kind(map: &MapReader<'_>) -> bool {
    let (group, kind) = (map.text("group"), map.text("kind"));
    if map.has("group") && group.is_none() || map.has("kind") && kind.is_none() {
        return false;
    }
    match (group, kind.unwrap_or(DEFAULT_KIND)) {
        (None | Some(DEFAULT_GROUP), DEFAULT_KIND) => {
            let message = "found a Gateway, but this build serves routes whose parent is a Service; write group: \"\" and kind: Service";
            map.complain("kind", message);
            false
        }
        (None, "Service") => {
            map.missing("group", &format!("\"\" for a Service, since without it the group is {DEFAULT_GROUP}"));
            true
        }
        (group, kind) => !not_core_service(map, group.unwrap_or(DEFAULT_GROUP), kind),
    }
}

impl Serialize for ParentRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("group", "")?;
        map.serialize_entry("kind", "Service")?;
        map.serialize_entry("name", &self.name)?;
        if let Some(namespace) = &self.namespace {
            map.serialize_entry("namespace", namespace)?;
        }
        if let Some(port) = self.port {
            map.serialize_entry("port", &port)?;
        }
        map.end()
    }
}
