//! Values that change with the clock alone (ages and times to expiry): what is stored is the moment, the gauge is worked out
//! when somebody reads it.

use std::time::{Instant, SystemTime};

use parking_lot::Mutex;

use super::{Metrics, instrument::unset};

/// The moments behind the gauges.
#[derive(Debug, Default)]
pub(super) struct Derived {
    published: Mutex<Option<Instant>>,
    first_expiry: Mutex<Option<SystemTime>>,
}

impl Metrics {
    /// A snapshot is in force from now on.
    pub fn snapshot_published(&self, generation: u64) {
        self.snapshot_generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        *self.derived.published.lock() = Some(Instant::now());
    }

    /// When the first of this node's certificates ends; `None` while it has none.
    pub fn set_first_certificate_expiry(&self, not_after: Option<SystemTime>) {
        *self.derived.first_expiry.lock() = not_after;
    }

    /// Works out the gauges as of now.
    pub(super) fn refresh_derived(&self) {
        match *self.derived.published.lock() {
            Some(at) => self.snapshot_age.set(at.elapsed().as_secs_f64()),
            None => unset(&self.snapshot_age),
        }
        match *self.derived.first_expiry.lock() {
            Some(end) => self.certificate_expiry.set(seconds_until(end, SystemTime::now())),
            None => unset(&self.certificate_expiry),
        }
    }
}

pub(super) fn seconds_until(end: SystemTime, now: SystemTime) -> f64 {
    match end.duration_since(now) {
        Ok(left) => left.as_secs_f64(),
        Err(past) => -past.duration().as_secs_f64(),
    }
}
