//! One Service and its EndpointSlices to its ports with their endpoints.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::slice::Part;
use crate::{
    mesh::{AddressFamily, Choice, Endpoints, Service, ServiceKind, ServiceName, ServicePort},
    objects::{self, Protocol},
};

/// The slices of one Service by name.
pub(super) type Parts = BTreeMap<Arc<str>, Part>;

/// The Service without regard to others that may have the same cluster IPs.
pub(super) fn compile(service: &objects::Service, parts: &Parts, problems: &mut Vec<String>) -> Service {
    let name = ServiceName { namespace: Arc::clone(&service.name.namespace), name: Arc::clone(&service.name.name) };
    let kind = kind(service);
    if kind == ServiceKind::ExternalName {
        return Service { name, kind, addresses: Vec::new(), ports: Vec::new() };
    }
    let mut numbers = BTreeSet::new();
    let mut ports = Vec::new();
    for port in service.ports.iter().filter(|port| port.protocol == Protocol::Tcp) {
        if !numbers.insert(port.port) {
            problems.push(format!("spec.ports: TCP port {} is there twice; the first one counts", port.port));
            continue;
        }
        ports.extend(families(service, parts).into_iter().map(|family| {
            Arc::new(ServicePort {
                service: name.clone(),
                family,
                port: port.port,
                name: Arc::clone(&port.name),
                app_protocol: port.app_protocol.clone(),
                client_affinity: service.client_affinity,
                ready: endpoints(service, port, family, parts),
            })
        }));
    }
    Service { name, kind, addresses: service.cluster_ips.clone(), ports }
}

fn kind(service: &objects::Service) -> ServiceKind {
    match service.kind {
        objects::ServiceKind::ExternalName => ServiceKind::ExternalName,
        _ if service.cluster_ips.is_empty() => ServiceKind::Headless,
        _ => ServiceKind::ClusterIp,
    }
}

/// The families of the cluster IPs; a headless Service has those of its endpoints.
fn families(service: &objects::Service, parts: &Parts) -> BTreeSet<AddressFamily> {
    if service.cluster_ips.is_empty() {
        return parts.values().map(|part| part.family).collect();
    }
    service.cluster_ips.iter().map(|address| AddressFamily::of(*address)).collect()
}

fn endpoints(
    service: &objects::Service,
    port: &objects::ServicePort,
    family: AddressFamily,
    parts: &Parts,
) -> Endpoints {
    let only = service.ports.len() == 1;
    let of_family = parts.values().filter(|part| part.family == family);
    let with_port: Vec<_> = of_family.filter_map(|part| Some((number(port, only, part)?, part))).collect();
    let choice = choose(service.local_only, &with_port);
    Endpoints::new(choice, with_port.into_iter().map(|(number, part)| (number, Arc::clone(&part.group))))
}

/// The number that a Service port has in a slice: that of the slice's port of the same name. The only port of a Service
/// needs no name, and is then the only port of the slice, whatever that is called there.
fn number(port: &objects::ServicePort, only: bool, part: &Part) -> Option<u16> {
    let same_name = part.ports.iter().find(|(name, _)| *name == port.name);
    let unnamed = || match part.ports.as_slice() {
        [single] if only && port.name.is_empty() => Some(single),
        _ => None,
    };
    same_name.or_else(unnamed).map(|(_, number)| *number)
}

/// Decides as kube-proxy does (its `CategorizeEndpoints`): hints count when every ready endpoint has some and one is
/// for us; endpoints that are being stopped count when none is ready (KEP-1669).
fn choose(local_only: bool, parts: &[(u16, &Part)]) -> Choice {
    let any = |choice| parts.iter().any(|(_, part)| part.group.of(choice).len() > 0);
    let all_hinted = |hinted: fn(&Part) -> bool| parts.iter().all(|(_, part)| hinted(part));
    match () {
        () if local_only && any(Choice::Local) => Choice::Local,
        () if local_only => Choice::LocalTerminating,
        () if !any(Choice::Ready) => Choice::Terminating,
        () if any(Choice::ForNode) && all_hinted(|part| part.node_hints) => Choice::ForNode,
        () if any(Choice::ForZone) && all_hinted(|part| part.zone_hints) => Choice::ForZone,
        () => Choice::Ready,
    }
}
