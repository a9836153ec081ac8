//! The connections that are joined and not yet ended: so that their bytes reach the counters while they run, and so that they
//! can be listed.
//!
//! Data threads touch one of several shards, twice per connection; the control task walks them. Descriptors bound how many
//! there are.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Instant, SystemTime},
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{ByteCounts, ConnectionStart, Party, Transport, access_log::time, metrics::Series};
use crate::mesh::ServiceName;

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
    about: About,
    pub(super) counts: Arc<ByteCounts>,
    /// `None` for one with requests, whose bytes are those of the requests.
    pub(super) series: Option<Arc<Series>>,
    counted_sent: AtomicU64,
    counted_received: AtomicU64,
}

/// What is known of an open connection.
#[derive(Debug)]
pub(super) struct About {
    pub(super) protocol: &'static str,
    pub(super) accepted: Instant,
    pub(super) started: SystemTime,
    pub(super) start: ConnectionStart,
    pub(super) service: Option<ServiceName>,
    pub(super) server: Option<Party>,
    pub(super) transport: Transport,
}

/// Open connections, as `/connections` shows them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenView {
    /// How many there are.
    pub open: usize,
    /// The oldest of them.
    pub connections: Vec<ConnectionView>,
}

/// One open connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionView {
    /// What tells it from others while this agent runs.
    pub id: u64,
    /// `outbound` or `inbound`, seen from the pod of this node.
    pub direction: String,
    /// `tcp` or `http`.
    pub protocol: String,
    /// When it was accepted.
    pub since: String,
    /// How long ago that is.
    pub age_seconds: u64,
    /// The client.
    pub source: EndView,
    /// The address that the client dialled.
    pub destination: SocketAddr,
    /// The Service that serves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The server; of a connection whose requests go to several, `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<EndView>,
    /// `mutual_tls` where it is in a tunnel, else `none`.
    pub security: String,
    /// Bytes from client to server; of a connection with requests these are counted with each of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_bytes: Option<u64>,
    /// Bytes from server to client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_bytes: Option<u64>,
    /// Generation of the snapshot that decided first.
    pub generation: u64,
}

/// One end of an open connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndView {
    /// Its address.
    pub address: SocketAddr,
    /// The pod, as `namespace/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Its identity, where it is proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
}

impl Default for OpenConnections {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), next: AtomicU64::new(0) }
    }
}

impl OpenConnections {
    pub(super) fn add(&self, series: Option<Arc<Series>>, about: About) -> Arc<OpenConnection> {
        // From 1 on: 0 is no id.
        let id = self.next.fetch_add(1, Relaxed) + 1;
        let connection = Arc::new(OpenConnection {
            id,
            about,
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

    /// So many of the oldest.
    pub(super) fn view(&self, most: usize) -> OpenView {
        let mut all: Vec<Arc<OpenConnection>> = Vec::new();
        for shard in &self.shards {
            all.extend(shard.lock().values().cloned());
        }
        all.sort_by_key(|connection| connection.id);
        OpenView { open: all.len(), connections: all.iter().take(most).map(|connection| connection.view()).collect() }
    }

    pub(super) fn find(&self, id: u64) -> Option<ConnectionView> {
        let found = self.shard(id).lock().get(&id).cloned();
        found.map(|connection| connection.view())
    }

    fn shard(&self, id: u64) -> &Mutex<HashMap<u64, Arc<OpenConnection>>> {
        &self.shards[usize::try_from(id % SHARDS as u64).unwrap_or(0)]
    }
}

impl OpenConnection {
    fn count_bytes(&self) {
        let Some(series) = &self.series else { return };
        let (sent, received) = self.counts.read();
        series.sent.inc_by(grown(&self.counted_sent, sent));
        series.received.inc_by(grown(&self.counted_received, received));
    }

    fn view(&self) -> ConnectionView {
        let About { protocol, accepted, started, start, service, server, transport } = &self.about;
        let bytes = self.series.as_ref().map(|_| self.counts.read());
        ConnectionView {
            id: self.id,
            direction: start.reporter.direction().to_owned(),
            protocol: (*protocol).to_owned(),
            since: time(*started, &mut String::new()).to_owned(),
            age_seconds: accepted.elapsed().as_secs(),
            source: end(&start.client),
            destination: start.original_dst,
            service: service.as_ref().map(ServiceName::host),
            endpoint: server.as_ref().map(end),
            security: transport.security_policy().to_owned(),
            sent_bytes: bytes.map(|(sent, _)| sent),
            received_bytes: bytes.map(|(_, received)| received),
            generation: start.generation,
        }
    }
}

fn end(party: &Party) -> EndView {
    EndView {
        address: party.address,
        pod: party.workload.as_ref().map(|workload| format!("{}/{}", workload.namespace, workload.name)),
        identity: party.identity.as_ref().map(ToString::to_string),
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
