//! What is known of one connection, and its line in the access log: at its end, or while it is open.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::{
    ByteCounts, ConnectionStart, Failure, Party, SocketFacts, Transport,
    access_log::{LineEvent, Logging, Story},
    metrics::LabelSet,
    outcome::Moved,
};
use crate::mesh::ServiceName;

/// The facts. Whoever tells of an open connection shares them with its record.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) started: SystemTime,
    pub(super) accepted: Instant,
    pub(super) start: ConnectionStart,
    pub(super) service: Option<ServiceName>,
    pub(super) server: Option<Party>,
    pub(super) transport: Transport,
    pub(super) tries: u32,
    pub(super) remarks: Vec<String>,
    pub(super) logging: Logging,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) untold: Moved,
    /// Of the socket to the client, and of the one to the server.
    pub(super) sockets: [Option<SocketFacts>; 2],
}

impl Progress {
    pub(super) fn of(counts: &ByteCounts) -> Self {
        let (sent, received) = counts.read();
        Self { sent, received, untold: Moved::default(), sockets: counts.socket_facts() }
    }
}

impl Facts {
    pub(super) fn new(start: ConnectionStart, logging: Logging) -> Self {
        Self {
            started: SystemTime::now(),
            accepted: Instant::now(),
            start,
            service: None,
            server: None,
            transport: Transport::default(),
            tries: 0,
            remarks: Vec::new(),
            logging,
        }
    }

    pub(super) fn set_time(&mut self, started: SystemTime, age: Duration) {
        self.started = started;
        self.accepted = Instant::now().checked_sub(age).unwrap_or(self.accepted);
    }

    pub(super) fn labels(&self) -> LabelSet {
        LabelSet::new(
            self.start.reporter,
            self.transport,
            &self.start.client,
            self.server.as_ref(),
            self.service.as_ref(),
        )
    }

    /// Copies only where somebody else has the facts too.
    pub(super) fn told(self: Arc<Self>, event: LineEvent, progress: Progress, failure: Option<Failure>) -> Story {
        let facts = Arc::unwrap_or_clone(self);
        Story {
            event,
            started: facts.started,
            duration: facts.accepted.elapsed(),
            start: facts.start,
            service: facts.service,
            server: facts.server,
            transport: facts.transport,
            tries: facts.tries,
            remarks: facts.remarks,
            sent: progress.sent,
            received: progress.received,
            untold: progress.untold,
            sockets: progress.sockets,
            failure,
            request: None,
        }
    }
}
