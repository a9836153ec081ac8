//! The story of one connection while it happens: the steps fill it in, its end counts and logs it, exactly once.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    ByteCounts, ConnectionStart, Failure, GaugeGuard, Observer, Party, ResponseFlag, SocketFacts, Transport,
    access_log::{Failed, LineEvent},
    facts::{Facts, Progress},
    open::OpenConnection,
    outcome::Moved,
};
use crate::mesh::{ServiceName, WorkloadTelemetry};

/// One connection from accept to end. Call [`finish`](Self::finish) with its outcome; one that is dropped without is counted
/// and logged with [`ResponseFlag::Aborted`], never silently.
#[derive(Debug)]
#[must_use = "a record that is dropped without `finish` counts as aborted"]
pub struct ConnectionRecord {
    observer: Observer,
    /// Taken at the end.
    story: Option<Unfinished>,
}

#[derive(Debug)]
struct Unfinished {
    facts: Arc<Facts>,
    open: Option<Arc<OpenConnection>>,
}

impl ConnectionRecord {
    pub(super) fn new(observer: Observer, start: ConnectionStart) -> Self {
        observer.inner.metrics.open_connections.inc();
        let facts = Facts::new(start, observer.logging(None));
        let unfinished = Unfinished { facts: Arc::new(facts), open: None };
        Self { observer, story: Some(unfinished) }
    }

    /// What documents say of the connections of the pod of this node.
    pub fn set_telemetry(&mut self, telemetry: &WorkloadTelemetry) {
        let logging = self.observer.logging(telemetry.access_log);
        self.edit(|story| story.logging = logging);
    }

    /// The service that was dialled, or the one that took over from it.
    pub fn set_service(&mut self, service: ServiceName) {
        self.edit(|story| story.service = Some(service));
    }

    /// Who answers. May be set again when another endpoint is tried.
    pub fn set_server(&mut self, server: Party) {
        self.edit(|story| story.server = Some(server));
    }

    /// How the bytes travel between the nodes.
    pub fn set_transport(&mut self, transport: Transport) {
        self.edit(|story| story.transport = transport);
    }

    /// How many endpoints were tried so far.
    pub fn set_tries(&mut self, tries: u32) {
        self.edit(|story| story.tries = tries);
    }

    /// When it really began, and how long ago, where that was not now.
    pub fn set_time(&mut self, started: SystemTime, age: Duration) {
        self.edit(|story| story.set_time(started, age));
    }

    /// What documents have to say about it without deciding over it, for the access log.
    pub fn set_remarks(&mut self, remarks: Vec<String>) {
        self.edit(|story| story.remarks = remarks);
    }

    /// Client and server are joined now. The relay adds bytes to what this returns. The labels are fixed here: set service,
    /// server and transport before. Calling it again returns the same counts.
    pub fn opened(&mut self) -> Arc<ByteCounts> {
        let inner = Arc::clone(&self.observer.inner);
        let Some(story) = &mut self.story else { return Arc::default() };
        if let Some(open) = &story.open {
            return Arc::clone(&open.counts);
        }
        let series = inner.traffic.resolve(&inner.metrics, story.facts.labels());
        series.opened.inc();
        let is_logged = story.facts.logging.may_log();
        let open = story.open.insert(inner.open.add(series, Arc::clone(&story.facts), is_logged));
        Arc::clone(&open.counts)
    }

    /// The connection carries HTTP: its requests are recorded one by one, and the connection itself is neither counted as TCP
    /// nor logged. It stays in `heddle_open_connections`, and among the open ones, while the returned guard lives.
    pub fn is_http(mut self) -> HttpConnection {
        let inner = Arc::clone(&self.observer.inner);
        let gauge = GaugeGuard::raise(&inner.metrics.open_connections);
        let open = self.story.as_ref().map(|story| inner.open.add_http(Arc::clone(&story.facts)));
        // What was joined is counted already, and has to be counted to its end.
        if self.story.as_ref().is_some_and(|story| story.open.is_some()) {
            self.conclude(None);
        } else if self.story.take().is_some() {
            inner.metrics.open_connections.dec();
        }
        HttpConnection { observer: self.observer.clone(), open, _gauge: gauge }
    }

    /// The connection ended.
    pub fn finish(mut self, result: Result<(), Failure>) {
        self.conclude(result.err());
    }

    /// Client and server were joined, and the connection has ended before anything was told of it: it was never among the open ones.
    pub fn passed(mut self, (sent, received): (u64, u64), server: SocketFacts, failure: Option<Failure>) {
        let Some(Unfinished { facts, .. }) = self.story.take() else { return };
        let inner = &self.observer.inner;
        let series = inner.traffic.resolve(&inner.metrics, facts.labels());
        series.opened.inc();
        series.sent.inc_by(sent);
        series.received.inc_by(received);
        series.closed(failure.as_ref().map(|failure| failure.flag));
        let untold = Moved { sent, received };
        self.end(facts, Progress { sent, received, untold, sockets: [None, Some(server)] }, failure);
    }

    /// Nobody tells of the connection any more, which goes on: it has no end here.
    pub fn left_open(mut self) {
        let Some(Unfinished { open, .. }) = self.story.take() else { return };
        let inner = &self.observer.inner;
        if let Some(open) = open {
            inner.open.remove(&open);
        }
        inner.metrics.open_connections.dec();
    }

    fn edit(&mut self, change: impl FnOnce(&mut Facts)) {
        if let Some(story) = &mut self.story {
            change(Arc::make_mut(&mut story.facts));
        }
    }

    fn conclude(&mut self, failure: Option<Failure>) {
        let Some(Unfinished { facts, open }) = self.story.take() else { return };
        let inner = &self.observer.inner;
        let flag = failure.as_ref().map(|failure| failure.flag);
        let progress = match open {
            Some(open) => {
                inner.open.remove(&open);
                if let Some(series) = &open.series {
                    series.closed(flag);
                }
                Progress { untold: open.untold(), ..Progress::of(&open.counts) }
            }
            None => {
                inner.traffic.resolve(&inner.metrics, facts.labels()).failed(flag);
                Progress::default()
            }
        };
        self.end(facts, progress, failure);
    }

    fn end(&self, facts: Arc<Facts>, progress: Progress, failure: Option<Failure>) {
        let inner = &self.observer.inner;
        inner.metrics.open_connections.dec();
        let is_logged = inner.is_logged(facts.logging, Failed::from(failure.is_some()), None);
        inner.tell(is_logged, None, || facts.told(LineEvent::End, progress, failure));
    }
}

impl Drop for ConnectionRecord {
    fn drop(&mut self) {
        if self.story.is_some() {
            let (flag, error) = match self.observer.metrics().is_draining() {
                true => (ResponseFlag::Drained, "the agent ended before the connection did"),
                false => (ResponseFlag::Aborted, "the agent gave the connection up before it had an outcome"),
            };
            self.conclude(Some(Failure { flag, error: error.to_owned(), denied_by: None }));
        }
    }
}

/// A connection with requests, among the open ones while this lives.
#[derive(Debug)]
#[must_use = "the connection counts as open while this lives"]
pub struct HttpConnection {
    observer: Observer,
    open: Option<Arc<OpenConnection>>,
    _gauge: GaugeGuard,
}

impl Drop for HttpConnection {
    fn drop(&mut self) {
        if let Some(open) = &self.open {
            self.observer.inner.open.remove(open);
        }
    }
}
