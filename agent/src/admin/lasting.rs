//! Answers that have no end, and the connections that carry them: those live on as long as the client reads.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// One connection's word on that: an extension of each of its requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Lasting(Arc<Mutex<Option<Instant>>>);

impl Lasting {
    /// The client of an answer without an end takes more of it.
    pub(super) fn is_read(&self) {
        *self.0.lock() = Some(Instant::now());
    }

    /// Whether it did so within this time.
    pub(super) fn was_read_within(&self, time: Duration) -> bool {
        self.0.lock().is_some_and(|last| last.elapsed() < time)
    }
}
