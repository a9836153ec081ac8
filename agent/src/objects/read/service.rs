//! Reads a Service.

use std::{net::IpAddr, sync::Arc, time::Duration};

use super::{PORT, ReadObject, map_of, namespaced, port_number, protocol};
use crate::{
    config::yaml::{MapReader, Value},
    objects::{
        Kind, Object, ObjectKey, ObjectName, Service, ServiceKind, ServicePort, TargetPort, TrafficDistribution, intern,
    },
};

/// A `v1` Service.
pub(super) fn read(root: &MapReader<'_>) -> ReadObject {
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
        client_affinity: client_affinity(&spec),
        local_only: spec.parsed("internalTrafficPolicy", "Cluster or Local", is_local).unwrap_or(false),
        distribution: spec.parsed("trafficDistribution", DISTRIBUTIONS, distribution).unwrap_or_default(),
    })
}

/// Kubernetes' default, three hours, and its bound, a day.
const AFFINITY_SECONDS: u32 = 10_800;
const MOST_AFFINITY_SECONDS: u32 = 86_400;

fn client_affinity(spec: &MapReader<'_>) -> Option<Duration> {
    let wanted = spec.parsed("sessionAffinity", "None or ClientIP", |text| match text {
        "None" => Some(false),
        "ClientIP" => Some(true),
        _ => None,
    });
    let client_ip = spec.map_or_empty("sessionAffinityConfig")?.map_or_empty("clientIP")?;
    let allowed = "a number of seconds from 1 to 86400";
    let seconds = client_ip.integer("timeoutSeconds", allowed, |n: &u32| (1..=MOST_AFFINITY_SECONDS).contains(n));
    wanted.unwrap_or(false).then(|| Duration::from_secs(seconds.unwrap_or(AFFINITY_SECONDS).into()))
}

fn is_local(text: &str) -> Option<bool> {
    match text {
        "Cluster" => Some(false),
        "Local" => Some(true),
        _ => None,
    }
}

const DISTRIBUTIONS: &str = "PreferSameZone, PreferSameNode or PreferClose";

fn distribution(text: &str) -> Option<TrafficDistribution> {
    match text {
        "PreferSameZone" | "PreferClose" => Some(TrafficDistribution::SameZone),
        "PreferSameNode" => Some(TrafficDistribution::SameNode),
        _ => None,
    }
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
fn cluster_ips(spec: &MapReader<'_>) -> Vec<IpAddr> {
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
        name: intern::text(port.text("name").unwrap_or_default()),
        target: port.scalar("targetPort", "a port number or name", |node| match &node.value {
            Value::Integer(number) => u16::try_from(*number).ok().map(TargetPort::Number),
            Value::Text(name) => Some(TargetPort::Name(name.clone())),
            _ => None,
        }),
        protocol: protocol(port),
        app_protocol: port.text("appProtocol").map(intern::text),
        port: number?,
    })
}
