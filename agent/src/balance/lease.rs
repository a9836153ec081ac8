//! The endpoint that was picked, for as long as the request goes on.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};

use super::{answered::Answered, endpoint::EndpointState, group::Group, health::HealthEvent};
use crate::{mesh::Locality, rules::destination_rule::OutlierDetection};

/// A picked endpoint. It counts as a request under way until this is dropped, however that comes about.
#[derive(Debug)]
#[must_use = "the request is under way only as long as the lease is kept"]
pub struct Lease {
    endpoint: Arc<EndpointState>,
    group: Arc<Group>,
    outliers: Option<OutlierDetection>,
    locality: Locality,
    is_probe: bool,
    /// Whether it was told how the try ended.
    is_told: AtomicBool,
}

impl Lease {
    pub(super) fn new(
        endpoint: Arc<EndpointState>,
        group: Arc<Group>,
        outliers: Option<OutlierDetection>,
        locality: Locality,
        is_probe: bool,
    ) -> Self {
        endpoint.begin();
        Self { endpoint, group, outliers, locality, is_probe, is_told: AtomicBool::new(false) }
    }

    /// Where to send the request.
    pub fn address(&self) -> SocketAddr {
        self.endpoint.address
    }

    /// Where that is, seen from this node.
    pub fn locality(&self) -> Locality {
        self.locality
    }

    /// Whether the endpoint was left out, and this request finds out whether it works again.
    pub fn is_probe(&self) -> bool {
        self.is_probe
    }

    /// Tells once how the try ended: at the head of the response, or at the failure.
    pub fn responded(&self, answered: Answered) -> Option<HealthEvent> {
        self.responded_at(&answered, Instant::now())
    }

    pub(super) fn responded_at(&self, answered: &Answered, now: Instant) -> Option<HealthEvent> {
        self.is_told.store(true, Relaxed);
        self.endpoint.observe(answered, now);
        self.endpoint.health.record(answered, self.outliers.as_ref(), &self.group.health, now)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.endpoint.end();
        if self.is_probe && !self.is_told.load(Relaxed) {
            // Nothing was found out: the next request may.
            self.endpoint.health.give_back_probe();
        }
    }
}
