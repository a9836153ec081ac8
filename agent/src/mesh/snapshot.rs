//! The immutable state that every decision reads, and the handle that swaps it.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use arc_swap::ArcSwap;

use super::{Service, ServicePort, Workload};

/// Everything a decision reads, of one generation.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Grows by one with each published snapshot; 0 is "nothing yet".
    pub generation: u64,
    pub(super) workloads: HashMap<IpAddr, Arc<Workload>>,
    pub(super) local: Vec<Arc<Workload>>,
    pub(super) services: Vec<Arc<Service>>,
    pub(super) virtual_ports: HashMap<SocketAddr, Arc<ServicePort>>,
    pub(super) virtual_addresses: HashMap<IpAddr, Arc<Service>>,
}

/// What an address that a pod dialled stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A cluster IP and one of its ports.
    Service(Arc<ServicePort>),
    /// A cluster IP, but not one of its ports.
    UnknownServicePort(Arc<Service>),
    /// A pod's own address.
    Workload(Arc<Workload>),
    /// Nothing that the mesh knows.
    External,
}

impl Snapshot {
    /// Whether two snapshots decide everything alike, whatever their generations.
    pub fn same_contents(&self, other: &Self) -> bool {
        // Exhaustive, so that a new field cannot be forgotten here. Virtual addresses and ports come from `services`.
        let Self { generation: _, workloads, local, services, virtual_ports: _, virtual_addresses: _ } = self;
        *workloads == other.workloads && *local == other.local && *services == other.services
    }

    /// The pod that has this address.
    pub fn workload(&self, address: IpAddr) -> Option<&Arc<Workload>> {
        self.workloads.get(&address)
    }

    /// What a dialled address stands for. IPv4-mapped addresses must have been made IPv4 before.
    pub fn destination(&self, address: SocketAddr) -> Destination {
        if let Some(port) = self.virtual_ports.get(&address) {
            return Destination::Service(Arc::clone(port));
        }
        if let Some(service) = self.virtual_addresses.get(&address.ip()) {
            return Destination::UnknownServicePort(Arc::clone(service));
        }
        match self.workloads.get(&address.ip()) {
            Some(workload) => Destination::Workload(Arc::clone(workload)),
            None => Destination::External,
        }
    }

    /// Where connections to a Service port go on one of its endpoints' addresses.
    pub fn service_endpoint(&self, namespace: &str, name: &str, port: u16, address: IpAddr) -> Option<SocketAddr> {
        let service = self.services.iter().find(|s| *s.name.namespace == *namespace && *s.name.name == *name)?;
        let ports = service.ports.iter().filter(|candidate| candidate.port == port);
        ports.flat_map(|port| &port.ready).map(|endpoint| endpoint.address).find(|found| found.ip() == address)
    }

    /// The enrolled pods of this node, ordered by uid.
    pub fn local_pods(&self) -> &[Arc<Workload>] {
        &self.local
    }

    /// All services, ordered by name.
    pub fn services(&self) -> &[Arc<Service>] {
        &self.services
    }

    /// All workloads, ordered by namespace and name.
    pub fn workloads(&self) -> Vec<&Arc<Workload>> {
        let mut all: Vec<_> = self.workloads.values().collect();
        all.sort_by(|a, b| (&a.namespace, &a.name, &a.uid).cmp(&(&b.namespace, &b.name, &b.uid)));
        all.dedup_by(|a, b| a.uid == b.uid);
        all
    }
}

/// The current snapshot, shared by all steps. Cloning is cheap; reading never blocks.
#[derive(Clone, Debug, Default)]
pub struct SnapshotHandle(Arc<ArcSwap<Snapshot>>);

impl SnapshotHandle {
    /// The snapshot that a new connection reads, from start to end.
    pub fn load(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Puts a new snapshot in force for connections from now on.
    pub fn publish(&self, snapshot: Snapshot) {
        self.0.store(Arc::new(snapshot));
    }
}
