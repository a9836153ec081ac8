//! What the node knows of the endpoints of one Service port together.
//!
//! Endpoints have a state here once they were picked or compared, and lose it when they go. All locks are held for a few steps.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use parking_lot::{Mutex, RwLock};

use super::{
    endpoint::EndpointState, health::GroupHealth, left_out::LeftOut, refuge::Refuge, set::Sets, tables::Tables,
};
use crate::mesh::{Reach, ServicePort};

/// What was forgotten at all Service ports for want of room.
#[derive(Clone, Debug, Default)]
pub(super) struct Forgotten {
    /// Clients and members of sets.
    pub(super) of_sets: Arc<AtomicU64>,
    /// Tables of consistent hashing.
    pub(super) tables: Arc<AtomicU64>,
}

/// The endpoints of one Service port in one family.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) health: GroupHealth,
    pub(super) sets: Mutex<Sets>,
    pub(super) tables: Tables,
    pub(super) left_out: LeftOut,
    pub(super) refuge: Mutex<Refuge>,
    endpoints: RwLock<HashMap<SocketAddr, Arc<EndpointState>>>,
    turns: [Turn; 3],
    pruned_for: Mutex<Vec<Arc<ServicePort>>>,
    pub(super) forgotten: Forgotten,
}

/// Where round robin is.
#[derive(Debug)]
struct Turn(AtomicUsize);

impl Default for Turn {
    fn default() -> Self {
        // Nodes that start together do not all begin with the same endpoint.
        Self(AtomicUsize::new(fastrand::usize(..)))
    }
}

impl Group {
    /// One of which nothing is known; what it forgets is counted there.
    pub(super) fn new(forgotten: &Forgotten) -> Self {
        let tables = Tables::new(Arc::clone(&forgotten.tables));
        Self { tables, forgotten: forgotten.clone(), ..Self::default() }
    }

    /// What is known of an endpoint; `None` if it was neither picked nor compared.
    pub(super) fn known(&self, address: SocketAddr) -> Option<Arc<EndpointState>> {
        self.endpoints.read().get(&address).cloned()
    }

    /// The endpoint's state, made if it was never asked for.
    pub(super) fn endpoint(&self, address: SocketAddr, now: Instant) -> Arc<EndpointState> {
        if let Some(known) = self.known(address) {
            return known;
        }
        let mut endpoints = self.endpoints.write();
        Arc::clone(endpoints.entry(address).or_insert_with(|| Arc::new(EndpointState::new(address, now))))
    }

    /// A number whose remainder tells whose turn it is.
    pub(super) fn next_turn(&self, reach: Reach) -> usize {
        self.turns[reach as usize].0.fetch_add(1, Ordering::Relaxed)
    }

    /// Forgets what is in none of these ports' endpoints any more.
    pub(super) fn prune(&self, ports: &[Arc<ServicePort>], now: Instant) {
        self.sets.lock().keep_only(ports);
        let mut pruned_for = self.pruned_for.lock();
        let same = pruned_for.len() == ports.len() && pruned_for.iter().zip(ports).all(|(a, b)| Arc::ptr_eq(a, b));
        if !same {
            let ready: HashSet<SocketAddr> =
                ports.iter().flat_map(|port| port.ready.iter()).map(|endpoint| endpoint.address).collect();
            let gone: Vec<SocketAddr> =
                self.endpoints.read().keys().filter(|address| !ready.contains(address)).copied().collect();
            let mut endpoints = self.endpoints.write();
            for address in &gone {
                endpoints.remove(address);
            }
            drop(endpoints);
            self.left_out.keep_only(|address| ready.contains(&address));
            *pruned_for = ports.to_vec();
        }
        self.refuge.lock().forget_before(now);
    }

    /// How many endpoints have a state.
    pub(super) fn len(&self) -> usize {
        self.endpoints.read().len()
    }
}
