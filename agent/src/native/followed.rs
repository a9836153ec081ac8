//! The story of one native connection, told as that of any other: by the client's side and, where it goes to a pod of this
//! node, by the server's.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use heddle_common::{ConnectionTuple, NativeEvent, NativeOutcome};
use rustix::time::{ClockId, clock_gettime};

use crate::{
    capture::EnrolledPod,
    mesh::{Snapshot, Workload},
    node::Node,
    observe::{
        BypassReason, ByteCounts, ConnectionRecord, ConnectionStart, Failure, Party, Reporter, ResponseFlag,
        SocketFacts, Transport,
    },
    route::{self, Route},
};

/// Who is at the ends of a native connection.
#[derive(Clone, Debug)]
pub(super) struct Ends {
    pub(super) source: Arc<EnrolledPod>,
    /// `None` outside the mesh.
    pub(super) destination: Option<Arc<EnrolledPod>>,
    pub(super) tuple: ConnectionTuple,
}

/// One that is open.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) ends: Ends,
    /// When it began, in nanoseconds of `CLOCK_MONOTONIC`.
    pub(super) began: u64,
    /// Why the agent has ended it, if it has.
    pub(super) ended_by: Option<Failure>,
    records: Vec<(ConnectionRecord, Arc<ByteCounts>)>,
}

impl Ends {
    pub(super) fn client(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::from(self.tuple.client), self.tuple.client_port)
    }

    pub(super) fn server(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::from(self.tuple.server), self.tuple.server_port)
    }

    /// The record of one side, as far as it is known before anything came of it.
    pub(super) fn record(&self, node: &Node, generation: u64, reporter: Reporter) -> ConnectionRecord {
        let snapshot = node.snapshot.load();
        let source = snapshot.current(&self.source.workload);
        let identity = Some(self.source.proves(&snapshot).id().clone());
        let client = Party { address: self.client(), workload: Some(Arc::clone(&source)), identity };
        let start = ConnectionStart { reporter, client, original_dst: self.server(), generation };
        let mut record = node.observer.connection(start);
        let server = self.server_party(&snapshot);
        let reporting = match (reporter, &server.workload) {
            (Reporter::Destination, Some(workload)) => Arc::clone(workload),
            _ => source,
        };
        record.set_telemetry(&snapshot.telemetry_of(&reporting));
        if let Ok(Route::External(_, Some(service))) = route::route(&snapshot, self.server()) {
            record.set_service(service);
        }
        record.set_server(server);
        record.set_transport(if self.destination.is_some() { Transport::Native } else { Transport::Plain });
        record.set_tries(1);
        record
    }

    fn server_party(&self, snapshot: &Snapshot) -> Party {
        let address = self.server();
        match &self.destination {
            Some(pod) => Party {
                address,
                workload: Some(snapshot.current(&pod.workload)),
                identity: Some(pod.proves(snapshot).id().clone()),
            },
            None => Party { address, workload: snapshot.workload(address.ip()).cloned(), identity: None },
        }
    }

    /// Tells one that has come and gone before it was seen open.
    pub(super) fn passed(&self, node: &Node, generation: u64, event: &NativeEvent, ended_by: Option<Failure>) {
        let End { moved, facts, lasted, failure } = End::of(event, ended_by);
        let (started, _) = since(event.time - event.lasted);
        self.count_bypass(node);
        for reporter in self.reporters() {
            let mut record = self.record(node, generation, *reporter);
            record.set_time(started, lasted);
            record.passed(moved, facts, failure.clone());
        }
    }

    fn count_bypass(&self, node: &Node) {
        if self.destination.is_none() {
            node.observer.metrics().bypassed(BypassReason::OutsideMesh, 1);
        }
    }

    fn reporters(&self) -> &'static [Reporter] {
        match self.destination {
            Some(_) => &[Reporter::Source, Reporter::Destination],
            None => &[Reporter::Source],
        }
    }

    /// The pod that is asked whether it may be, as it is now.
    pub(super) fn asked(&self, snapshot: &Snapshot) -> Option<Arc<Workload>> {
        self.destination.as_ref().map(|pod| snapshot.current(&pod.workload))
    }
}

impl Followed {
    /// Follows one from now on. It is open.
    pub(super) fn begin(node: &Node, ends: Ends, began: u64, generation: u64) -> Self {
        let (started, age) = since(began);
        let open = |reporter: &Reporter| {
            let mut record = ends.record(node, generation, *reporter);
            record.set_time(started, age);
            let counts = record.opened();
            (record, counts)
        };
        let records = ends.reporters().iter().map(open).collect();
        ends.count_bypass(node);
        Self { ends, began, ended_by: None, records }
    }

    /// It has ended.
    pub(super) fn end(mut self, event: &NativeEvent) {
        let End { moved: (sent, received), facts, lasted, failure } = End::of(event, self.ended_by.take());
        let (started, _) = since(self.began);
        for (mut record, counts) in std::mem::take(&mut self.records) {
            counts.set_ended(sent, received, facts);
            record.set_time(started, lasted);
            record.finish(failure.clone().map_or(Ok(()), Err));
        }
    }
}

/// The agent ends, and the connection goes on.
impl Drop for Followed {
    fn drop(&mut self) {
        for (record, _) in std::mem::take(&mut self.records) {
            record.left_open();
        }
    }
}

/// How one ended.
struct End {
    /// Bytes sent by the client, and received.
    moved: (u64, u64),
    facts: SocketFacts,
    lasted: Duration,
    failure: Option<Failure>,
}

impl End {
    fn of(event: &NativeEvent, ended_by: Option<Failure>) -> Self {
        Self {
            moved: (event.sent, event.received),
            facts: SocketFacts { rtt_us: event.rtt_us, retransmits: event.retransmits },
            lasted: Duration::from_nanos(event.lasted),
            failure: ended_by.or_else(|| broken_off(event)),
        }
    }
}

/// The kernel does not say which end sent the reset.
fn broken_off(event: &NativeEvent) -> Option<Failure> {
    (event.outcome == NativeOutcome::Reset as u16).then(|| Failure {
        flag: ResponseFlag::NativeReset,
        error: "the kernel carried it, and it was broken off by a reset of one of its ends, or by a timeout".to_owned(),
        denied_by: None,
    })
}

/// When something was by the clock of the wall, and how long ago, by the kernel's clock.
pub(super) fn since(began: u64) -> (SystemTime, Duration) {
    let now = clock_gettime(ClockId::Monotonic);
    let now = Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default());
    let age = now.saturating_sub(Duration::from_nanos(began));
    (SystemTime::now() - age, age)
}
