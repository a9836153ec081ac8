//! Reads a Node.

use std::sync::Arc;

use super::{ReadObject, ip, map_of, metadata, name_in};
use crate::{
    config::yaml::MapReader,
    objects::{Kind, Node, Object, ObjectKey, ObjectName},
};

/// A `v1` Node.
pub(super) fn read(root: &MapReader<'_>) -> ReadObject {
    let Some(metadata) = metadata(root) else { return (None, None) };
    let Some(name) = name_in(&metadata) else { return (None, None) };
    let key = ObjectKey { kind: Kind::Node, name: ObjectName::new("", name) };
    let Some(status) = root.map_or_empty("status") else { return (Some(key), None) };
    let addresses = status.maps("addresses");
    let of_node = addresses.iter().filter(|entry| matches!(entry.text("type"), Some("InternalIP" | "ExternalIP")));
    let addresses = of_node.filter_map(|entry| entry.parsed("address", "an IP address", ip)).collect();
    let node = Node { name: name.into(), labels: map_of(&metadata, "labels"), addresses };
    (Some(key), Some(Object::Node(Arc::new(node))))
}
