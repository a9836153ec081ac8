//! One YAML document to typed objects.
//!
//! Full Kubernetes objects are the input, so unknown fields are tolerated; a known field of the wrong shape breaks its
//! object, which is then reported whole and with all its problems.

use std::{sync::Arc, time::SystemTime};

use super::{
    AddressType, EndpointSlice, Kind, Map, Namespace, Object, ObjectKey, ObjectName, OwnerReference, Pod, PodPhase,
    Protocol, Service, ServiceKind, ServicePort, SliceEndpoint, SlicePort, TargetPort,
};
use crate::config::{
    Position, Problem,
    yaml::{MapReader, Node, Report, Value},
};

const PORT: &str = "a port number from 1 to 65535";
const ADDRESSES: &str = "a list of IP addresses";
const TIME: &str = "a UTC time such as 2025-01-31T12:00:00Z";

/// What an object of a document turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    /// An object, and where it begins.
    Read(Object, Position),
    /// A kind that the mesh does not read.
    Ignored(String),
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
        ("v1", "Pod") => pod,
        ("v1", "Service") => service,
        ("discovery.k8s.io/v1", "EndpointSlice") => endpoint_slice,
        _ => return Outcome::Ignored(kind.to_owned()),
    };
    let (key, object) = read(&root);
    let position = root.position();
    drop(root);
    match (object, report.into_problems()) {
        (Some(object), problems) if problems.is_empty() => Outcome::Read(object, position),
        (_, problems) => Outcome::Broken(key, problems),
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

fn pod(root: &MapReader<'_>) -> ReadObject {
    let Some((metadata, name)) = namespaced(root) else { return (None, None) };
    let key = ObjectKey { kind: Kind::Pod, name: name.clone() };
    (Some(key), pod_of(root, &metadata, name).map(|pod| Object::Pod(Arc::new(pod))))
}

fn pod_of(root: &MapReader<'_>, metadata: &MapReader<'_>, name: ObjectName) -> Option<Pod> {
    let spec = root.map_or_empty("spec")?;
    let status = root.map_or_empty("status")?;
    Some(Pod {
        name,
        uid: metadata.text("uid").map(Into::into),
        labels: map_of(metadata, "labels"),
        annotations: map_of(metadata, "annotations"),
        owner: owner(metadata),
        created: metadata.parsed("creationTimestamp", TIME, time),
        deleting: metadata.parsed("deletionTimestamp", TIME, time).is_some(),
        node: spec.text("nodeName").filter(|node| !node.is_empty()).map(Into::into),
        service_account: spec.text("serviceAccountName").filter(|name| !name.is_empty()).map(Into::into),
        host_network: spec.boolean("hostNetwork").unwrap_or(false),
        phase: status.parsed("phase", "a pod phase", phase).unwrap_or_default(),
        addresses: pod_addresses(&status),
        ready: has_condition(&status, "Ready"),
    })
}

fn phase(text: &str) -> Option<PodPhase> {
    match text {
        "Pending" => Some(PodPhase::Pending),
        "Running" => Some(PodPhase::Running),
        "Succeeded" => Some(PodPhase::Succeeded),
        "Failed" => Some(PodPhase::Failed),
        "Unknown" => Some(PodPhase::Unknown),
        _ => None,
    }
}

fn owner(metadata: &MapReader<'_>) -> Option<OwnerReference> {
    let references: Vec<(bool, OwnerReference)> = metadata
        .maps("ownerReferences")
        .iter()
        .filter_map(|reference| {
            let owner =
                OwnerReference { kind: reference.text("kind")?.to_owned(), name: reference.text("name")?.to_owned() };
            Some((reference.boolean("controller").unwrap_or(false), owner))
        })
        .collect();
    let controller = references.iter().find(|(controller, _)| *controller).or(references.first());
    controller.map(|(_, owner)| owner.clone())
}

fn pod_addresses(status: &MapReader<'_>) -> Vec<std::net::IpAddr> {
    let entries = status.maps("podIPs");
    let mut addresses: Vec<_> =
        entries.iter().filter_map(|entry| entry.parsed("ip", "an IP address", |text| text.parse().ok())).collect();
    let single = status.parsed("podIP", "an IP address", |text| text.parse().ok());
    if addresses.is_empty() {
        addresses.extend(single);
    }
    addresses
}

fn has_condition(status: &MapReader<'_>, kind: &str) -> bool {
    let conditions = status.maps("conditions");
    conditions.iter().any(|condition| condition.text("type") == Some(kind) && condition.text("status") == Some("True"))
}

fn service(root: &MapReader<'_>) -> ReadObject {
    let Some((_, name)) = namespaced(root) else { return (None, None) };
    let key = ObjectKey { kind: Kind::Service, name: name.clone() };
    (Some(key), service_of(root, name).map(|service| Object::Service(Arc::new(service))))
}

fn service_of(root: &MapReader<'_>, name: ObjectName) -> Option<Service> {
    let spec = root.map_or_empty("spec")?;
    let kind = spec.parsed("type", "ClusterIP, NodePort, LoadBalancer or ExternalName", service_kind);
    let mut cluster_ips = cluster_ips(&spec);
    cluster_ips.dedup();
    Some(Service {
        name,
        kind: kind.unwrap_or_default(),
        cluster_ips,
        ports: spec.maps("ports").iter().filter_map(service_port).collect(),
        selector: map_of(&spec, "selector"),
        publish_not_ready: spec.boolean("publishNotReadyAddresses").unwrap_or(false),
    })
}

fn service_kind(text: &str) -> Option<ServiceKind> {
    match text {
        "ClusterIP" => Some(ServiceKind::ClusterIp),
        "NodePort" => Some(ServiceKind::NodePort),
        "LoadBalancer" => Some(ServiceKind::LoadBalancer),
        "ExternalName" => Some(ServiceKind::ExternalName),
        _ => None,
    }
}

/// `None` stands for headless, in both fields.
fn cluster_ips(spec: &MapReader<'_>) -> Vec<std::net::IpAddr> {
    let allowed = "an IP address or None";
    let parse = |text: &str| match text {
        "None" | "" => Some(None),
        _ => text.parse().ok().map(Some),
    };
    let single = spec.parsed("clusterIP", allowed, parse).flatten();
    let several = spec.scalars("clusterIPs", allowed, |node| parse(node.text()?));
    let several: Vec<_> = several.into_iter().flatten().collect();
    if several.is_empty() { single.into_iter().collect() } else { several }
}

fn service_port(port: &MapReader<'_>) -> Option<ServicePort> {
    let number = port_number(port, "port");
    if !port.has("port") {
        port.missing("port", PORT);
    }
    Some(ServicePort {
        name: port.text("name").unwrap_or_default().into(),
        target: port.scalar("targetPort", "a port number or name", |node| match &node.value {
            Value::Integer(number) => u16::try_from(*number).ok().map(TargetPort::Number),
            Value::Text(name) => Some(TargetPort::Name(name.clone())),
            _ => None,
        }),
        protocol: protocol(port),
        app_protocol: port.text("appProtocol").map(Into::into),
        port: number?,
    })
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

fn endpoint_slice(root: &MapReader<'_>) -> ReadObject {
    let Some((metadata, name)) = namespaced(root) else { return (None, None) };
    let key = ObjectKey { kind: Kind::EndpointSlice, name: name.clone() };
    (Some(key), slice_of(root, &metadata, name).map(|slice| Object::EndpointSlice(Arc::new(slice))))
}

fn slice_of(root: &MapReader<'_>, metadata: &MapReader<'_>, name: ObjectName) -> Option<EndpointSlice> {
    let allowed = "IPv4, IPv6 or FQDN";
    let family = root.parsed("addressType", allowed, |text| match text {
        "IPv4" => Some(AddressType::Ipv4),
        "IPv6" => Some(AddressType::Ipv6),
        "FQDN" => Some(AddressType::Fqdn),
        _ => None,
    });
    if !root.has("addressType") {
        root.missing("addressType", allowed);
    }
    let service = map_of(metadata, "labels").remove("kubernetes.io/service-name").map(Into::into);
    let ports = root.maps("ports").iter().map(slice_port).collect();
    let family = family?;
    let endpoints = root.maps("endpoints");
    Some(EndpointSlice {
        service,
        family,
        ports,
        endpoints: endpoints.iter().filter_map(|entry| slice_endpoint(entry, family, &name.namespace)).collect(),
        name,
    })
}

fn slice_port(port: &MapReader<'_>) -> SlicePort {
    SlicePort {
        name: port.text("name").unwrap_or_default().into(),
        port: port_number(port, "port"),
        protocol: protocol(port),
    }
}

fn slice_endpoint(entry: &MapReader<'_>, family: AddressType, namespace: &str) -> Option<SliceEndpoint> {
    let of_family = |address: &std::net::IpAddr| match family {
        AddressType::Ipv4 => address.is_ipv4(),
        AddressType::Ipv6 => address.is_ipv6(),
        AddressType::Fqdn => false,
    };
    let addresses = match family {
        AddressType::Fqdn => Vec::new(),
        AddressType::Ipv4 | AddressType::Ipv6 => {
            entry.scalars("addresses", ADDRESSES, |node| node.text()?.parse().ok().filter(of_family))
        }
    };
    let conditions = entry.map_or_empty("conditions")?;
    let ready = conditions.boolean("ready").unwrap_or(true);
    let target = entry.map_or_empty("targetRef")?;
    let is_pod = target.text("kind") == Some("Pod");
    Some(SliceEndpoint {
        addresses,
        ready,
        serving: conditions.boolean("serving").unwrap_or(ready),
        terminating: conditions.boolean("terminating").unwrap_or(false),
        pod: target
            .text("name")
            .filter(|_| is_pod)
            .map(|name| ObjectName::new(target.text("namespace").unwrap_or(namespace), name)),
        node: entry.text("nodeName").map(Into::into),
        zone: entry.text("zone").map(Into::into),
    })
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
    let name = ObjectName::new(metadata.text("namespace").unwrap_or("default"), name);
    Some((metadata, name))
}

fn map_of(parent: &MapReader<'_>, key: &'static str) -> Map {
    let Some(map) = parent.map(key) else { return Map::new() };
    map.texts().into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn time(text: &str) -> Option<SystemTime> {
    humantime::parse_rfc3339(text).ok()
}
