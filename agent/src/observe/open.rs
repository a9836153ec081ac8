//! The connections that are joined and not yet ended, so that their bytes reach the counters while they run.
//!
//! Data threads touch one of several shards, twice per connection; the control task walks them.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;

use super::{ByteCounts, metrics::Series};

/// A power of two well above the number of data threads: two of them seldom meet.
const SHARDS: usize = 64;

/// Every open connection.
#[derive(Debug)]
pub(super) struct OpenConnections {
    shards: [Mutex<HashMap<u64, Arc<OpenConnection>>>; SHARDS],
    next: AtomicU64,
}

/// One open connection: the relay's counts, and how much of them was added to the series.
#[derive(Debug)]
pub(super) struct OpenConnection {
    id: u64,
    pub(super) counts: Arc<ByteCounts>,
    pub(super) series: Arc<Series>,
    counted_sent: AtomicU64,
    counted_received: AtomicU64,
}

impl Default for OpenConnections {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), next: AtomicU64::new(0) }
    }
}

impl OpenConnections {
    pub(super) fn add(&self, series: Arc<Series>) -> Arc<OpenConnection> {
        let id = self.next.fetch_add(1, Relaxed);
        let connection = Arc::new(OpenConnection {
            id,
            counts: Arc::default(),
            series,
            counted_sent: AtomicU64::new(0),
            counted_received: AtomicU64::new(0),
        });
        self.shard(id).lock().insert(id, Arc::clone(&connection));
        connection
    }

    /// Adds its last bytes to its series and forgets it.
    pub(super) fn remove(&self, connection: &OpenConnection) {
        self.shard(connection.id).lock().remove(&connection.id);
        connection.count_bytes();
    }

    /// Adds what every connection moved since the last time.
    pub(super) fn count_bytes(&self) {
        for shard in &self.shards {
            shard.lock().values().for_each(|connection| connection.count_bytes());
        }
    }

    fn shard(&self, id: u64) -> &Mutex<HashMap<u64, Arc<OpenConnection>>> {
        &self.shards[usize::try_from(id % SHARDS as u64).unwrap_or(0)]
    }
}

impl OpenConnection {
    fn count_bytes(&self) {
        let (sent, received) = self.counts.read();
        self.series.sent.inc_by(grown(&self.counted_sent, sent));
        self.series.received.inc_by(grown(&self.counted_received, received));
    }
}

/// How far `now` is beyond what was counted before. Correct too when two threads count at once: the maximum never falls, so
/// each byte belongs to one of them.
fn grown(counted: &AtomicU64, now: u64) -> u64 {
    now.saturating_sub(counted.fetch_max(now, Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_was_overtaken_by_a_newer_one_adds_nothing_and_takes_nothing_back() {
        let counted = AtomicU64::new(0);
        // A thread read 100, another read 200 and was faster.
        let added: Vec<_> = [200, 100, 250].into_iter().map(|now| grown(&counted, now)).collect();
        assert_eq!(added, [200, 0, 50]);
    }
}
