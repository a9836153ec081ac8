//! A made-up mesh: Services with their slices, and a pod for each endpoint.
//!
//! Names, labels and sizes are those of a common cluster: 100 endpoints to a slice, 30 pods to a node, three zones. This agent's
//! node is a full one: it has the first 250 pods.

use std::{net::Ipv4Addr, sync::Arc, time::SystemTime};

use heddle::objects::{
    AddressType, EndpointSlice, Map, Namespace, Object, ObjectName, OwnerReference, Place, Pod, Protocol, Service,
    ServicePort, SliceEndpoint, SlicePort, intern,
};

/// Endpoints that Kubernetes puts into one slice.
const PER_SLICE: usize = 100;
const PER_NODE: usize = 30;
/// Pods of this agent's node.
pub(crate) const OWN: usize = 250;
/// Its name.
pub(crate) const OWN_NODE: &str = "this-node.cluster.example";

/// Which endpoints there are.
#[derive(Clone, Copy)]
pub(crate) struct World {
    pub(crate) endpoints: usize,
    pub(crate) per_service: usize,
}

impl World {
    pub(crate) fn services(self) -> usize {
        self.endpoints.div_ceil(self.per_service)
    }

    fn service_of(self, endpoint: usize) -> usize {
        endpoint / self.per_service
    }

    /// The address that clients dial.
    pub(crate) fn cluster_ip(service: usize) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(Ipv4Addr::new(172, 16, 0, 0)) + number(service))
    }

    pub(crate) fn namespace() -> Object {
        let labels = Map::from([("heddle.io/mesh".to_owned(), "enabled".to_owned())]);
        Object::Namespace(Arc::new(Namespace { name: intern::text("shop"), labels }))
    }

    pub(crate) fn service(self, service: usize) -> Object {
        let port = ServicePort {
            name: intern::text("http"),
            port: 80,
            target: None,
            protocol: Protocol::Tcp,
            app_protocol: None,
        };
        Object::Service(Arc::new(Service {
            name: name(&service_name(service)),
            cluster_ips: vec![Self::cluster_ip(service).into()],
            ports: vec![port],
            ..Service::default()
        }))
    }

    /// The slices of all Services.
    pub(crate) fn slices(self) -> impl Iterator<Item = Object> {
        let firsts = (0..self.services()).flat_map(move |service| {
            let first = service * self.per_service;
            (first..self.endpoints.min(first + self.per_service)).step_by(PER_SLICE)
        });
        firsts.map(move |first| Object::EndpointSlice(Arc::new(self.slice(first, None))))
    }

    /// The slice that an endpoint is in, where one of its endpoints is not ready.
    pub(crate) fn slice_without(self, endpoint: usize) -> Object {
        Object::EndpointSlice(Arc::new(self.slice(self.first_of_slice(endpoint), Some(endpoint))))
    }

    /// The slice that an endpoint is in, where all are ready.
    pub(crate) fn slice_with(self, endpoint: usize) -> Object {
        Object::EndpointSlice(Arc::new(self.slice(self.first_of_slice(endpoint), None)))
    }

    fn first_of_slice(self, endpoint: usize) -> usize {
        endpoint - endpoint % self.per_service % PER_SLICE
    }

    fn slice(self, first: usize, not_ready: Option<usize>) -> EndpointSlice {
        let service = self.service_of(first);
        let end = self.endpoints.min(first + PER_SLICE).min((service + 1) * self.per_service);
        let endpoint = |endpoint: usize| {
            let ready = not_ready != Some(endpoint);
            let place = Place { node: Some(node(endpoint)), zone: Some(zone(endpoint)), ..Place::default() };
            SliceEndpoint {
                address: address(endpoint).into(),
                ready,
                serving: ready,
                terminating: false,
                place: intern::place(place),
            }
        };
        let port = SlicePort { name: intern::text("http"), port: Some(8080), protocol: Protocol::Tcp };
        EndpointSlice {
            name: name(&format!("{}-{first}", service_name(service))),
            service: Some(intern::text(&service_name(service))),
            family: AddressType::Ipv4,
            ports: vec![port],
            endpoints: (first..end).map(endpoint).collect(),
        }
    }

    /// The pod of an endpoint.
    pub(crate) fn pod(self, endpoint: usize, version: &str) -> Object {
        let service = service_name(self.service_of(endpoint));
        let hash = format!("{:010x}", self.service_of(endpoint));
        let labels = [("app", service.as_str()), ("version", version), ("pod-template-hash", &hash)];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let owner = OwnerReference { kind: "ReplicaSet".to_owned(), name: format!("{service}-{hash}") };
        Object::Pod(Arc::new(Pod {
            name: name(&format!("{service}-{hash}-{endpoint:05x}")),
            uid: Some(format!("7f1b3c52-90ad-4e6e-8f00-{endpoint:012x}").into()),
            labels: intern::map(Map::from(labels)),
            annotations: intern::map(Map::new()),
            owner: Some(intern::owner(owner)),
            created: Some(SystemTime::UNIX_EPOCH),
            node: Some(node(endpoint)),
            service_account: Some(intern::text(&service)),
            addresses: [address(endpoint).into()].into(),
            ..Pod::default()
        }))
    }
}

fn address(endpoint: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + number(endpoint))
}

fn name(name: &str) -> ObjectName {
    ObjectName { namespace: intern::text("shop"), name: name.into() }
}

fn service_name(service: usize) -> String {
    format!("service-{service}")
}

fn node(endpoint: usize) -> Arc<str> {
    if endpoint < OWN {
        return intern::text(OWN_NODE);
    }
    intern::text(&format!("node-{}.cluster.example", endpoint / PER_NODE))
}

fn zone(endpoint: usize) -> Arc<str> {
    intern::text(&format!("zone-{}", endpoint / PER_NODE % 3))
}

fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
