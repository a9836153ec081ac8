//! What is remembered for a while, by the hash of what must not be kept: bounded in number and in time.
//!
//! At the bound the oldest goes, which has the least time left.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

/// SHA-256.
pub(super) type Hash = [u8; 32];

/// How much and how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) entries: usize,
    pub(super) life: Duration,
}

/// The memory.
#[derive(Debug)]
pub(super) struct Cache<T> {
    bounds: Bounds,
    entries: HashMap<Hash, (T, Instant)>,
    /// Hashes in the order in which they came; each stands once.
    order: VecDeque<Hash>,
}

impl<T> Cache<T> {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, entries: HashMap::new(), order: VecDeque::new() }
    }

    /// What is remembered and not too old.
    pub(super) fn get(&self, hash: &Hash, now: Instant) -> Option<&T> {
        self.entries.get(hash).filter(|(_, until)| now < *until).map(|(value, _)| value)
    }

    /// Remembers for `left`, and no longer than the bound.
    pub(super) fn put(&mut self, hash: Hash, value: T, now: Instant, left: Duration) {
        self.forget_old(now);
        if self.entries.insert(hash, (value, now + left.min(self.bounds.life))).is_some() {
            self.order.retain(|other| *other != hash);
        }
        self.order.push_back(hash);
        while self.order.len() > self.bounds.entries {
            self.forget_first();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn forget_old(&mut self, now: Instant) {
        while self.order.front().is_some_and(|hash| self.get(hash, now).is_none()) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some(hash) = self.order.pop_front() {
            self.entries.remove(&hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { entries: 3, life: Duration::from_secs(60) };

    fn hash(n: u8) -> Hash {
        [n; 32]
    }

    #[test]
    fn an_entry_is_gone_after_its_own_time_and_after_the_bound_at_the_latest() {
        let (mut cache, now) = (Cache::new(BOUNDS), Instant::now());
        cache.put(hash(1), "short", now, Duration::from_secs(10));
        cache.put(hash(2), "long", now, Duration::from_secs(3600));
        let at =
            |cache: &Cache<&'static str>, n, seconds| cache.get(&hash(n), now + Duration::from_secs(seconds)).copied();
        assert_eq!((at(&cache, 1, 9), at(&cache, 2, 9)), (Some("short"), Some("long")));
        assert_eq!((at(&cache, 1, 10), at(&cache, 2, 59)), (None, Some("long")));
        assert_eq!(at(&cache, 2, 60), None);
        cache.put(hash(3), "new", now + Duration::from_secs(61), Duration::from_secs(5));
        assert_eq!(cache.len(), 1, "what is old is forgotten");
    }

    #[test]
    fn a_token_that_has_ended_is_not_remembered() {
        let (mut cache, now) = (Cache::new(BOUNDS), Instant::now());
        cache.put(hash(1), "ended", now, Duration::ZERO);
        assert_eq!(cache.get(&hash(1), now), None);
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let (mut cache, now) = (Cache::new(BOUNDS), Instant::now());
        for n in 1..=3 {
            cache.put(hash(n), n, now, BOUNDS.life);
        }
        // Seen again, so it is not the oldest any more.
        cache.put(hash(1), 1, now, BOUNDS.life);
        cache.put(hash(4), 4, now, BOUNDS.life);
        let held: Vec<u8> = (1..=4).filter(|n| cache.get(&hash(*n), now).is_some()).collect();
        assert_eq!((held, cache.len()), (vec![1, 3, 4], 3));
    }
}
