//! Step 7, what happened: one outcome per connection and per HTTP request, as metrics and as one access log line; and the
//! agent's own log.
//!
//! In: a [`ConnectionRecord`] or [`RequestRecord`] that the steps fill, and the typed handles of [`Metrics`]. Out: text for Prometheus, lines on
//! standard output. Nothing here decides anything, and recording never waits: not for a scrape, nor for a slow log reader.

mod access_log;
mod flag;
mod flow;
mod metrics;
mod open;
mod outcome;
mod process_log;
mod recent;
mod record;
mod recordings;
mod request;
mod root_name;
#[cfg(test)]
mod tests;
pub mod trace_context;

use std::{
    fmt, io,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use prometheus::Registry;
use tokio::{sync::watch, time::MissedTickBehavior};

pub use access_log::{AccessLogOutput, FIELDS, Field, LogFormat};
pub use flag::{NO_FLAG, ResponseFlag};
pub use flow::{BadFlows, CUT, Flow, FlowClient, FlowRequest, Flows, FlowsEnd, FlowsHead, VERSION};
pub use metrics::{AUTHORITY_TABLE, AuthorityMetrics, DropReason, LookResult, ReviewResult, SignedFor, SigningResult};
pub use metrics::{
    ByLabel, BypassReason, CertificateState, ClosedLabel, CrlLoad, DenialReason, DialResult, DocumentLabel,
    EventResult, GaugeGuard, HandshakeResult, KeyFetchResult, Kind, LookupResult, MetricSpec, Metrics, PolicyEffect,
    RefusedReason, RestartReason, Side, TABLE, TEXT_FORMAT, TunnelEndReason, metrics_reference,
};
pub use metrics::{
    DetectedBy, DetectedProtocol, EjectionReason, FallbackOf, FallbackReason, FaultKind, HttpRefusal, LimitedAt,
    MirrorResult, OverflowLimit, PickLocality, PoolResult, RetryResult, TokenResult, UpgradeKind,
};
pub use open::{ConnectionView, OpenView};
pub use outcome::{ByteCounts, ConnectionStart, Failure, Party, Reporter, Transport};
pub use process_log::{AUDIT, KERNEL_LOG, LogError, init_audited_log, init_log};
pub use recent::{Ended, EndedRequest};
pub use record::{ConnectionRecord, HttpConnection};
pub use recordings::TakenFlows;
pub use request::{RequestProtocol, RequestRecord, RequestStart};
pub use root_name::RootName;

/// How often bytes of open connections reach the counters, and unused label sets are looked for. Shorter than the usual
/// scrape interval of 15 s would be wasted: each scrape counts the bytes too.
const TICK: Duration = Duration::from_secs(15);

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
    open: open::OpenConnections,
    access_log: Option<access_log::AccessLog>,
    before_scrape: Mutex<Vec<ScrapeHook>>,
}

type ScrapeHook = Box<dyn Fn(&Metrics) + Send + Sync>;

/// Why observing could not start, or be read.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The access log's writer thread could not be started.
    #[error(
        "starting the access log's writer thread failed: {0}; the limit of processes or memory is too low for the agent"
    )]
    WriterThread(#[from] io::Error),
    /// The table of metrics is not valid: a defect of this build.
    #[error("building the metrics failed: {0}; this is a defect of this build, please report it")]
    Metrics(#[from] prometheus::Error),
}

impl Observer {
    /// Starts observing. `cluster` is the label of workloads that the mesh knows; no `access_log`, no lines.
    pub fn new(cluster: Arc<str>, access_log: Option<AccessLogOutput>) -> Result<Self, ObserveError> {
        let (registry, metrics) = metrics::new()?;
        let start = |output| access_log::AccessLog::start(output, metrics.access_log_dropped.clone());
        let access_log = access_log.map(start).transpose()?;
        let inner = Inner {
            metrics,
            registry,
            traffic: metrics::Traffic::new(Arc::clone(&cluster)),
            requests: metrics::Requests::new(cluster),
            policy_hits: metrics::PolicyHits::default(),
            open: open::OpenConnections::default(),
            access_log,
            before_scrape: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A connection was accepted.
    pub fn connection(&self, start: ConnectionStart) -> ConnectionRecord {
        ConnectionRecord::new(self.clone(), start)
    }

    /// The head of a request was read.
    pub fn request(&self, start: RequestStart<'_>) -> RequestRecord {
        RequestRecord::new(self.clone(), start)
    }

    /// A document, by the name that logs give it, decided over a connection.
    pub fn policy_hit(&self, policy: &str, effect: PolicyEffect) {
        self.inner.policy_hits.count(&self.inner.metrics, policy, effect, Instant::now());
    }

    /// The handles of every metric that is not about one connection.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// Calls `hook` before each scrape, for values that are kept elsewhere (the kernel's counters). It must be quick.
    pub fn before_scrape(&self, hook: impl Fn(&Metrics) + Send + Sync + 'static) {
        self.inner.before_scrape.lock().push(Box::new(hook));
    }

    /// All metrics as of now, in Prometheus' text format ([`TEXT_FORMAT`]).
    pub fn render_metrics(&self) -> Result<String, ObserveError> {
        self.inner.open.count_bytes();
        self.inner.before_scrape.lock().iter().for_each(|hook| hook(&self.inner.metrics));
        Ok(metrics::render(&self.inner.registry, &self.inner.metrics)?)
    }

    /// The control task: counts the bytes of long connections and removes unused series, until `stop` is true or gone.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stopped = stop.wait_for(|stop| *stop);
        tokio::pin!(stopped);
        loop {
            tokio::select! {
                _ = &mut stopped => return,
                _ = ticks.tick() => self.tick(Instant::now()),
            }
        }
    }

    /// Waits until the access log has written what ended before now, at most `patience`; whether it has. Blocks: for the end
    /// of the process, when no connection is left.
    pub fn flush_access_log(&self, patience: Duration) -> bool {
        self.inner.access_log.as_ref().is_none_or(|log| log.flush(patience))
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
        self.inner.access_log.as_ref().is_some_and(|log| log.recordings().begin(id, Instant::now()))
    }

    /// What was recorded since the last time.
    pub fn take_flows(&self, id: u64) -> TakenFlows {
        self.inner.access_log.as_ref().map(|log| log.recordings().take(id, Instant::now())).unwrap_or_default()
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

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").finish_non_exhaustive()
    }
}
