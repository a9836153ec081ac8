//! What is open now, so that others than its owner can look at it: the control task tells of what is open for long, commands
//! list it.
//!
//! Owners touch one of several shards, when a thing begins and when it ends; whoever looks walks them all.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use foldhash::fast::RandomState;
use parking_lot::Mutex;

/// A power of two well above the number of data threads: two of them seldom meet.
const SHARDS: usize = 64;

type Shard<T> = Mutex<HashMap<u64, Arc<T>, RandomState>>;

/// Every open thing of one kind, by its id.
#[derive(Debug)]
pub(super) struct Inventory<T> {
    shards: [Shard<T>; SHARDS],
    next: AtomicU64,
}

impl<T> Default for Inventory<T> {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), next: AtomicU64::new(0) }
    }
}

impl<T> Inventory<T> {
    /// Takes in what is made for an id.
    pub(super) fn insert(&self, make: impl FnOnce(u64) -> T) -> Arc<T> {
        // From 1 on: 0 is no id.
        let id = self.next.fetch_add(1, Relaxed) + 1;
        let item = Arc::new(make(id));
        self.shard(id).lock().insert(id, Arc::clone(&item));
        item
    }

    pub(super) fn remove(&self, id: u64) {
        self.shard(id).lock().remove(&id);
    }

    pub(super) fn find(&self, id: u64) -> Option<Arc<T>> {
        self.shard(id).lock().get(&id).cloned()
    }

    /// Has each looked at, in no order. A shard's owners wait meanwhile: looking must be quick.
    pub(super) fn each(&self, mut look: impl FnMut(&Arc<T>)) {
        for shard in &self.shards {
            shard.lock().values().for_each(&mut look);
        }
    }

    /// So many at most of those that are wanted.
    pub(super) fn some(&self, most: usize, is_wanted: impl Fn(&T) -> bool) -> Vec<Arc<T>> {
        let mut found: Vec<Arc<T>> = Vec::new();
        for shard in &self.shards {
            let room = most - found.len();
            found.extend(shard.lock().values().filter(|item| is_wanted(item)).take(room).cloned());
        }
        found
    }

    fn shard(&self, id: u64) -> &Shard<T> {
        &self.shards[usize::try_from(id % SHARDS as u64).unwrap_or(0)]
    }
}

/// When something that is open is told next: once in a while from its begin on.
#[derive(Debug)]
pub(super) struct Turn {
    began: Instant,
    /// How old it was when it was told last, in milliseconds.
    told_at: AtomicU64,
}

impl Turn {
    pub(super) fn from(began: Instant) -> Self {
        Self { began, told_at: AtomicU64::new(0) }
    }

    pub(super) fn is_due(&self, now: Instant, every: Duration) -> bool {
        self.age(now) >= self.told_at.load(Relaxed) + every.as_millis() as u64
    }

    pub(super) fn is_told(&self, now: Instant) {
        self.told_at.store(self.age(now), Relaxed);
    }

    /// In milliseconds.
    fn age(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_is_found_until_it_ends_and_ids_are_not_given_again() {
        let all = Inventory::default();
        let made: Vec<_> = (0..200).map(|_| all.insert(|id| id)).collect();
        assert!(made.iter().all(|id| all.find(**id).as_ref() == Some(id)) && all.find(0).is_none());
        assert_eq!((all.some(3, |_| true).len(), all.some(999, |id| id % 2 == 0).len()), (3, 100));
        made.iter().for_each(|id| all.remove(**id));
        let mut left = 0;
        all.each(|_| left += 1);
        assert_eq!((left, *all.insert(|id| id)), (0, 201));
    }
}
