//! The node's one balancer: what is known of all endpoints, shared by all pods and threads.
//!
//! In: a Service port with its endpoints, and what documents and the request say about which one. Out: a [`Lease`]. What it
//! knows survives a change of the endpoints for those that stay. It neither waits nor knows connections.

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use parking_lot::RwLock;

use super::{
    Lease, NoEndpoint,
    forecast::{Forecast, forecast},
    group::{Forgotten, Group},
    pick::Pick,
};
use crate::{
    mesh::{AddressFamily, EntryTarget, ServiceName, ServicePort, Snapshot},
    rules::destination_rule::{LoadBalancer, OutlierDetection},
};

/// Which endpoint, for every request of this node.
#[derive(Debug, Default)]
pub struct Balancer {
    groups: RwLock<HashMap<Key, Arc<Group>>>,
    forgotten: Forgotten,
}

/// How much a balancer remembers, and how much of it was forgotten for want of room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Endpoints whose health and load are known: never forgotten while they are there.
    pub endpoints: usize,
    /// Clients and members of sets.
    pub of_sets: (usize, u64),
    /// Tables of consistent hashing.
    pub tables: (usize, u64),
}

/// What one pick is made from.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The Service port with its endpoints.
    pub port: &'a Arc<ServicePort>,
    /// What a DestinationRule says; without one, peak-EWMA with the power of two choices.
    pub load_balancer: Option<&'a LoadBalancer>,
    /// When endpoints are left out.
    pub outliers: Option<&'a OutlierDetection>,
    /// The hash of what is alike, where that counts and the request has it.
    pub hash: Option<u64>,
    /// Who asks, for `sessionAffinity: ClientIP`.
    pub client: IpAddr,
    /// The endpoint of the request's session: this one, while it is in use.
    pub sticky: Option<SocketAddr>,
    /// What the request tried before.
    pub excluded: &'a [SocketAddr],
    /// Whether somebody takes over where all endpoints are left out.
    pub has_fallback: bool,
    /// Now.
    pub now: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    service: ServiceName,
    port: u16,
    family: AddressFamily,
}

impl Balancer {
    /// Picks an endpoint. It fails only where there is none: endpoints that are left out are used when all are, unless there is
    /// a fallback.
    pub fn pick(&self, ask: &Ask<'_>) -> Result<Lease, NoEndpoint> {
        let group = self.group(ask.port);
        if ask.outliers.is_some() {
            group.health.set_size(ask.port.ready.len());
        }
        Pick::new(ask, &group).make()
    }

    /// What a pick would come to, without making it: for who explains.
    pub fn forecast(&self, ask: &Ask<'_>) -> Forecast {
        let key = Key { service: ask.port.service.clone(), port: ask.port.port, family: ask.port.family };
        let known = self.groups.read().get(&key).cloned();
        forecast(&Pick::looking(ask, &known.unwrap_or_default()), ask)
    }

    /// Forgets Service ports and endpoints that are gone.
    pub fn prune(&self, snapshot: &Snapshot) {
        let now = Instant::now();
        let groups: Vec<_> = self.groups.read().iter().map(|(key, group)| (key.clone(), Arc::clone(group))).collect();
        for (key, group) in groups {
            let ports = ports(snapshot, &key);
            if ports.is_empty() {
                self.groups.write().remove(&key);
            } else {
                group.prune(&ports, now);
            }
        }
    }

    fn group(&self, port: &ServicePort) -> Arc<Group> {
        let key = Key { service: port.service.clone(), port: port.port, family: port.family };
        if let Some(group) = self.groups.read().get(&key) {
            return Arc::clone(group);
        }
        let new = || Arc::new(Group::new(&self.forgotten));
        Arc::clone(self.groups.write().entry(key).or_insert_with(new))
    }

    /// How many endpoints are ejected, counted at each Service port.
    pub fn ejected(&self) -> usize {
        self.groups.read().values().map(|group| group.health.ejected()).sum()
    }

    /// What it remembers now.
    pub fn memory(&self) -> Memory {
        let groups: Vec<_> = self.groups.read().values().map(Arc::clone).collect();
        let sum = |of: fn(&Group) -> usize| groups.iter().map(|group| of(group)).sum();
        Memory {
            endpoints: sum(Group::len),
            of_sets: (sum(|group| group.sets.lock().remembered()), self.forgotten.of_sets.load(Relaxed)),
            tables: (sum(|group| group.tables.len()), self.forgotten.tables.load(Relaxed)),
        }
    }

    /// How many Service ports are known.
    #[cfg(test)]
    fn ports(&self) -> usize {
        self.groups.read().len()
    }
}

/// The ports of that name. ServiceEntries may share one.
fn ports(snapshot: &Snapshot, key: &Key) -> Vec<Arc<ServicePort>> {
    let is_it =
        |port: &&Arc<ServicePort>| port.service == key.service && port.port == key.port && port.family == key.family;
    if let Some(service) = snapshot.service(&key.service) {
        return service.ports.iter().filter(is_it).map(Arc::clone).collect();
    }
    let targets = snapshot.entries().iter().filter(|entry| entry.name == key.service).flat_map(|entry| &entry.ports);
    let ports = targets.filter_map(|target| match target {
        EntryTarget::Endpoints(ports) => Some(ports),
        EntryTarget::AsDialled(_) => None,
    });
    ports.flatten().filter(is_it).map(Arc::clone).collect()
}
