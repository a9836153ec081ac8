//! One set of endpoints of a Service port, and what follows from it alone. It is made at the first pick after a change.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::affinity;
use crate::mesh::{Endpoints, Locality, Reach, ServicePort};

/// Snapshots that requests under way still read, each with its pointer to the port.
const MOST_SETS: usize = 4;

/// Clients and members that are remembered for a set; at the bound all are forgotten, and found again.
const MOST_REMEMBERED: usize = 4096;

/// The sets that requests ask about: nearly always one.
#[derive(Debug, Default)]
pub(super) struct Sets {
    kept: VecDeque<(Arc<ServicePort>, Arc<Set>)>,
}

/// Clients and members that were forgotten for want of room, in all sets of the node.
pub(super) type Forgotten = Arc<AtomicU64>;

/// One set of endpoints.
#[derive(Debug)]
pub(super) struct Set {
    port: Arc<ServicePort>,
    /// When those came that are new. The endpoints of the first set are none of them.
    young: HashMap<SocketAddr, Instant>,
    members: Mutex<HashMap<SocketAddr, Locality>>,
    of_clients: Mutex<HashMap<IpAddr, Arc<[SocketAddr]>>>,
    forgotten: Forgotten,
}

impl Sets {
    /// The set of a port. Endpoints are young for that long after they came.
    pub(super) fn of(
        &mut self,
        port: &Arc<ServicePort>,
        now: Instant,
        young_for: Option<Duration>,
        forgotten: &Forgotten,
    ) -> Arc<Set> {
        if let Some((_, set)) = self.kept.iter().find(|(known, _)| Arc::ptr_eq(known, port)) {
            return Arc::clone(set);
        }
        // The port is another object where something else about its Service changed. Only the newest set is the same:
        // what is as it was before the last change has come back since.
        let newest = self.kept.back().filter(|(known, _)| known.ready == port.ready);
        let same = newest.map(|(_, set)| Arc::clone(set));
        let set = same.unwrap_or_else(|| {
            let before = self.kept.back().map(|(_, set)| &**set);
            Arc::new(Set::new(port, before, now, young_for, forgotten))
        });
        self.kept.push_back((Arc::clone(port), Arc::clone(&set)));
        if self.kept.len() > MOST_SETS {
            self.kept.pop_front();
        }
        set
    }

    /// Lets go of the sets of older snapshots.
    pub(super) fn keep_only(&mut self, ports: &[Arc<ServicePort>]) {
        let is_current = |known: &Arc<ServicePort>| ports.iter().any(|port| Arc::ptr_eq(known, port));
        // One stays in any case: what is new is told by it.
        while self.kept.len() > 1 && self.kept.front().is_some_and(|(known, _)| !is_current(known)) {
            self.kept.pop_front();
        }
    }

    /// How many clients and members are remembered.
    pub(super) fn remembered(&self) -> usize {
        // Sets that are the same came one after the other.
        let mut sets: Vec<_> = self.kept.iter().map(|(_, set)| set).collect();
        sets.dedup_by(|one, other| Arc::ptr_eq(one, other));
        sets.iter().map(|set| set.members.lock().len() + set.of_clients.lock().len()).sum()
    }
}

impl Set {
    fn new(
        port: &Arc<ServicePort>,
        before: Option<&Self>,
        now: Instant,
        young_for: Option<Duration>,
        forgotten: &Forgotten,
    ) -> Self {
        let mut young = HashMap::new();
        if let (Some(before), Some(young_for)) = (before, young_for) {
            let still = before.young.iter().filter(|(_, since)| now < **since + young_for);
            young.extend(still.map(|(address, since)| (*address, *since)));
            young.extend(port.ready.added_since(before.endpoints()).into_iter().map(|address| (address, now)));
        }
        Self {
            port: Arc::clone(port),
            young,
            members: Mutex::default(),
            of_clients: Mutex::default(),
            forgotten: Arc::clone(forgotten),
        }
    }

    pub(super) fn endpoints(&self) -> &Endpoints {
        &self.port.ready
    }

    /// Since when an endpoint is there, if it came after the first set.
    pub(super) fn young_since(&self, address: SocketAddr) -> Option<Instant> {
        self.young.get(&address).copied()
    }

    /// Where an endpoint is, if it is in the set.
    pub(super) fn locality(&self, address: SocketAddr) -> Option<Locality> {
        if let Some(known) = self.members.lock().get(&address) {
            return Some(*known);
        }
        // Strangers are not remembered: a client can name as many as it likes.
        let locality = self.endpoints().locality(address)?;
        remember(&self.members, address, locality, &self.forgotten);
        Some(locality)
    }

    /// The endpoints that a client's address decides, best first.
    pub(super) fn of_client(&self, client: IpAddr) -> Arc<[SocketAddr]> {
        if let Some(known) = self.of_clients.lock().get(&client) {
            return Arc::clone(known);
        }
        let found: Arc<[SocketAddr]> = affinity::pick(self.endpoints(), client).into();
        remember(&self.of_clients, client, Arc::clone(&found), &self.forgotten);
        found
    }

    /// All endpoints from a random place on, each once.
    pub(super) fn all_from_random_place(&self) -> impl Iterator<Item = (SocketAddr, Locality)> {
        from_random_place(self.endpoints(), Reach::All, usize::MAX)
    }
}

/// So many endpoints within reach from a random place on, each once.
pub(super) fn from_random_place(
    endpoints: &Endpoints,
    reach: Reach,
    most: usize,
) -> impl Iterator<Item = (SocketAddr, Locality)> {
    let count = endpoints.len_within(reach);
    let start = if count == 0 { 0 } else { fastrand::usize(..count) };
    let indexes = (start..count).chain(0..start).take(most);
    indexes
        .filter_map(move |index| endpoints.get_within(reach, index))
        .map(|(endpoint, place)| (endpoint.address, place))
}

fn remember<K: std::hash::Hash + Eq, V>(remembered: &Mutex<HashMap<K, V>>, key: K, value: V, forgotten: &Forgotten) {
    let mut remembered = remembered.lock();
    if remembered.len() >= MOST_REMEMBERED {
        forgotten.fetch_add(remembered.len() as u64, Relaxed);
        remembered.clear();
    }
    remembered.insert(key, value);
}
