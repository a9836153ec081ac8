//! Values that change with the clock alone (ages and times to expiry): what is stored is the moment, the gauge is worked out
//! when somebody reads it.

use std::time::{Instant, SystemTime};

use parking_lot::Mutex;

use super::{Metrics, instrument::unset, pods::KnownPods, root_labels::RootLabels};

/// The moments behind the gauges.
#[derive(Debug, Default)]
pub(super) struct Derived {
    pub(super) root_labels: RootLabels,
    pub(super) pods: KnownPods,
    published: Mutex<Option<Instant>>,
    first_expiry: Mutex<Option<SystemTime>>,
    first_root_expiry: Mutex<Option<SystemTime>>,
    crl_next_update: Mutex<Option<SystemTime>>,
    /// By the clock that fetching goes by.
    oldest_token_keys: Mutex<Option<tokio::time::Instant>>,
}

impl Metrics {
    /// Which snapshot is in force, and since when.
    pub fn set_snapshot(&self, generation: u64, published: Instant) {
        self.snapshot_generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        *self.derived.published.lock() = Some(published);
    }

    /// When the first of this node's certificates ends; `None` while it has none.
    pub fn set_first_certificate_expiry(&self, not_after: Option<SystemTime>) {
        *self.derived.first_expiry.lock() = not_after;
    }

    /// When the first of the trusted roots ends; `None` while there is none.
    pub fn set_first_root_expiry(&self, not_after: Option<SystemTime>) {
        *self.derived.first_root_expiry.lock() = not_after;
    }

    /// When the first revocation list should have been replaced; `None` while there is none.
    pub fn set_crl_next_update(&self, next_update: Option<SystemTime>) {
        *self.derived.crl_next_update.lock() = next_update;
    }

    /// When the oldest of the fetched keys in force were fetched; `None` while there are none.
    pub fn set_oldest_token_keys(&self, fetched: Option<tokio::time::Instant>) {
        *self.derived.oldest_token_keys.lock() = fetched;
    }

    /// Works out the gauges as of now.
    pub(super) fn refresh_derived(&self) {
        match *self.derived.published.lock() {
            Some(at) => self.snapshot_age.set(at.elapsed().as_secs_f64()),
            None => unset(&self.snapshot_age),
        }
        for (moment, gauge) in [
            (&self.derived.first_expiry, &self.certificate_expiry),
            (&self.derived.first_root_expiry, &self.root_expiry),
            (&self.derived.crl_next_update, &self.crl_next_update),
        ] {
            match *moment.lock() {
                Some(end) => gauge.set(seconds_until(end, SystemTime::now())),
                None => unset(gauge),
            }
        }
        match *self.derived.oldest_token_keys.lock() {
            Some(at) => self.token_keys_age.set(at.elapsed().as_secs_f64()),
            None => unset(&self.token_keys_age),
        }
    }
}

pub(super) fn seconds_until(end: SystemTime, now: SystemTime) -> f64 {
    match end.duration_since(now) {
        Ok(left) => left.as_secs_f64(),
        Err(past) => -past.duration().as_secs_f64(),
    }
}
