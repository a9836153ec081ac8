//! The few endpoints that can still be used where nearly all of many are left out.
//!
//! Looking at a bounded number of them finds none then. To look at all finds them, costs as much as there are, and is done
//! once a second at most; what it found serves the picks in between.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use super::set::Set;
use crate::mesh::Locality;

/// How often all endpoints are looked at, at most: 100,000 take about 10 ms, so this is a hundredth of one CPU.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How many are enough to spread what comes meanwhile.
pub(super) const ENOUGH: usize = 16;

/// What the last look at all found.
#[derive(Debug, Default)]
pub(super) struct Refuge {
    last: Option<(Instant, Arc<Set>)>,
    found: Vec<(SocketAddr, Locality)>,
}

impl Refuge {
    /// Whether the last look is not long ago, and was at these endpoints.
    pub(super) fn is_fresh(&self, set: &Arc<Set>, now: Instant) -> bool {
        self.last.as_ref().is_some_and(|(at, of)| Arc::ptr_eq(of, set) && now < *at + LOOK_AGAIN)
    }

    pub(super) fn remember(&mut self, set: &Arc<Set>, now: Instant, found: Vec<(SocketAddr, Locality)>) {
        (self.last, self.found) = (Some((now, Arc::clone(set))), found);
    }

    /// What was found, from a random one on.
    pub(super) fn found(&self) -> impl Iterator<Item = (SocketAddr, Locality)> {
        let start = if self.found.is_empty() { 0 } else { fastrand::usize(..self.found.len()) };
        self.found.iter().skip(start).chain(self.found.iter().take(start)).copied()
    }

    /// Forgets what nobody asked for lately.
    pub(super) fn forget_before(&mut self, now: Instant) {
        if self.last.as_ref().is_some_and(|(at, _)| now > *at + LOOK_AGAIN) {
            *self = Self::default();
        }
    }
}
