//! Step 7, what happened: one outcome per connection and per HTTP request, as metrics and as one access log line; and the
//! agent's own log.
//!
//! In: a [`ConnectionRecord`] or [`RequestRecord`] that the steps fill, and the typed handles of [`Metrics`]. Out: text for Prometheus, lines on
//! standard output. Nothing here decides anything, and recording never waits: not for a scrape, nor for a slow log reader.

mod access_log;
mod event_feed;
mod facts;
mod flag;
mod flow;
mod flow_counts;
mod flush;
mod inventory;
mod live;
mod log_writer;
mod metrics;
mod open;
mod outcome;
mod process_log;
mod recent;
mod record;
mod recordings;
mod request;
mod root_name;
mod socket;
mod spans;
#[cfg(test)]
mod tests;
mod trace_context;

use std::{
    fmt, io, iter,
    sync::Arc,
    time::{Duration, Instant},
};

use http::HeaderMap;
use parking_lot::Mutex;
use prometheus::Registry;
use tokio::{sync::watch, time::MissedTickBehavior};

pub use access_log::{AccessLogOutput, AccessLogSettings, FIELDS, Field, LogFormat, timestamp};
pub use event_feed::{EventFeed, Heard, Listener, MOST_LISTENERS, QUEUE};
pub use flag::{NO_FLAG, ResponseFlag};
pub use flow::{BadFlows, CUT, Flow, FlowClient, FlowRequest, Flows, FlowsEnd, FlowsHead, VERSION};
pub use flow_counts::{FlowCounts, TakenFlows};
pub use live::{BadFilter, FlowWatch, TapEvent, TapFilter, TapWatch, TooManyWatchers};
pub use metrics::{
    AUTHORITY_TABLE, AdmissionResult, AuthorityMetrics, ByLabel, BypassReason, CertificateState, ClosedLabel, CrlLoad,
    DenialReason, DialResult, DocumentLabel, DropReason, EventResult, GaugeGuard, HandshakeResult, KeyFetchResult,
    Kind, LeftOutReason, LookResult, LookupResult, LostEventReason, MetricSpec, Metrics, NodePatchResult, OwnListener,
    PodBound, PodDirection, PodUse, PolicyEffect, RefusedReason, Remembered, Resource, RestartReason, ReviewResult,
    Side, SignedFor, SigningResult, SpanDropReason, SpanExportResult, TABLE, TEXT_FORMAT, TunnelEndReason, WatchLoss,
    Watching, metrics_reference,
};
pub use metrics::{
    DetectedBy, DetectedProtocol, EjectionReason, FallbackOf, FallbackReason, FaultKind, HttpRefusal, LimitedAt,
    MirrorResult, OverflowLimit, PickLocality, PoolResult, RetryResult, TokenResult, UpgradeKind,
};
pub use open::{ConnectionView, EndView, OpenView};
pub use outcome::{ByteCounts, ConnectionStart, Failure, Party, Reporter, ShownEnds, Transport};
pub use process_log::{
    AUDIT, KERNEL_LOG, LogControl, LogError, flush_log, init_audited_log, init_log, log_lines_dropped,
};
pub use recent::{Ended, EndedRequest};
pub use record::{ConnectionRecord, HttpConnection};
pub use request::{RequestProtocol, RequestRecord, RequestStart};
pub use root_name::RootName;
pub use socket::{ReadFacts, Shown, SocketEnd, SocketFacts, SocketView};
pub use spans::{SpanOutput, is_servers_fault};
pub(crate) use trace_context::fuzz;
pub use trace_context::{RequestIds, SpanId, SpanIds, TraceId};

use crate::{mesh::WorkloadTelemetry, rules::telemetry::AccessLogging};

use access_log::{Failed, Logging};
use flow_counts::Tally;

use request::OpenFlow;
use trace_context::Draw;

/// How often bytes of open connections reach the counters, and unused label sets are looked for. Shorter than the usual
/// scrape interval of 15 s would be wasted: each scrape counts the bytes too.
const TICK: Duration = Duration::from_secs(15);

/// Looks for long connections and requests in the time after which they are told: a line is late by a twelfth of it.
const LOOKS: u32 = 12;

/// How many of each are told at one look: a fraction of what the log's queue has room for.
const MOST_TOLD: usize = 1000;

/// The shortest time between two of them: each goes through all that is open.
const SHORTEST_LOOK: Duration = Duration::from_millis(100);

/// Ends of one trace that are told: a request has one on each side, and one for each try by its application.
const MOST_FOUND: usize = 16;

/// Where every step reports. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Observer {
    inner: Arc<Inner>,
}

struct Inner {
    metrics: Metrics,
    registry: Registry,
    traffic: metrics::Traffic,
    requests: metrics::Requests,
    policy_hits: metrics::PolicyHits,
    open: Arc<open::OpenConnections>,
    open_requests: request::OpenRequests,
    access_log: Option<access_log::AccessLog>,
    live: Arc<live::Live>,
    recordings: recordings::Recordings,
    spans: Option<spans::Spans>,
    before_scrape: Mutex<Vec<ScrapeHook>>,
}

type ScrapeHook = Box<dyn Fn(&Metrics) + Send + Sync>;

/// Why observing could not start, or be read.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The access log's writer thread, or that of the exporter of spans, could not be started.
    #[error(
        "starting the thread of the access log or of spans failed: {0}; the limit of processes or memory is too low for the \
         agent"
    )]
    Thread(#[from] io::Error),
    /// The table of metrics is not valid: a defect of this build.
    #[error("building the metrics failed: {0}; this is a defect of this build, please report it")]
    Metrics(#[from] prometheus::Error),
}

impl Observer {
    /// Starts observing. `cluster` is the label of workloads that the mesh knows; no `access_log`, no lines.
    pub fn new(cluster: Arc<str>, access_log: Option<AccessLogOutput>) -> Result<Self, ObserveError> {
        Self::tracing(cluster, access_log, None)
    }

    /// The same; no `spans`, none are recorded.
    pub fn tracing(
        cluster: Arc<str>,
        access_log: Option<AccessLogOutput>,
        spans: Option<SpanOutput>,
    ) -> Result<Self, ObserveError> {
        let (registry, metrics) = metrics::new()?;
        let unwritten = access_log::Unwritten {
            dropped: metrics.access_log_dropped.clone(),
            over_rate: metrics.access_log_left_out.of(LeftOutReason::Rate).clone(),
        };
        let start = |output: SpanOutput| spans::Spans::start(&output, Arc::clone(&cluster), &metrics);
        let spans = spans.map(start).transpose()?;
        let start = |output| access_log::AccessLog::start(output, unwritten);
        let access_log = access_log.map(start).transpose()?;
        let open = Arc::<open::OpenConnections>::default();
        let inner = Inner {
            metrics,
            registry,
            traffic: metrics::Traffic::new(Arc::clone(&cluster)),
            requests: metrics::Requests::new(cluster),
            policy_hits: metrics::PolicyHits::default(),
            open_requests: request::OpenRequests::default(),
            access_log,
            live: Arc::new(live::Live::new(Arc::clone(&open))),
            open,
            recordings: recordings::Recordings::default(),
            spans,
            before_scrape: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A connection was accepted.
    pub fn connection(&self, start: ConnectionStart) -> ConnectionRecord {
        ConnectionRecord::new(self.clone(), start)
    }

    /// By what a request is known, which it brings or is given here; and the ids of the span that is recorded of it, if one is. In
    /// that case the span is the parent of what comes next: the headers say so from now on.
    pub fn identify(&self, headers: &mut HeaderMap, telemetry: &WorkloadTelemetry) -> RequestIds {
        match &self.inner.spans {
            None => RequestIds::of(headers),
            Some(spans) => {
                let said = telemetry.tracing.map(|tracing| tracing.sampling_percentage);
                RequestIds::traced(headers, Draw(said.unwrap_or(spans.share())))
            }
        }
    }

    /// The head of a request was read.
    pub fn request(&self, start: RequestStart<'_>) -> RequestRecord {
        RequestRecord::new(self.clone(), start)
    }

    /// A document, by the name that logs give it, decided over a connection.
    pub fn policy_hit(&self, policy: &str, effect: PolicyEffect) {
        self.inner.policy_hits.count(&self.inner.metrics, policy, effect, Instant::now());
    }

    /// Starts to watch the sums of each second: of what is open, and of what ends from now on.
    pub fn watch_flows(&self) -> Result<FlowWatch, TooManyWatchers> {
        self.inner.live.watch_flows()
    }

    /// Starts to watch what begins from now on, as it ends.
    pub fn tap(&self, filter: TapFilter) -> Result<TapWatch, TooManyWatchers> {
        self.inner.live.tap(filter)
    }

    /// The handles of every metric that is not about one connection.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// Calls `hook` before each scrape, for values that are kept elsewhere (the kernel's counters). It must be quick.
    pub fn before_scrape(&self, hook: impl Fn(&Metrics) + Send + Sync + 'static) {
        self.inner.before_scrape.lock().push(Box::new(hook));
    }

    /// All metrics as of now, in Prometheus' text format ([`TEXT_FORMAT`]): pieces that are made when they are asked for.
    pub fn scrape(&self) -> Result<impl Iterator<Item = String> + use<>, ObserveError> {
        let Inner { metrics, registry, traffic, requests, open, live, recordings, spans, before_scrape, .. } =
            &*self.inner;
        open.count_bytes();
        live.tell(metrics);
        recordings.tell(metrics, Instant::now());
        let queued = spans.as_ref().map_or(0, spans::Spans::queued);
        metrics.spans_queued.set(i64::try_from(queued).unwrap_or(i64::MAX));
        before_scrape.lock().iter().for_each(|hook| hook(metrics));
        let first = metrics::render(registry, metrics)?;
        Ok(iter::once(first).chain(traffic.pieces(metrics)).chain(requests.pieces(metrics)))
    }

    /// Whether the access log is written.
    pub fn access_log_is_on(&self) -> bool {
        self.inner.access_log.as_ref().is_some_and(access_log::AccessLog::is_on)
    }

    /// Whether there is an access log that could be written.
    pub fn has_access_log(&self) -> bool {
        self.inner.access_log.is_some()
    }

    /// From now on the access log is written, or is not, where there is one.
    pub fn turn_access_log(&self, on: bool) {
        if let Some(log) = &self.inner.access_log {
            log.turn(on);
        }
    }

    /// How often the access log has a line of what is open; `None` for only at its end.
    fn long_connections(&self) -> Option<Duration> {
        self.inner.access_log.as_ref()?.settings.long_connections
    }

    /// The control task: counts the bytes of long connections, tells of them and of long requests, and removes unused series,
    /// until `stop` is true or gone.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let live = Arc::clone(&self.inner.live).run(stop.clone());
        let every = self.long_connections();
        let mut looks = tokio::time::interval(every.map_or(TICK, |every| (every / LOOKS).max(SHORTEST_LOOK)));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stopped = stop.wait_for(|stop| *stop);
        tokio::pin!(live, stopped);
        loop {
            tokio::select! {
                _ = &mut stopped => return,
                () = &mut live => return,
                _ = ticks.tick() => self.tick(Instant::now()),
                _ = looks.tick(), if every.is_some() => self.tell_what_is_open(Instant::now()),
            }
        }
    }

    /// Waits until the access log has written what ended before now, at most `patience`; whether it has. Blocks: for the end
    /// of the process, when no connection is left.
    pub fn flush_access_log(&self, patience: Duration) -> bool {
        self.inner.access_log.as_ref().is_none_or(|log| log.flush(patience))
    }

    fn tell_what_is_open(&self, now: Instant) {
        let (Some(log), Some(every)) = (&self.inner.access_log, self.long_connections()) else { return };
        let due = self.inner.open.due(now, every, MOST_TOLD);
        let is_told = |logging: Logging| logging.tells_open(log.default()) && log.admits(Failed::No);
        for open in due.into_iter().filter(|open| is_told(open.facts.logging)) {
            let progress = facts::Progress::of(&open.counts);
            log.push(Arc::clone(&open.facts).told(access_log::LineEvent::Open, progress, None));
        }
        let lines = self.inner.open_requests.due(now, every, MOST_TOLD, is_told);
        lines.into_iter().for_each(|line| log.push(line));
    }

    /// Waits until the spans of what ended before now are exported, at most `patience`; whether they are. Blocks: for the end of
    /// the process, as [`Self::flush_access_log`] is. What ends later is not exported.
    pub fn flush_spans(&self, patience: Duration) -> bool {
        self.inner.spans.as_ref().is_none_or(|spans| spans.flush(patience))
    }

    /// Whether something has a line in the access log, by what documents say of it.
    fn logging(&self, said: Option<AccessLogging>) -> Logging {
        match &self.inner.access_log {
            None => Logging::Off,
            Some(log) => Logging::of(said, log.default()),
        }
    }

    /// The requests that ended lately and have this trace id or request id, the newest first.
    pub fn ended(&self, id: &str) -> Vec<Ended> {
        self.inner.access_log.as_ref().map(|log| log.recent().find(id, MOST_FOUND)).unwrap_or_default()
    }

    /// How many ends are kept at most; 0 where none is.
    pub fn remembered(&self) -> usize {
        self.inner.access_log.as_ref().map_or(0, |log| log.recent().most())
    }

    /// Records flows from now on, for a recording of this id; whether that can be. One that nobody takes from ends by itself.
    pub fn record_flows(&self, id: u64) -> bool {
        self.inner.recordings.begin(id, Instant::now())
    }

    /// What was recorded since the last time.
    pub fn take_flows(&self, id: u64) -> TakenFlows {
        self.inner.recordings.take(id, Instant::now())
    }

    /// Ends a recording: what was recorded since the last time, and what is open now.
    pub fn end_recording(&self, id: u64) -> TakenFlows {
        let mut all = recordings::no_flows();
        // Before what ended: what ends meanwhile is counted twice, and never missed.
        self.inner.open.each_flow(|flow| all.add(flow, Tally::OPEN));
        self.inner.open_requests.each_flow(|flow| match flow {
            OpenFlow::Known(flow) => all.add(&flow, Tally::OPEN),
            OpenFlow::Unknown => all.add_unknown(),
        });
        all.merge(self.inner.recordings.end(id));
        all.into_taken()
    }

    /// The connections that are open now, so many of the oldest.
    pub fn open_connections(&self, most: usize) -> OpenView {
        self.inner.open.view(most)
    }

    /// The open connection of this id.
    pub fn open_connection(&self, id: u64) -> Option<ConnectionView> {
        self.inner.open.find(id)
    }

    fn tick(&self, now: Instant) {
        self.inner.open.count_bytes();
        self.inner.traffic.expire(&self.inner.metrics, now);
        self.inner.requests.expire(&self.inner.metrics, now);
        self.inner.metrics.expire_roots(now);
        self.inner.policy_hits.expire(&self.inner.metrics, now);
    }
}

impl Inner {
    /// Whether somebody watches what happens, or records it.
    fn is_watched(&self) -> bool {
        self.live.is_watched() || self.recordings.is_any()
    }

    /// Whether what ended has a line: it is to have one, and there is room for it.
    fn is_logged(&self, logging: Logging, failed: Failed, request_id: Option<&str>) -> bool {
        let Some(log) = &self.access_log else { return false };
        logging.wants(failed, request_id, &self.metrics) && log.admits(failed)
    }

    /// Tells those who want to know how something ended: the access log, if it is to have a line, the collector of spans, if it
    /// is part of a trace, and who watches now.
    fn tell(&self, is_logged: bool, span: Option<Box<SpanIds>>, story: impl FnOnce() -> access_log::Story) {
        if !is_logged && !self.is_watched() && span.is_none() {
            return;
        }
        let story = Arc::new(story());
        if self.is_watched() {
            self.live.ended(&story);
            self.recordings.add(&story, Instant::now());
        }
        if let Some(log) = self.access_log.as_ref().filter(|_| is_logged) {
            log.push(Arc::clone(&story));
        }
        if let (Some(spans), Some(ids)) = (&self.spans, span) {
            spans.push(ids, story);
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").finish_non_exhaustive()
    }
}
