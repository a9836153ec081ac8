//! One YAML document to typed objects.
//!
//! Full Kubernetes objects are the input, so unknown fields are tolerated; a known field of the wrong shape breaks its
//! object, which is then reported whole and with all its problems.

mod config_map;
mod node;
mod pod;
mod probes;
mod service;
mod slice;

use std::{net::IpAddr, sync::Arc, time::SystemTime};

use super::{Kind, Map, Namespace, Object, ObjectKey, ObjectName, Protocol, ServiceAccount, intern};
use crate::{
    config::{
        Position, Problem,
        yaml::{MapReader, Node, Report, Value},
    },
    rules,
};

pub(crate) use config_map::CONFIGURATION_LABEL;
pub(super) use config_map::is_mesh_configuration;

const PORT: &str = "a port number from 1 to 65535";

/// What an object of a document turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    /// An object, and where it begins.
    Read(Object, Position),
    /// A document of mesh configuration, in a file of its own instead of a ConfigMap.
    MeshDocument,
    /// A kind that the mesh does not read.
    Ignored,
    /// Not usable; the key is known where kind and name could be read.
    Broken(Option<ObjectKey>, Vec<Problem>),
}

/// Reads a document, or the items of a `kind: List`. `text` is the whole file.
pub(super) fn read(file: &str, text: &str, node: &Node) -> Vec<Outcome> {
    let items = match (node.get("kind").and_then(Node::text), node.get("items").map(|items| &items.value)) {
        (Some("List"), Some(Value::List(items))) => items,
        (Some("List"), _) => return Vec::new(),
        _ => std::slice::from_ref(node),
    };
    items.iter().map(|item| read_object(file, text, item)).collect()
}

fn read_object(file: &str, text: &str, node: &Node) -> Outcome {
    let report = Report::new(file, text);
    let Some(root) = report.root(node) else { return Outcome::Broken(None, report.into_problems()) };
    let (version, kind) = (root.text("apiVersion"), root.text("kind"));
    let (Some(version), Some(kind)) = (version, kind) else {
        report.add(root.position(), "is not a Kubernetes object: apiVersion and kind must be there");
        return Outcome::Broken(None, report.into_problems());
    };
    let read = match (version, kind) {
        ("v1", "Namespace") => namespace,
        ("v1", "Pod") => pod::read,
        ("v1", "Service") => service::read,
        ("discovery.k8s.io/v1", "EndpointSlice") => slice::read,
        ("v1", "Node") => node::read,
        ("v1", "ServiceAccount") => service_account,
        ("v1", "ConfigMap") if is_mesh_configuration(node) => config_map::read,
        _ if rules::is_rule(version) => return Outcome::MeshDocument,
        _ => return Outcome::Ignored,
    };
    let (key, object) = read(&root);
    let position = root.position();
    drop(root);
    match (object, report.into_problems()) {
        (Some(object), problems) if problems.is_empty() => Outcome::Read(object, position),
        (_, mut problems) => {
            problems.sort_by_key(|problem| problem.position);
            Outcome::Broken(key, problems)
        }
    }
}

/// The key as far as it could be read, and the object if it could.
type ReadObject = (Option<ObjectKey>, Option<Object>);

fn namespace(root: &MapReader<'_>) -> ReadObject {
    let Some(metadata) = metadata(root) else { return (None, None) };
    let Some(name) = name_in(&metadata) else { return (None, None) };
    let key = ObjectKey { kind: Kind::Namespace, name: ObjectName::new("", name) };
    let namespace = Namespace { name: name.into(), labels: map_of(&metadata, "labels") };
    (Some(key), Some(Object::Namespace(Arc::new(namespace))))
}

fn service_account(root: &MapReader<'_>) -> ReadObject {
    let Some((_, name)) = namespaced(root) else { return (None, None) };
    let key = ObjectKey { kind: Kind::ServiceAccount, name: name.clone() };
    (Some(key), Some(Object::ServiceAccount(Arc::new(ServiceAccount { name }))))
}

fn metadata<'a>(root: &MapReader<'a>) -> Option<MapReader<'a>> {
    let metadata = root.map("metadata");
    if !root.has("metadata") {
        root.missing("metadata", "a map with a name");
    }
    metadata
}

fn name_in<'a>(metadata: &MapReader<'a>) -> Option<&'a str> {
    let allowed = "the object's name";
    if !metadata.has("name") {
        metadata.missing("name", allowed);
    }
    metadata.parsed("name", allowed, |name| (!name.is_empty()).then_some(name))
}

/// Metadata with namespace and name; without a namespace it is `default`, as kubectl has it.
fn namespaced<'a>(root: &MapReader<'a>) -> Option<(MapReader<'a>, ObjectName)> {
    let metadata = metadata(root)?;
    let name = name_in(&metadata)?;
    let namespace = intern::text(metadata.text("namespace").unwrap_or("default"));
    let name = ObjectName { namespace, name: name.into() };
    Some((metadata, name))
}

const TIME: &str = "a UTC time such as 2025-01-31T12:00:00Z";

fn time(metadata: &MapReader<'_>, key: &'static str) -> Option<SystemTime> {
    metadata.parsed(key, TIME, |text| humantime::parse_rfc3339(text).ok())
}

fn ip(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

fn map_of(parent: &MapReader<'_>, key: &'static str) -> Map {
    let Some(map) = parent.map(key) else { return Map::new() };
    map.texts().into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn port_number(map: &MapReader<'_>, key: &'static str) -> Option<u16> {
    map.integer(key, PORT, |number: &u16| *number != 0)
}

fn protocol(port: &MapReader<'_>) -> Protocol {
    let protocol = port.parsed("protocol", "TCP, UDP or SCTP", |text| match text {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        "SCTP" => Some(Protocol::Sctp),
        _ => None,
    });
    protocol.unwrap_or_default()
}

#[cfg(test)]
mod tests;
