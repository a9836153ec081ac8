//! Who speaks with whom, by which rule, how it ended and what is open, summed up for a second.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    mem,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use serde::Serialize;

use super::{
    super::{access_log::Story, open::OpenConnection},
    key::FlowKey,
    latency::Latencies,
};
use crate::observe::{outcome::Moved, spans::is_failure};

/// Flows of a second. Beyond them things are counted and no more.
const MOST_FLOWS: usize = 4096;

/// Data threads meet seldom in as many.
const SHARDS: usize = 8;

/// The sums of one second.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Second {
    /// When it ended, in milliseconds since 1970.
    at: u64,
    /// How long it was: a busy agent can be late. 0 of what is told to a watcher who has just come.
    milliseconds: u64,
    /// What ended in it, and what was open at its end.
    flows: Vec<Flow>,
    /// What was beyond the bound of flows.
    left_out: u64,
}

/// What one workload and another had to do with each other.
#[derive(Debug, Serialize)]
struct Flow {
    /// Between whom.
    #[serde(flatten)]
    key: FlowKey,
    /// How it went.
    #[serde(flatten)]
    sums: Sums,
}

/// What is alike, summed up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Sums {
    /// Requests or connections that ended.
    count: u64,
    /// Of them, those that failed: by a response flag, a status from 500 on, or a gRPC status that says so.
    failed: u64,
    /// By status; of gRPC calls by their own. Nothing of connections, nor of what had no answer.
    statuses: BTreeMap<u16, u64>,
    /// By response flag.
    flags: BTreeMap<&'static str, u64>,
    /// How long they took.
    latencies: Latencies,
    /// Connections without requests that were open at the end of the second.
    open: u64,
    /// Bytes from clients to servers: of requests when they end, of connections when they pass.
    sent: u64,
    /// And back.
    received: u64,
}

/// What has ended since the last second did.
#[derive(Debug)]
pub(super) struct Flows {
    shards: [Mutex<Gathered>; SHARDS],
    /// Of all shards.
    count: AtomicUsize,
    since: Mutex<Option<Instant>>,
}

/// Flows that become those of a second.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    flows: HashMap<FlowKey, Sums>,
    left_out: u64,
}

impl Default for Flows {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), count: AtomicUsize::new(0), since: Mutex::default() }
    }
}

impl Flows {
    pub(super) fn add(&self, story: &Story) {
        let key = FlowKey::of(story);
        let mut shard = self.shards[shard()].lock();
        match shard.flows.entry(key) {
            Entry::Occupied(mut entry) => entry.get_mut().add(story),
            Entry::Vacant(entry) if self.count.fetch_add(1, Relaxed) < MOST_FLOWS => {
                entry.insert(Sums::default()).add(story);
            }
            Entry::Vacant(_) => shard.left_out += 1,
        }
    }

    /// What has ended since this was called before, and how long ago that is.
    pub(super) fn take(&self) -> (Gathered, Duration) {
        let mut all = Gathered::default();
        self.count.store(0, Relaxed);
        for shard in &self.shards {
            let Gathered { flows, left_out } = mem::take(&mut *shard.lock());
            all.left_out += left_out;
            for (key, sums) in flows {
                all.flows.entry(key).or_default().merge(&sums);
            }
        }
        let now = Instant::now();
        let length = self.since.lock().replace(now).map_or(super::SECOND, |since| now - since);
        (all, length)
    }
}

impl Gathered {
    /// Adds a connection that is open, and what it has moved in this second.
    pub(super) fn add_open(&mut self, connection: &OpenConnection, moved: Moved) {
        let has_room = self.flows.len() < MOST_FLOWS;
        let sums = match self.flows.entry(FlowKey::of_open(&connection.facts)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) if has_room => entry.insert(Sums::default()),
            Entry::Vacant(_) => return self.left_out += 1,
        };
        sums.open += 1;
        sums.sent += moved.sent;
        sums.received += moved.received;
    }

    /// Connections and requests whose flow was one too many.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The second that ends now.
    pub(super) fn end(self, length: Duration) -> Second {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Second {
            at: milliseconds(at),
            milliseconds: milliseconds(length),
            flows: self.flows.into_iter().map(|(key, sums)| Flow { key, sums }).collect(),
            left_out: self.left_out,
        }
    }
}

impl Sums {
    fn add(&mut self, story: &Story) {
        let status = story.status();
        self.count += 1;
        self.failed += u64::from(story.has_failed());
        if let Some(status) = status {
            *self.statuses.entry(status).or_default() += 1;
        }
        if let Some(failure) = &story.failure {
            *self.flags.entry(failure.flag.as_str()).or_default() += 1;
        }
        self.latencies.add(story.duration);
        self.sent += story.untold.sent;
        self.received += story.untold.received;
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.failed += other.failed;
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        for (flag, count) in &other.flags {
            *self.flags.entry(flag).or_default() += count;
        }
        self.latencies.merge(&other.latencies);
        self.open += other.open;
        self.sent += other.sent;
        self.received += other.received;
    }
}

impl Story {
    /// The status of the answer; of a gRPC call its own.
    pub(super) fn status(&self) -> Option<u16> {
        let request = self.request.as_deref()?;
        let of_call = request.grpc_status.and_then(|status| u16::try_from(status).ok());
        of_call.or_else(|| request.status.map(|status| status.as_u16()))
    }

    /// Whether a person who looks for failures wants to see it.
    pub(super) fn has_failed(&self) -> bool {
        let flag = self.failure.as_ref().map(|failure| failure.flag);
        let request = self.request.as_deref();
        is_failure(flag, request.and_then(|request| request.status), request.and_then(|request| request.grpc_status))
    }
}

/// Threads are spread over the shards, each with one of its own as far as they go.
fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Relaxed) % SHARDS;
    }
    OWN.with(|own| *own)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
