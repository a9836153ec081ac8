//! The story of one HTTP request while it happens: the steps fill it in, its end counts and logs it, exactly once.
//!
//! In: what `request/` knows step by step. Out: Istio's request metrics, an access log line and a span, where there are any.
//! Counting costs one look into a table; texts are copied only for a line or a span, once for both.

mod open;
mod start;
#[cfg(test)]
pub(super) mod tests;

use std::{
    fmt,
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use http::StatusCode;

pub(super) use open::{OpenFlow, OpenRequest, OpenRequests};
pub use start::{RequestProtocol, RequestStart};

use super::{
    ByteCounts, ConnectionStart, Failure, Observer, Party, RequestIds, ResponseFlag, SocketView, SpanIds, Transport,
    access_log::{Failed, LineEvent, Logging, RequestStory, Story},
    metrics::{LabelSet, Measured, RequestEnd, RequestLabels},
    outcome::Moved,
    spans::is_failure,
};
use crate::mesh::ServiceName;

/// A request that took so long has its sockets looked at. Of others nobody asks how their packets travelled, and a look is a
/// system call.
const SLOW: Duration = Duration::from_secs(1);

/// One request from its head to the end of its response. Call [`finish`](Self::finish) with its outcome; one that is dropped
/// without is counted and logged too: as [`ResponseFlag::DownstreamClosed`], since it is the client's going away that drops a
/// response under way, as [`ResponseFlag::Drained`] while the agent stops, and as [`ResponseFlag::Aborted`] after a panic.
#[derive(Debug)]
#[must_use = "a record that is dropped without `finish` counts as given up by the client"]
pub struct RequestRecord {
    observer: Observer,
    open: Arc<OpenRequest>,
}

#[derive(Clone, Debug)]
struct Unfinished {
    started: SystemTime,
    connection: ConnectionStart,
    protocol: RequestProtocol,
    service: Option<ServiceName>,
    server: Option<Party>,
    transport: Transport,
    /// That to the client, and that to the server.
    sockets: [Option<Arc<SocketView>>; 2],
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
        Self::begun(observer, start, Instant::now())
    }

    fn begun(observer: Observer, start: RequestStart<'_>, began: Instant) -> Self {
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
            sockets: [None, None],
            tries: 0,
            status: None,
            grpc_status: None,
            remarks: Vec::new(),
            logging,
            span,
            words,
        };
        let open = observer.inner.open_requests.begin(unfinished, began);
        Self { observer, open }
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

    /// The socket over which the request came, or that of its tunnel.
    pub fn set_client_socket(&mut self, socket: Arc<SocketView>) {
        self.edit(|story| story.sockets[0] = Some(socket));
    }

    /// The one over which it goes on. May be set again with another try.
    pub fn set_server_socket(&mut self, socket: Arc<SocketView>) {
        self.edit(|story| story.sockets[1] = Some(socket));
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
        Arc::clone(&self.open.bytes)
    }

    /// The head of the response that the client gets leaves, not one that was tried and thrown away.
    pub fn responded(&mut self, status: StatusCode) {
        self.edit(|story| story.status = Some(status));
    }

    /// The status of a gRPC call was seen, in the trailers or in the head of a response without a body.
    pub fn grpc_status(&mut self, status: u32) {
        self.edit(|story| story.grpc_status = Some(status));
    }

    /// The request ended: its response is complete, or will not be.
    pub fn finish(mut self, result: Result<(), Failure>) {
        self.conclude(result.err());
    }

    fn edit(&mut self, change: impl FnOnce(&mut Unfinished)) {
        if let Some(story) = self.open.story.lock().as_mut() {
            change(story);
        }
    }

    fn word(&mut self, change: impl FnOnce(&mut RequestStory)) {
        self.edit(|story| {
            if let Some(words) = &mut story.words {
                change(words);
            }
        });
    }

    fn conclude(&mut self, failure: Option<Failure>) {
        let inner = &self.observer.inner;
        let Some(mut story) = inner.open_requests.end(&self.open) else { return };
        let measured = self.open.measured();
        let flag = failure.as_ref().map(|failure| failure.flag);
        inner.requests.count(&inner.metrics, story.labels(flag), measured);
        inner.metrics.http_requests_open.dec();
        let failed = Failed::from(story.has_failed(flag));
        let is_logged = inner.is_logged(story.logging, failed, story.request_id());
        let span = story.span.take();
        // One that began before anybody wanted to know is not told.
        if story.words.is_some() {
            inner.tell(is_logged, span, || story.told(LineEvent::End, measured, failure));
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
        if self.open.story.lock().is_some() {
            self.conclude(Some(self.given_up()));
        }
    }
}

impl Unfinished {
    fn has_failed(&self, flag: Option<ResponseFlag>) -> bool {
        is_failure(flag, self.status, self.grpc_status)
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
        let flag = failure.as_ref().map(|failure| failure.flag);
        let sockets = match event == LineEvent::Open || measured.duration >= SLOW || self.has_failed(flag) {
            true => self.sockets.each_ref().map(|socket| socket.as_ref()?.facts()),
            false => [None; 2],
        };
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
            sockets,
            failure,
            request: request.map(Box::new),
        }
    }
}
