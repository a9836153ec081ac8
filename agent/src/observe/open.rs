//! The connections that are joined and not yet ended: so that their bytes reach the counters while they run, so that the long
//! ones of them can be told in the access log, and so that they can be listed.
//!
//! Descriptors bound how many there are.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    ByteCounts, Party,
    access_log::timestamp,
    facts::Facts,
    flow::Flow,
    inventory::{Inventory, Turn},
    metrics::Series,
    outcome::Moved,
};
use crate::mesh::ServiceName;

/// Every open connection.
#[derive(Debug, Default)]
pub(super) struct OpenConnections(Inventory<OpenConnection>);

/// One open connection: the relay's counts, and how much of them was added to the series.
#[derive(Debug)]
pub(super) struct OpenConnection {
    id: u64,
    pub(super) counts: Arc<ByteCounts>,
    /// `None` for one with requests, whose bytes are those of the requests.
    pub(super) series: Option<Arc<Series>>,
    pub(super) facts: Arc<Facts>,
    turn: Turn,
    counted: Seen,
    /// To those who watch.
    told: Seen,
}

/// How much was seen of what a connection has moved.
#[derive(Debug, Default)]
struct Seen {
    sent: AtomicU64,
    received: AtomicU64,
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
    /// What owns the pod, as `namespace/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// Its identity, where it is proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
}

impl OpenConnections {
    /// One whose bytes are relayed. `is_logged`: its line will tell about its sockets.
    pub(super) fn add(&self, series: Arc<Series>, facts: Arc<Facts>, is_logged: bool) -> Arc<OpenConnection> {
        let counts = if is_logged { ByteCounts::with_ends() } else { ByteCounts::default() };
        self.insert(Some(series), facts, counts)
    }

    /// One with requests.
    pub(super) fn add_http(&self, facts: Arc<Facts>) -> Arc<OpenConnection> {
        self.insert(None, facts, ByteCounts::default())
    }

    fn insert(&self, series: Option<Arc<Series>>, facts: Arc<Facts>, counts: ByteCounts) -> Arc<OpenConnection> {
        self.0.insert(|id| OpenConnection {
            id,
            counts: Arc::new(counts),
            series,
            turn: Turn::from(facts.accepted),
            facts,
            counted: Seen::default(),
            told: Seen::default(),
        })
    }

    /// Adds its last bytes to its series and forgets it.
    pub(super) fn remove(&self, connection: &OpenConnection) {
        self.0.remove(connection.id);
        connection.count_bytes();
    }

    /// Adds what every connection moved since the last time.
    pub(super) fn count_bytes(&self) {
        self.0.each(|connection| connection.count_bytes());
    }

    /// Looks at each one whose bytes are relayed. What opens or ends meanwhile waits for a list of its
    /// shard and not for the look.
    pub(super) fn each_relayed(&self, mut look: impl FnMut(&OpenConnection)) {
        self.0.some(usize::MAX, OpenConnection::is_relayed).iter().for_each(|open| look(open));
    }

    /// Those that are to be told by now, each of them once in `every`, so many at most: the others are told at the next look.
    pub(super) fn due(&self, now: Instant, every: Duration, most: usize) -> Vec<Arc<OpenConnection>> {
        // Of requests each has a line.
        let due = self.0.some(most, |connection| connection.is_relayed() && connection.turn.is_due(now, every));
        due.iter().for_each(|connection| connection.turn.is_told(now));
        due
    }

    /// So many of the oldest.
    pub(super) fn view(&self, most: usize) -> OpenView {
        let mut all = self.0.some(usize::MAX, |_| true);
        all.sort_by_key(|connection| connection.id);
        OpenView { open: all.len(), connections: all.iter().take(most).map(|connection| connection.view()).collect() }
    }

    pub(super) fn find(&self, id: u64) -> Option<ConnectionView> {
        self.0.find(id).map(|connection| connection.view())
    }

    /// Has the flow of each that is relayed looked at: those of requests are told by the requests.
    pub(super) fn each_flow(&self, mut look: impl FnMut(&Flow)) {
        self.0.each(|connection| {
            let Facts { start, server, .. } = &*connection.facts;
            if connection.is_relayed()
                && let Some(flow) = Flow::of(start, server.as_ref(), None)
            {
                look(&flow);
            }
        });
    }
}

impl OpenConnection {
    fn is_relayed(&self) -> bool {
        self.series.is_some()
    }

    fn count_bytes(&self) {
        let Some(series) = &self.series else { return };
        let moved = self.counted.up_to(&self.counts);
        series.sent.inc_by(moved.sent);
        series.received.inc_by(moved.received);
    }

    /// What it has moved since this was asked before: each byte is told once, while it is open or at its end.
    pub(super) fn untold(&self) -> Moved {
        self.told.up_to(&self.counts)
    }

    fn view(&self) -> ConnectionView {
        let Facts { accepted, started, start, service, server, transport, .. } = &*self.facts;
        let bytes = self.series.as_ref().map(|_| self.counts.read());
        ConnectionView {
            id: self.id,
            direction: start.reporter.direction().to_owned(),
            protocol: if bytes.is_some() { "tcp" } else { "http" }.to_owned(),
            since: timestamp(*started),
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

impl Seen {
    /// Sees the rest.
    fn up_to(&self, counts: &ByteCounts) -> Moved {
        let (sent, received) = counts.read();
        Moved { sent: grown(&self.sent, sent), received: grown(&self.received, received) }
    }
}

fn end(party: &Party) -> EndView {
    EndView {
        address: party.address,
        pod: party.workload.as_ref().map(|workload| format!("{}/{}", workload.namespace, workload.name)),
        workload: party.workload.as_ref().map(|workload| format!("{}/{}", workload.namespace, workload.owner)),
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
