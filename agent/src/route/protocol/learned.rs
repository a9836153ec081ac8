//! What the connections to a Service port turned out to speak, so that the next one is not held up to find out.
//!
//! Bounded. It only saves waiting: a client that speaks first is looked at whatever was learned.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use crate::mesh::ServiceName;

/// Service ports that are remembered.
const MOST: usize = 4096;

/// A Service and one of its ports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpokenAt {
    /// The Service.
    pub service: ServiceName,
    /// The port's number.
    pub port: u16,
}

/// What was seen last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spoken {
    /// HTTP/1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// TLS.
    Tls,
    /// The client spoke first, something else.
    ClientFirst,
    /// The server spoke first, or the client was silent too long.
    ServerFirst,
}

/// The memory of a node.
#[derive(Debug, Default)]
pub struct Learned {
    ports: Mutex<HashMap<SpokenAt, Spoken, RandomState>>,
    forgotten: AtomicU64,
}

impl Learned {
    /// What was spoken there last.
    pub fn get(&self, at: &SpokenAt) -> Option<Spoken> {
        self.ports.lock().get(at).copied()
    }

    /// The latest evidence takes the place of all before it. Of a full memory, any entry is forgotten.
    pub fn learn(&self, at: SpokenAt, spoken: Spoken) {
        let mut ports = self.ports.lock();
        if ports.len() >= MOST && !ports.contains_key(&at) {
            let forgotten = ports.keys().next().cloned();
            forgotten.and_then(|forgotten| ports.remove(&forgotten));
            self.forgotten.fetch_add(1, Relaxed);
        }
        ports.insert(at, spoken);
    }

    /// Forgets the ports of Services that are gone.
    pub fn retain(&self, there: impl Fn(&ServiceName) -> bool) {
        self.ports.lock().retain(|at, _| there(&at.service));
    }

    /// How many ports are remembered, and how many were forgotten for want of room.
    pub fn size(&self) -> (usize, u64) {
        (self.ports.lock().len(), self.forgotten.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SpokenAt {
        SpokenAt { service: ServiceName { namespace: "shop".into(), name: "cart".into() }, port }
    }

    #[test]
    fn the_latest_evidence_counts() {
        let learned = Learned::default();
        assert_eq!(learned.get(&at(80)), None);
        learned.learn(at(80), Spoken::ServerFirst);
        learned.learn(at(80), Spoken::Http1);
        assert_eq!(learned.get(&at(80)), Some(Spoken::Http1));
        assert_eq!(learned.get(&at(81)), None);
    }

    #[test]
    fn the_memory_is_bounded_and_keeps_the_newest() {
        let learned = Learned::default();
        for port in 0..5000 {
            learned.learn(at(port), Spoken::Http2);
            assert_eq!(learned.get(&at(port)), Some(Spoken::Http2));
        }
        assert_eq!(learned.size(), (MOST, 5000 - MOST as u64));
    }

    #[test]
    fn ports_go_with_their_service_and_are_not_forgotten_for_want_of_room() {
        let learned = Learned::default();
        learned.learn(at(80), Spoken::Http2);
        learned.retain(|service| *service.name == *"cart");
        assert_eq!(learned.size(), (1, 0));
        learned.retain(|service| *service.name == *"shelf");
        assert_eq!(learned.size(), (0, 0));
    }
}
