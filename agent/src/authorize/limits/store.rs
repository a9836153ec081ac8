//! The times of one document's keys, at most so many of them.
//!
//! In two generations: what is used moves to the young one, and when that is half of the bound, the old one is dropped.
//! So what was not used for longest goes, in constant time on average. Who can make up many keys (values of a header) can
//! thus make the limiter forget; the bound on memory matters more.

use std::{collections::HashMap, mem, time::Instant};

/// Which limit, and whose requests.
pub(super) type Key = (u64, u128);

/// Keys of one document, about 64 bytes each.
pub(super) const MAX_KEYS: usize = 10_000;

#[derive(Debug)]
pub(super) struct Store {
    max: usize,
    young: HashMap<Key, Instant>,
    old: HashMap<Key, Instant>,
}

impl Store {
    pub(super) fn new(max: usize) -> Self {
        Self { max, young: HashMap::new(), old: HashMap::new() }
    }

    pub(super) fn get(&self, key: &Key) -> Option<Instant> {
        self.young.get(key).or_else(|| self.old.get(key)).copied()
    }

    /// How many others were forgotten for it.
    pub(super) fn set(&mut self, key: Key, full: Instant) -> usize {
        self.old.remove(&key);
        let mut forgotten = 0;
        if self.young.len() >= self.max / 2 && !self.young.contains_key(&key) {
            forgotten = mem::replace(&mut self.old, mem::take(&mut self.young)).len();
        }
        self.young.insert(key, full);
        forgotten
    }

    pub(super) fn retain(&mut self, there: impl Fn(u64) -> bool) {
        self.young.retain(|(id, _), _| there(*id));
        self.old.retain(|(id, _), _| there(*id));
    }

    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}
