//! Who speaks with whom, by which rule, and how it ended, summed up for a second.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    mem,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use serde::Serialize;

use super::{super::access_log::Story, latency::Latencies};
use crate::{
    mesh::ServiceName,
    observe::{Party, Reporter, Transport, spans::is_failure},
};

/// Flows of a second. Beyond them things are counted and no more.
const MOST_FLOWS: usize = 4096;

/// Data threads meet seldom in as many.
const SHARDS: usize = 8;

/// The sums of one second.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Second {
    /// When it ended, in milliseconds since 1970.
    pub(super) at: u64,
    /// How long it was: a busy agent can be late.
    pub(super) milliseconds: u64,
    /// What ended in it.
    pub(super) flows: Vec<Flow>,
    /// What ended beyond the bound of flows.
    pub(super) left_out: u64,
}

/// What one workload and another had to do with each other.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Flow {
    /// Between whom.
    #[serde(flatten)]
    pub(super) key: FlowKey,
    /// How it went.
    #[serde(flatten)]
    pub(super) ended: Ended,
}

/// What makes two requests or connections alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FlowKey {
    /// `outbound` or `inbound`, as this node sees it.
    pub(super) direction: &'static str,
    /// The client.
    pub(super) source: Peer,
    /// The server; nobody where none was chosen.
    pub(super) destination: Option<Peer>,
    /// The Service that was dialled, by its host name.
    #[serde(serialize_with = "as_host")]
    pub(super) service: Option<ServiceName>,
    /// `tcp`, `http/1`, `http/2` or `grpc`.
    pub(super) protocol: &'static str,
    /// The rule that matched, as in the access log.
    pub(super) route: Option<String>,
    /// Whether it travelled in mutual TLS; what went to nobody did not travel.
    pub(super) mutual_tls: bool,
}

/// One end: a workload, or an address that the mesh knows nothing of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub(super) enum Peer {
    /// Pods of one owner.
    Workload {
        /// Their namespace.
        namespace: Arc<str>,
        /// Their owner.
        workload: Arc<str>,
    },
    /// Outside of the mesh.
    Address {
        /// The address without the port, of which clients have many.
        address: IpAddr,
    },
}

/// How what is alike ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Ended {
    /// Requests or connections.
    pub(super) count: u64,
    /// Of them, those that failed: by a response flag, a status from 500 on, or a gRPC status that says so.
    pub(super) failed: u64,
    /// By status; of gRPC calls by their own. Nothing of connections, nor of what had no answer.
    pub(super) statuses: BTreeMap<u16, u64>,
    /// By response flag.
    pub(super) flags: BTreeMap<&'static str, u64>,
    /// How long they took.
    pub(super) latencies: Latencies,
    /// Bytes from clients to servers.
    pub(super) sent: u64,
    /// And back.
    pub(super) received: u64,
}

/// What has ended since the last second did.
#[derive(Debug)]
pub(super) struct Flows {
    shards: [Mutex<Shard>; SHARDS],
    /// Of all shards.
    count: AtomicUsize,
    since: Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Shard {
    flows: HashMap<FlowKey, Ended>,
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
                entry.insert(Ended::default()).add(story);
            }
            Entry::Vacant(_) => shard.left_out += 1,
        }
    }

    /// What has ended since this was called before.
    pub(super) fn take(&self) -> Second {
        let mut flows = HashMap::new();
        let mut left_out = 0;
        self.count.store(0, Relaxed);
        for shard in &self.shards {
            let Shard { flows: part, left_out: out } = mem::take(&mut *shard.lock());
            left_out += out;
            for (key, ended) in part {
                flows.entry(key).or_insert_with(Ended::default).merge(&ended);
            }
        }
        let now = Instant::now();
        let length = self.since.lock().replace(now).map_or(super::SECOND, |since| now - since);
        let flows = flows.into_iter().map(|(key, ended)| Flow { key, ended }).collect();
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Second { at: milliseconds(at), milliseconds: milliseconds(length), flows, left_out }
    }
}

impl FlowKey {
    fn of(story: &Story) -> Self {
        let request = story.request.as_deref();
        Self {
            direction: story.start.reporter.direction(),
            source: Peer::of(&story.start.client),
            destination: story.server.as_ref().map(Peer::of),
            service: story.service.clone(),
            protocol: story.protocol(),
            // The server's agent knows of no rule.
            route: request
                .filter(|_| story.start.reporter == Reporter::Source)
                .and_then(|request| request.route.clone()),
            mutual_tls: matches!(story.transport, Transport::Hbone { .. }),
        }
    }
}

impl Peer {
    fn of(party: &Party) -> Self {
        match &party.workload {
            Some(workload) => {
                Self::Workload { namespace: Arc::clone(&workload.namespace), workload: Arc::clone(&workload.owner) }
            }
            None => Self::Address { address: party.address.ip() },
        }
    }
}

impl Ended {
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
        self.sent += story.sent;
        self.received += story.received;
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

fn as_host<S: serde::Serializer>(service: &Option<ServiceName>, serializer: S) -> Result<S::Ok, S::Error> {
    service.as_ref().map(ServiceName::host).serialize(serializer)
}
