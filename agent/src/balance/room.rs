//! A bounded number of places, and whether one was asked for in vain since there was room last.
//!
//! The places are one number, so that no more than there may be are taken, whoever asks at the same time. That somebody was
//! turned away is told beside it, for people: it may be late by a moment, but not beyond the next who takes a place or gives
//! one back. `models` tries every interleaving.

use crate::atomics::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// The places of one kind.
#[derive(Debug)]
pub(super) struct Room {
    taken: AtomicU32,
    /// Whether one was refused since there was room last.
    full: AtomicBool,
}

impl Default for Room {
    fn default() -> Self {
        Self { taken: AtomicU32::new(0), full: AtomicBool::new(false) }
    }
}

impl Room {
    /// Takes a place, if fewer than `most` are taken.
    pub(super) fn take(&self, most: u32) -> bool {
        let more = |taken: u32| (taken < most).then(|| taken + 1);
        let is_taken = self.taken.fetch_update(Relaxed, Relaxed, more).is_ok();
        match is_taken {
            true => self.has_room(),
            false => self.full.store(true, Relaxed),
        }
        is_taken
    }

    /// Gives a place back that was taken.
    pub(super) fn give_back(&self) {
        self.taken.fetch_sub(1, Relaxed);
        self.has_room();
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> u32 {
        self.taken.load(Relaxed)
    }

    /// Whether it refuses: one was refused, and none was given back since.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Relaxed) && self.taken() > 0
    }

    /// Read first: what is hardly ever set costs those who share the cache line no write.
    fn has_room(&self) {
        if self.full.load(Relaxed) {
            self.full.store(false, Relaxed);
        }
    }
}
