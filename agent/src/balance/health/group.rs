//! How many endpoints of one group are ejected, and how many may be.
//!
//! An ejected endpoint holds a [`Place`], which it gives back when it is restored or goes away with its endpoint.
//!
//! At most `maxEjectionPercent` of the endpoints, rounded down, but one at least where there are two or more: 10 % of three
//! pods would otherwise never eject any. Never the last one, and none at all with 0 %.

use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicUsize, Ordering},
};

use crate::rules::value::WholePercentage;

/// The endpoints that are ejected together or not: those of one Service port.
#[derive(Debug, Default)]
pub struct GroupHealth {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    size: AtomicUsize,
    ejected: AtomicUsize,
    /// `minHealthPercent`.
    healthy_percent: AtomicU8,
}

/// An ejection that is counted.
#[derive(Debug)]
pub(super) struct Place {
    counts: Arc<Counts>,
}

/// What config.md says where a document says nothing.
const MAX_EJECTION_PERCENT: u8 = 10;

impl GroupHealth {
    /// How many endpoints there are now.
    pub fn set_size(&self, size: usize) {
        self.counts.size.store(size, Ordering::Relaxed);
    }

    /// How many of them are ejected.
    pub fn ejected(&self) -> usize {
        self.counts.ejected.load(Ordering::Relaxed)
    }

    /// With a smaller share of healthy endpoints nothing is left out.
    pub(super) fn keep_healthy(&self, percent: Option<WholePercentage>) {
        self.counts.healthy_percent.store(percent.map_or(0, WholePercentage::get), Ordering::Relaxed);
    }

    /// A place for one more, if there is one.
    pub(super) fn take(&self, percent: Option<WholePercentage>) -> Option<Place> {
        let size = self.counts.size.load(Ordering::Relaxed);
        let allowed = allowed(size, percent.map_or(MAX_EJECTION_PERCENT, WholePercentage::get));
        let more = |ejected| (ejected < allowed).then_some(ejected + 1);
        self.counts.ejected.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Place { counts: Arc::clone(&self.counts) })
    }
}

impl Place {
    /// So few are healthy that ejections do not count.
    pub(super) fn group_too_ill(&self) -> bool {
        let counts = &self.counts;
        let (size, ejected) = (counts.size.load(Ordering::Relaxed), counts.ejected.load(Ordering::Relaxed));
        !healthy(size, ejected, counts.healthy_percent.load(Ordering::Relaxed))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.counts.ejected.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many of so many may be ejected.
pub(super) fn allowed(size: usize, percent: u8) -> usize {
    if percent == 0 {
        return 0;
    }
    (size.saturating_mul(usize::from(percent)) / 100).max(1).min(size.saturating_sub(1))
}

fn healthy(size: usize, ejected: usize, percent: u8) -> bool {
    size.saturating_sub(ejected).saturating_mul(100) >= size.saturating_mul(usize::from(percent))
}
