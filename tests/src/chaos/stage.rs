//! What a scenario plays with: the ground, chance, its time, and the checks that go on meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fastrand::Rng;

use super::ground::Ground;
use super::load::Standing;
use super::report::Counts;
use crate::interrupt;

/// Often enough to tell a wrong byte from what came later, and little work.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const SLICE: Duration = Duration::from_millis(20);

/// See the module.
pub(super) struct Stage<'a> {
    pub(super) ground: &'a mut Ground,
    pub(super) rng: Rng,
    /// How long to make trouble.
    pub(super) time: Duration,
    begun: Instant,
    looked: Instant,
    looks: u64,
    did: Counts,
    checked: Counts,
}

impl<'a> Stage<'a> {
    pub(super) fn new(ground: &'a mut Ground, seed: u64, time: Duration) -> Self {
        let now = Instant::now();
        let (did, checked) = (Vec::new(), Vec::new());
        Self { ground, rng: Rng::with_seed(seed), time, begun: now, looked: now, looks: 0, did, checked }
    }

    /// Counts something that was done.
    pub(super) fn did(&mut self, what: &str, count: u64) {
        add(&mut self.did, what, count);
    }

    /// Counts something that was checked.
    pub(super) fn checked(&mut self, what: &str, count: u64) {
        add(&mut self.checked, what, count);
    }

    pub(super) fn into_counts(self) -> (Counts, Counts) {
        (self.did, self.checked)
    }

    /// Whether its time is not over.
    pub(super) fn goes_on(&self) -> bool {
        self.begun.elapsed() < self.time
    }

    /// How long its time still is.
    pub(super) fn left(&self) -> Duration {
        self.time.saturating_sub(self.begun.elapsed())
    }

    /// Waits and looks.
    pub(super) fn pause(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        loop {
            if self.looked.elapsed() >= LOOK_EVERY {
                self.look()?;
            }
            ensure!(!interrupt::happened(), "interrupted");
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(SLICE));
        }
    }

    /// Looks until a condition holds.
    pub(super) fn wait(
        &mut self,
        what: &str,
        within: Duration,
        mut holds: impl FnMut(&mut Ground) -> Result<bool>,
    ) -> Result<Duration> {
        let begun = Instant::now();
        while !holds(self.ground)? {
            ensure!(begun.elapsed() < within, "not within {within:?}: {what}");
            self.pause(Duration::from_millis(100))?;
        }
        Ok(begun.elapsed())
    }

    /// Checks everything that must hold at any moment.
    pub(super) fn look(&mut self) -> Result<Standing> {
        ensure!(!interrupt::happened(), "interrupted");
        self.looked = Instant::now();
        self.looks += 1;
        self.ground.agents_live()?;
        for memory in &self.ground.memory {
            memory.during()?;
        }
        self.ground.load.look()
    }

    pub(super) fn looks(&self) -> u64 {
        self.looks
    }
}

fn add(counts: &mut Counts, what: &str, count: u64) {
    match counts.iter_mut().find(|(known, _)| known == what) {
        Some((_, sum)) => *sum += count,
        None => counts.push((what.to_owned(), count)),
    }
}
