//! Reads a ConfigMap of mesh configuration. What its texts say is read later, by `rules`.

use std::sync::Arc;

use super::{ReadObject, map_of, namespaced, time};
use crate::{
    config::yaml::{MapReader, Node},
    objects::{ConfigMap, Kind, Object, ObjectKey},
};

/// The label that makes a ConfigMap one of mesh configuration.
pub(crate) const CONFIGURATION_LABEL: (&str, &str) = ("heddle.io/config", "true");

/// Whether a ConfigMap is meant for the mesh; all others are none of its business.
pub(in crate::objects) fn is_mesh_configuration(node: &Node) -> bool {
    let labels = node.get("metadata").and_then(|metadata| metadata.get("labels"));
    let (key, value) = CONFIGURATION_LABEL;
    labels.and_then(|labels| labels.get(key)).and_then(Node::text) == Some(value)
}

/// A `v1` ConfigMap.
pub(super) fn read(root: &MapReader<'_>) -> ReadObject {
    let Some((metadata, name)) = namespaced(root) else { return (None, None) };
    let key = ObjectKey { kind: Kind::ConfigMap, name: name.clone() };
    let texts = map_of(root, "data").into_iter();
    let map = ConfigMap {
        name,
        uid: metadata.text("uid").map(Into::into),
        created: time(&metadata, "creationTimestamp"),
        data: texts.map(|(key, text)| (key, text.into())).collect(),
    };
    (Some(key), Some(Object::ConfigMap(Arc::new(map))))
}
