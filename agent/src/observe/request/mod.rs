//! The story of one HTTP request while it happens: the steps fill it in, its end counts and logs it, exactly once.
//!
//! In: what `request/` knows step by step. Out: Istio's request metrics, an access log line and a span, where there are any.
//! Counting costs one look into a table; texts are copied only for a line or a span, once for both.

mod start;
#[cfg(test)]
pub(super) mod tests;

use std::{
    fmt,
    sync::Arc,
    thread,
    time::{Instant, SystemTime},
};

use http::StatusCode;

pub use start::{RequestProtocol, RequestStart};

use super::{
    ByteCounts, ConnectionStart, Failure, Observer, Party, RequestIds, ResponseFlag, SpanIds, Transport,
    access_log::{Failed, LineEvent, Logging, RequestStory, Story},
    metrics::{LabelSet, Measured, RequestEnd, RequestLabels},
    outcome::Moved,
    spans::is_failure,
};
use crate::mesh::ServiceName;

/// One request from its head to the end of its response. Call [`finish`](Self::finish) with its outcome; one that is dropped
/// without is counted and logged too: as [`ResponseFlag::DownstreamClosed`], since it is the client's going away that drops a
/// response under way, as [`ResponseFlag::Drained`] while the agent stops, and as [`ResponseFlag::Aborted`] after a panic.
#[derive(Debug)]
#[must_use = "a record that is dropped without `finish` counts as given up by the client"]
pub struct RequestRecord {
    observer: Observer,
    began: Instant,
    bytes: Arc<ByteCounts>,
    /// Taken at the end.
    story: Option<Box<Unfinished>>,
}

#[derive(Clone, Debug)]
struct Unfinished {
    started: SystemTime,
    connection: ConnectionStart,
    protocol: RequestProtocol,
    service: Option<ServiceName>,
    server: Option<Party>,
    transport: Transport,
    tries: u32,
    status: Option<StatusCode>,
    grpc_status: Option<u32>,
    remarks: Vec<String>,
    logging: Logging,
    span: Option<Box<SpanIds>>,
    /// Only for those who want to know when it ends.
    words: Option<RequestStory>,
}

impl RequestRecord {
    pub(super) fn new(observer: Observer, start: RequestStart<'_>) -> Self {
        observer.inner.metrics.http_requests_open.inc();
        let logging = observer.logging(start.telemetry.access_log);
        let is_told = logging.may_log() || start.ids.span.is_some() || observer.inner.is_watched();
        let words = is_told.then(|| RequestStory::new(&start));
        let RequestIds { span, .. } = start.ids;
        let unfinished = Unfinished {
            started: SystemTime::now(),
            connection: ConnectionStart {
                reporter: start.reporter,
                client: start.client,
                original_dst: start.original_dst,
                generation: start.generation,
            },
            protocol: start.protocol,
            service: None,
            server: None,
            transport: Transport::default(),
            tries: 0,
            status: None,
            grpc_status: None,
            remarks: Vec::new(),
            logging,
            span,
            words,
        };
        Self { observer, began: Instant::now(), bytes: Arc::default(), story: Some(Box::new(unfinished)) }
    }

    /// The service that was asked, or the one that took over from it.
    pub fn set_service(&mut self, service: ServiceName) {
        self.edit(|story| story.service = Some(service));
    }

    /// Who answers. May be set again when another endpoint is tried.
    pub fn set_server(&mut self, server: Party) {
        self.edit(|story| story.server = Some(server));
    }

    /// How the request travels between the nodes.
    pub fn set_transport(&mut self, transport: Transport) {
        self.edit(|story| story.transport = transport);
    }

    /// How many endpoints were tried so far.
    pub fn set_tries(&mut self, tries: u32) {
        self.edit(|story| story.tries = tries);
    }

    /// The rule that matched, as `HTTPRoute shop/web rules[1]`. It is formatted only for an access log line or a span: give
    /// `format_args!`.
    pub fn set_route(&mut self, route: impl fmt::Display) {
        self.word(|words| words.set_route(&route));
    }

    /// What the client says it is, its header `user-agent`.
    pub fn set_user_agent(&mut self, user_agent: &str) {
        self.word(|words| words.set_user_agent(user_agent));
    }

    /// What documents have to say about it without deciding over it, for the access log.
    pub fn set_remarks(&mut self, remarks: Vec<String>) {
        self.edit(|story| story.remarks = remarks);
    }

    /// Where the bytes of the bodies are added up: sent is the request's, received the response's.
    pub fn bytes(&self) -> Arc<ByteCounts> {
        Arc::clone(&self.bytes)
    }

    /// The head of the response that the client gets leaves, not one that was tried and thrown away.
    pub fn responded(&mut self, status: StatusCode) {
        self.edit(|story| story.status = Some(status));
    }

    /// The status of a gRPC call was seen, in the trailers or in the head of a response without a body.
    pub fn grpc_status(&mut self, status: u32) {
        self.edit(|story| story.grpc_status = Some(status));
    }

    /// Tells in the access log that the request is open still, as often as the log has lines of what is open. Never ends.
    pub async fn tell_while_open(&self) {
        let Some(every) = self.observer.long_connections() else { return std::future::pending().await };
        loop {
            tokio::time::sleep(every).await;
            let (Some(log), Some(story)) = (&self.observer.inner.access_log, &self.story) else { continue };
            if story.logging.tells_open(log.default()) && log.admits(Failed::No) {
                log.push((**story).clone().told(LineEvent::Open, self.measured(), None));
            }
        }
    }

    /// The request ended: its response is complete, or will not be.
    pub fn finish(mut self, result: Result<(), Failure>) {
        self.conclude(result.err());
    }

    fn edit(&mut self, change: impl FnOnce(&mut Unfinished)) {
        if let Some(story) = self.story.as_deref_mut() {
            change(story);
        }
    }

    fn measured(&self) -> Measured {
        let (sent, received) = self.bytes.read();
        Measured { duration: self.began.elapsed(), sent, received }
    }

    fn word(&mut self, change: impl FnOnce(&mut RequestStory)) {
        if let Some(words) = self.story.as_deref_mut().and_then(|story| story.words.as_mut()) {
            change(words);
        }
    }

    fn conclude(&mut self, failure: Option<Failure>) {
        let Some(mut story) = self.story.take() else { return };
        let inner = &self.observer.inner;
        let measured = self.measured();
        let flag = failure.as_ref().map(|failure| failure.flag);
        inner.requests.count(&inner.metrics, story.labels(flag), measured);
        inner.metrics.http_requests_open.dec();
        let is_logged = inner.is_logged(story.logging, story.failed(flag), story.request_id());
        let span = story.span.take();
        // One that began before anybody wanted to know is not told.
        if story.words.is_some() {
            inner.tell(is_logged, span, || (*story).told(LineEvent::End, measured, failure));
        }
    }

    /// What it is when nobody said how the request ended.
    fn given_up(&self) -> Failure {
        let (flag, error) = if thread::panicking() {
            (
                ResponseFlag::Aborted,
                "the agent failed while it handled the request; please report it with the agent's log",
            )
        } else if self.observer.metrics().is_draining() {
            (ResponseFlag::Drained, "the agent ended before the request did")
        } else {
            (ResponseFlag::DownstreamClosed, "the client went away before the request had an outcome")
        };
        Failure { flag, error: error.to_owned(), denied_by: None }
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        if self.story.is_some() {
            self.conclude(Some(self.given_up()));
        }
    }
}

impl Unfinished {
    fn failed(&self, flag: Option<ResponseFlag>) -> Failed {
        Failed::from(is_failure(flag, self.status, self.grpc_status))
    }

    fn request_id(&self) -> Option<&str> {
        self.words.as_ref()?.request_id()
    }

    fn labels(&self, flag: Option<ResponseFlag>) -> RequestLabels {
        let parties = LabelSet::new(
            self.connection.reporter,
            self.transport,
            &self.connection.client,
            self.server.as_ref(),
            self.service.as_ref(),
        );
        RequestLabels::new(parties, RequestEnd::new(self.protocol.is_grpc(), self.status, self.grpc_status, flag))
    }

    fn told(self, event: LineEvent, measured: Measured, failure: Option<Failure>) -> Story {
        let request = self.words.map(|words| words.ended(self.status, self.grpc_status));
        Story {
            event,
            started: self.started,
            duration: measured.duration,
            start: self.connection,
            service: self.service,
            server: self.server,
            transport: self.transport,
            tries: self.tries,
            remarks: self.remarks,
            sent: measured.sent,
            received: measured.received,
            untold: Moved { sent: measured.sent, received: measured.received },
            sockets: [None; 2],
            failure,
            request: request.map(Box::new),
        }
    }
}
