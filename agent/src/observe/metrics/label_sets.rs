//! The label sets of traffic in use, and the series of each: a table that stays within bounds.
//!
//! Label sets come from workloads. A cap folds what is beyond it into other sets, and one that nothing has used for [`UNUSED`]
//! is removed. Finding a set that is known takes a read lock.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::RwLock;

use super::{Metrics, gauge_value};

/// A label set that nobody used for so long belongs to a workload that is gone.
pub(super) const UNUSED: Duration = Duration::from_secs(600);

/// What tells one series from another.
pub(super) trait Labels: Eq + Hash {
    /// The set that stands for sets beyond the cap.
    fn folded(self) -> Self;
}

/// Every label set in use.
#[derive(Debug)]
pub(super) struct LabelSets<L, S> {
    cap: usize,
    /// Looked into once for each request.
    sets: RwLock<HashMap<L, Entry<S>, foldhash::fast::RandomState>>,
}

#[derive(Debug)]
struct Entry<S> {
    series: Arc<S>,
    /// Since the last look.
    used: AtomicBool,
    last_used: Instant,
}

impl<L: Labels, S> LabelSets<L, S> {
    pub(super) fn new(cap: usize) -> Self {
        Self { cap, sets: RwLock::default() }
    }

    /// The series of a label set, or of the one that it is folded into when the table is full; made where it is new.
    pub(super) fn resolve(&self, metrics: &Metrics, labels: L, make: impl FnOnce(&L) -> S) -> Arc<S> {
        if let Some(entry) = self.sets.read().get(&labels) {
            return entry.taken();
        }
        let mut sets = self.sets.write();
        let room = sets.len() < self.cap || sets.contains_key(&labels);
        let labels = if room {
            labels
        } else {
            metrics.label_sets_folded.inc();
            labels.folded()
        };
        let entry = sets.entry(labels).or_insert_with_key(|labels| {
            metrics.label_sets.inc();
            Entry { series: Arc::new(make(labels)), used: AtomicBool::new(true), last_used: Instant::now() }
        });
        entry.taken()
    }

    /// The series of every set.
    pub(super) fn series(&self) -> Arc<[Arc<S>]> {
        self.sets.read().values().map(|entry| Arc::clone(&entry.series)).collect()
    }

    /// Removes the sets that were unused for [`UNUSED`] as of `now`. One whose series somebody holds is in use.
    pub(super) fn expire(&self, metrics: &Metrics, now: Instant) {
        let mut sets = self.sets.write();
        let before = sets.len();
        sets.retain(|_, entry| {
            // Nobody can take a new reference while we hold the write lock.
            if entry.used.swap(false, Relaxed) || Arc::strong_count(&entry.series) > 1 {
                entry.last_used = now;
            }
            now.saturating_duration_since(entry.last_used) < UNUSED
        });
        metrics.label_sets.sub(gauge_value(before - sets.len()));
    }
}

impl<S> Entry<S> {
    fn taken(&self) -> Arc<S> {
        self.used.store(true, Relaxed);
        Arc::clone(&self.series)
    }
}
