//! The wall clock by which certificates begin and end, for issuing, renewing and verifying alike.
//!
//! Production reads the system's clock every time, so a step of it or a suspended machine is seen. A steered clock
//! starts at a chosen time and advances with tokio's, which tests pause. Sleeping is not done here.

use std::time::SystemTime;

use rustls::{pki_types::UnixTime, time_provider::TimeProvider};
use tokio::time::Instant;

/// Tells the time of day.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Steered { origin: SystemTime, started: Instant },
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that says `origin` now, and advances as tokio's clock does: not at all while that one is paused.
    pub fn steered(origin: SystemTime) -> Self {
        Self(Source::Steered { origin, started: Instant::now() })
    }

    /// The time of day.
    pub fn now(&self) -> SystemTime {
        match &self.0 {
            Source::System => SystemTime::now(),
            Source::Steered { origin, started } => *origin + started.elapsed(),
        }
    }

    /// The time of day as certificates count it; `None` before 1970, which rustls answers by failing the handshake.
    pub(super) fn unix_time(&self) -> Option<UnixTime> {
        self.now().duration_since(SystemTime::UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        self.unix_time()
    }
}
