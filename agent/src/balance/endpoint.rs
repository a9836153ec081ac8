//! What the node knows of one endpoint: requests under way, how slow it is, and whether it may be used.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

use parking_lot::Mutex;

use super::{
    answered::Answered,
    ewma::Ewma,
    health::{EndpointHealth, Use},
};

/// One endpoint of one Service port, as all pods of this node have used it.
#[derive(Debug)]
pub(super) struct EndpointState {
    pub(super) address: SocketAddr,
    pub(super) health: EndpointHealth,
    in_flight: AtomicU32,
    latency: Mutex<Ewma>,
    /// What tests say of its health.
    #[cfg(test)]
    pub(super) forced: Mutex<Option<Use>>,
}

impl EndpointState {
    pub(super) fn new(address: SocketAddr, now: Instant) -> Self {
        Self {
            address,
            health: EndpointHealth::default(),
            in_flight: AtomicU32::new(0),
            latency: Mutex::new(Ewma::new(now)),
            #[cfg(test)]
            forced: Mutex::default(),
        }
    }

    pub(super) fn may_use(&self, now: Instant) -> Use {
        #[cfg(test)]
        if let Some(forced) = *self.forced.lock() {
            return forced;
        }
        self.health.may_use(now)
    }

    /// The same, for who only looks.
    pub(super) fn standing(&self, now: Instant) -> Use {
        #[cfg(test)]
        if let Some(forced) = *self.forced.lock() {
            return forced;
        }
        self.health.standing(now)
    }

    /// Requests under way. Only an advice: others may begin and end meanwhile.
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn observe(&self, answered: &Answered, now: Instant) {
        self.latency.lock().observe(answered, now);
    }

    /// Seconds that one more request would wait, if each took its turn.
    pub(super) fn peak_ewma_cost(&self, now: Instant) -> f64 {
        let estimate = self.latency.lock().estimate(now);
        estimate * (f64::from(self.in_flight()) + 1.0)
    }
}
