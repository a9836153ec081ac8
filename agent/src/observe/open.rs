//! The connections that are joined and not yet ended, so that their bytes reach the counters while they run,
//! and the long ones of them can be told in the access log.
//!
//! Data threads touch one of several shards, twice per connection; the control task walks them.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{ByteCounts, facts::Facts, metrics::Series};

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
    pub(super) facts: Arc<Facts>,
    /// How old it was when it was told last, in milliseconds.
    told_at: AtomicU64,
    counted_sent: AtomicU64,
    counted_received: AtomicU64,
}

impl Default for OpenConnections {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), next: AtomicU64::new(0) }
    }
}

impl OpenConnections {
    /// `is_logged`: its line will tell about its sockets.
    pub(super) fn add(&self, series: Arc<Series>, facts: Arc<Facts>, is_logged: bool) -> Arc<OpenConnection> {
        let id = self.next.fetch_add(1, Relaxed);
        let connection = Arc::new(OpenConnection {
            id,
            counts: Arc::new(if is_logged { ByteCounts::with_ends() } else { ByteCounts::default() }),
            series,
            facts,
            told_at: AtomicU64::new(0),
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

    /// Those that are to be told by now, each of them once in `every`.
    pub(super) fn due(&self, now: Instant, every: Duration) -> Vec<Arc<OpenConnection>> {
        let mut due = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            due.extend(shard.values().filter(|connection| connection.is_due(now, every)).cloned());
        }
        due
    }

    fn shard(&self, id: u64) -> &Mutex<HashMap<u64, Arc<OpenConnection>>> {
        &self.shards[usize::try_from(id % SHARDS as u64).unwrap_or(0)]
    }
}

impl OpenConnection {
    fn is_due(&self, now: Instant, every: Duration) -> bool {
        let age = now.saturating_duration_since(self.facts.accepted).as_millis() as u64;
        let is_due = age >= self.told_at.load(Relaxed) + every.as_millis() as u64;
        if is_due {
            self.told_at.store(age, Relaxed);
        }
        is_due
    }

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
