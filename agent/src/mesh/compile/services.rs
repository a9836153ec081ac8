//! Services and EndpointSlices to virtual addresses with their endpoints.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::Problems;
use crate::{
    mesh::{AddressFamily, Endpoint, Service, ServiceName, ServicePort, Workload},
    objects::{self, EndpointSlice, Kind, ObjectName, ObjectSet, Protocol, ServiceKind},
};

type ByAddress = HashMap<IpAddr, Arc<Workload>>;
type Slices<'a> = BTreeMap<(&'a str, &'a str), Vec<&'a EndpointSlice>>;

/// All services that have endpoints of their own, ordered by name.
pub(super) fn compile(objects: &ObjectSet, workloads: &ByAddress, problems: &mut Problems) -> Vec<Arc<Service>> {
    let slices = slices_by_service(objects);
    let services = objects.services.values().filter(|service| service.kind != ServiceKind::ExternalName);
    services.map(|service| Arc::new(compile_one(service, &slices, workloads, problems))).collect()
}

/// Cluster IPs to services, and cluster IPs with ports to the ports' endpoints of the same family.
pub(super) fn virtual_addresses(
    services: &[Arc<Service>],
    problems: &mut Problems,
) -> (HashMap<SocketAddr, Arc<ServicePort>>, HashMap<IpAddr, Arc<Service>>) {
    let (mut ports, mut addresses) = (HashMap::new(), HashMap::new());
    for service in services {
        for &address in &service.addresses {
            match addresses.entry(address) {
                Entry::Vacant(vacant) => vacant.insert(Arc::clone(service)),
                Entry::Occupied(taken) => {
                    let holder: &Arc<Service> = taken.get();
                    let message = format!("cluster IP {address} is already that of Service {}", holder.name);
                    problems.add(Kind::Service, &object_name(&service.name), message);
                    continue;
                }
            };
            for port in service.ports_of_family(address) {
                ports.insert(SocketAddr::new(address, port.port), Arc::clone(port));
            }
        }
    }
    (ports, addresses)
}

fn slices_by_service(objects: &ObjectSet) -> Slices<'_> {
    let mut slices = Slices::new();
    for slice in objects.endpoint_slices.values() {
        if let Some(service) = &slice.service {
            slices.entry((&slice.name.namespace, service)).or_default().push(slice);
        }
    }
    slices
}

fn compile_one(
    service: &objects::Service,
    slices: &Slices<'_>,
    workloads: &ByAddress,
    problems: &mut Problems,
) -> Service {
    let ObjectName { namespace, name } = &service.name;
    let slices = slices.get(&(&**namespace, &**name)).map(Vec::as_slice).unwrap_or_default();
    let mut numbers = BTreeSet::new();
    let mut ports = Vec::new();
    for port in service.ports.iter().filter(|port| port.protocol == Protocol::Tcp) {
        if !numbers.insert(port.port) {
            let message = format!("spec.ports: TCP port {} is there twice; the first one counts", port.port);
            problems.add(Kind::Service, &service.name, message);
            continue;
        }
        for family in families(service, slices) {
            let ready = ready_endpoints(service, port, family, slices, workloads);
            let service = ServiceName { namespace: Arc::clone(namespace), name: Arc::clone(name) };
            ports.push(Arc::new(ServicePort { service, family, port: port.port, name: Arc::clone(&port.name), ready }));
        }
    }
    Service {
        name: ServiceName { namespace: Arc::clone(namespace), name: Arc::clone(name) },
        addresses: service.cluster_ips.clone(),
        ports,
    }
}

/// The families of the cluster IPs; a headless Service has those of its endpoints.
fn families(service: &objects::Service, slices: &[&EndpointSlice]) -> BTreeSet<AddressFamily> {
    if service.cluster_ips.is_empty() {
        return slices.iter().filter_map(|slice| AddressFamily::of_slice(slice.family)).collect();
    }
    service.cluster_ips.iter().map(|address| AddressFamily::of(*address)).collect()
}

/// Endpoints that accept connections now, each once, ordered by address.
fn ready_endpoints(
    service: &objects::Service,
    port: &objects::ServicePort,
    family: AddressFamily,
    slices: &[&EndpointSlice],
    workloads: &ByAddress,
) -> Vec<Endpoint> {
    let mut addresses = BTreeSet::new();
    for slice in slices.iter().filter(|slice| AddressFamily::of_slice(slice.family) == Some(family)) {
        let same_port = |p: &&objects::SlicePort| p.protocol == Protocol::Tcp && p.name == port.name;
        let Some(number) = slice.ports.iter().find(same_port).and_then(|p| p.port) else { continue };
        let accepting = slice.endpoints.iter().filter(|endpoint| endpoint.ready || service.publish_not_ready);
        addresses.extend(accepting.flat_map(|endpoint| &endpoint.addresses).map(|ip| SocketAddr::new(*ip, number)));
    }
    let endpoint = |address: SocketAddr| Endpoint { address, workload: workloads.get(&address.ip()).cloned() };
    addresses.into_iter().map(endpoint).collect()
}

fn object_name(name: &ServiceName) -> ObjectName {
    ObjectName { namespace: Arc::clone(&name.namespace), name: Arc::clone(&name.name) }
}
