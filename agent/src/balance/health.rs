//! Whether an endpoint may be used: the shape that balancing needs of it. Here every endpoint always may.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use super::answered::Answered;
use crate::rules::destination_rule::OutlierDetection;

/// Whether an endpoint may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Like any other.
    Yes,
    /// By this one request, which finds out whether it works again.
    Probe,
    /// Not now.
    No,
}

/// What changed for an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthEvent {
    /// It is left out.
    Ejected,
    /// It is used again.
    Restored,
}

/// What is known of one endpoint.
#[derive(Debug, Default)]
pub struct EndpointHealth {}

/// What is known of all endpoints of a Service port together.
#[derive(Debug, Default)]
pub struct GroupHealth {
    size: AtomicUsize,
}

impl GroupHealth {
    /// How many endpoints there are.
    pub fn set_size(&self, size: usize) {
        self.size.store(size, Ordering::Relaxed);
    }
}

impl EndpointHealth {
    /// Whether it may be used now. Who gets [`Use::Probe`] has to use it.
    pub fn may_use(&self, _now: Instant) -> Use {
        Use::Yes
    }

    /// Takes in how a try ended.
    pub fn record(
        &self,
        _answered: &Answered,
        _settings: Option<&OutlierDetection>,
        _group: &GroupHealth,
        _now: Instant,
    ) -> Option<HealthEvent> {
        None
    }
}
