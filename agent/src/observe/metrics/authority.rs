//! The table of metrics of `heddle ca`, in a registry of its own.
//!
//! Times to expiry are worked out at the scrape, as are the values of the process.

use std::{sync::Arc, time::SystemTime};

use parking_lot::Mutex;
use prometheus::{Counter, Encoder, Gauge, IntCounter, IntGauge, IntGaugeVec, Registry, TextEncoder};

use super::{
    authority_labels::{
        AdmissionResult, DropReason, LookResult, NodePatchResult, ReviewResult, SignedFor, SigningResult,
    },
    declare::declare_metrics,
    derived::seconds_until,
    gauge_value,
    instrument::{ByLabel, GaugeGuard, Instrument, MetricSpec, unset},
    process::{Gauges, process_gauges},
};
use crate::observe::ObserveError;

declare_metrics! {
    /// Every metric of `heddle ca`, but for the methods of [`AuthorityMetrics`].
    struct AuthorityTable, AUTHORITY_TABLE;
    requests: ByLabel<SigningResult, IntCounter> = "heddle_ca_requests_total" ["requests"] &["result"],
        "Signing requests, by what became of them.";
    certificates: ByLabel<SignedFor, IntCounter> = "heddle_ca_certificates_total" ["certificates"] &["for"],
        "Certificates that were signed, by whom they are for.";
    reviews: ByLabel<ReviewResult, IntCounter> = "heddle_ca_token_reviews_total" ["requests"] &["result"],
        "TokenReviews that the API server was asked for, by its answer.";
    cache_hits: IntCounter = "heddle_ca_token_cache_hits_total" ["tokens"] &[],
        "Tokens whose review was still known.";
    cache_entries: IntGauge = "heddle_ca_token_cache_entries" ["tokens"] &[],
        "Tokens whose review is known, good and bad.";
    pods: IntGauge = "heddle_ca_pods" ["pods"] &[],
        "Pods on nodes that the watch has shown and that have not ended.";
    pod_watch_problems: IntCounter = "heddle_ca_pod_watch_problems_total" ["requests"] &[],
        "Lists and watches of pods that failed and are tried again.";
    looks: ByLabel<LookResult, IntCounter> = "heddle_ca_pod_looks_total" ["requests"] &["result"],
        "Looks at the pods of one node, because the watch had not shown a pod with the identity.";
    root_expiry: Gauge = "heddle_ca_root_expiry_seconds" ["seconds"] &[],
        "Time until the certificate that signs ends; negative when it has, NaN while there is none.";
    roots_trusted: IntGauge = "heddle_ca_roots_trusted" ["certificates"] &[],
        "Roots that peers are told to trust; more than one while one follows another.";
    root_problem: IntGauge = "heddle_ca_root_problem" ["0 or 1"] &[],
        "Whether the last look at the place of the roots failed, or found what cannot be used; the log says which.";
    serving_expiry: Gauge = "heddle_ca_serving_certificate_expiry_seconds" ["seconds"] &[],
        "Time until this endpoint's own certificate ends; negative when it has, NaN while there is none.";
    connections: IntGauge = "heddle_ca_open_connections" ["connections"] &[],
        "Connections of agents and of API servers, those in their handshake included.";
    dropped: ByLabel<DropReason, IntCounter> = "heddle_ca_connections_dropped_total" ["connections"] &["reason"],
        "Connections that were ended by this side, by reason.";
    admission_reviews: ByLabel<AdmissionResult, IntCounter> = "heddle_ca_admission_reviews_total" ["requests"] &["result"],
        "Reviews of ConfigMaps that the webhook was asked for, by its answer.";
    webhook_problem: IntGauge = "heddle_ca_admission_webhook_problem" ["0 or 1"] &[],
        "Whether the caBundle of the ValidatingWebhookConfiguration could not be looked at or kept; the log says why.";
    nodes_tainted: IntGauge = "heddle_ca_nodes_tainted" ["nodes"] &[],
        "Nodes that agents are to run on and that have the taint heddle.io/agent-not-ready, with taintNodes.";
    node_patches: ByLabel<NodePatchResult, IntCounter> = "heddle_ca_node_patches_total" ["requests"] &["result"],
        "Attempts to taint a node or to free it, by what became of them.";
    node_watch_problems: IntCounter = "heddle_ca_node_watch_problems_total" ["requests"] &[],
        "Lists and watches of nodes and of the agents' pods, for their taint, that failed and are tried again.";
    endpoint_connections: IntGauge = "heddle_ca_endpoint_connections" ["connections"] &[],
        "Clients of the listeners of metrics and of health together; beyond 64 of one they wait.";
    build_info: IntGaugeVec = "heddle_build_info" ["1"] &["version"],
        "The running build.";
    process_cpu: Counter = "process_cpu_seconds_total" ["seconds"] &[],
        "CPU time of the authority, user and system.";
    process_resident: IntGauge = "process_resident_memory_bytes" ["bytes"] &[],
        "Resident memory of the authority.";
    process_virtual: IntGauge = "process_virtual_memory_bytes" ["bytes"] &[],
        "Virtual memory of the authority.";
    process_threads: IntGauge = "process_threads" ["threads"] &[],
        "Threads of the authority; further ones are started for what blocks, up to a bound, and end when they are idle.";
    process_fds: IntGauge = "process_open_fds" ["descriptors"] &[],
        "Open file descriptors of the authority.";
    process_max_fds: IntGauge = "process_max_fds" ["descriptors"] &[],
        "The soft limit of open file descriptors.";
    process_start: Gauge = "process_start_time_seconds" ["seconds since 1970"] &[],
        "When the authority was started.";
}

/// The moments behind the gauges.
#[derive(Debug, Default)]
pub(super) struct Derived {
    root_end: Mutex<Option<SystemTime>>,
    serving_end: Mutex<Option<SystemTime>>,
}

/// Where `heddle ca` reports. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct AuthorityMetrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    table: AuthorityTable,
}

impl AuthorityMetrics {
    /// Builds every metric.
    ///
    /// # Errors
    /// The table is not valid: a defect of this build.
    pub fn new() -> Result<Self, ObserveError> {
        let registry = Registry::new();
        let table = AuthorityTable::register(&registry)?;
        table.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Self(Arc::new(Inner { registry, table })))
    }

    /// All metrics as of now, in Prometheus' text format.
    ///
    /// # Errors
    /// They cannot be written as text: a defect of this build.
    pub fn render(&self) -> Result<String, ObserveError> {
        self.0.table.refresh();
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.0.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// A request ended.
    pub fn request(&self, result: SigningResult) {
        self.0.table.requests.of(result).inc();
    }

    /// A certificate was signed.
    pub fn certificate(&self, signed_for: SignedFor) {
        self.0.table.certificates.of(signed_for).inc();
    }

    /// The API server answered a TokenReview, or did not.
    pub fn review(&self, result: ReviewResult) {
        self.0.table.reviews.of(result).inc();
    }

    /// A review was still known.
    pub fn cache_hit(&self) {
        self.0.table.cache_hits.inc();
    }

    /// How many reviews are known.
    pub fn set_cache_entries(&self, count: usize) {
        self.0.table.cache_entries.set(gauge_value(count));
    }

    /// How many pods the watch has shown.
    pub fn set_pods(&self, count: usize) {
        self.0.table.pods.set(gauge_value(count));
    }

    /// Listing or watching pods failed.
    pub fn pod_watch_problem(&self) {
        self.0.table.pod_watch_problems.inc();
    }

    /// The pods of a node were looked at, or were to be.
    pub fn look(&self, result: LookResult) {
        self.0.table.looks.of(result).inc();
    }

    /// What is signed with and trusted now.
    pub fn set_roots(&self, not_after: SystemTime, trusted: usize) {
        *self.0.table.derived.root_end.lock() = Some(not_after);
        self.0.table.roots_trusted.set(gauge_value(trusted));
    }

    /// Whether the last look at the place of the roots went wrong.
    pub fn set_root_problem(&self, problem: bool) {
        self.0.table.root_problem.set(i64::from(problem));
    }

    /// When the endpoint's own certificate ends.
    pub fn set_serving_end(&self, not_after: SystemTime) {
        *self.0.table.derived.serving_end.lock() = Some(not_after);
    }

    /// A connection is open while the returned guard lives.
    pub fn connection(&self) -> GaugeGuard {
        GaugeGuard::raise(&self.0.table.connections)
    }

    /// The webhook answered.
    pub fn admission(&self, result: AdmissionResult) {
        self.0.table.admission_reviews.of(result).inc();
    }

    /// Whether the webhook's `caBundle` could not be kept.
    pub fn set_webhook_problem(&self, problem: bool) {
        self.0.table.webhook_problem.set(i64::from(problem));
    }

    /// How many nodes have the taint.
    pub fn set_nodes_tainted(&self, count: usize) {
        self.0.table.nodes_tainted.set(gauge_value(count));
    }

    /// A node was to be tainted, or freed.
    pub fn node_patch(&self, result: NodePatchResult) {
        self.0.table.node_patches.of(result).inc();
    }

    /// Listing or watching nodes or agents failed.
    pub fn node_watch_problem(&self) {
        self.0.table.node_watch_problems.inc();
    }

    /// A client of metrics or health is connected while the returned guard lives.
    pub fn endpoint_connection(&self) -> GaugeGuard {
        GaugeGuard::raise(&self.0.table.endpoint_connections)
    }

    /// This side ended a connection.
    pub fn dropped(&self, reason: DropReason) {
        self.0.table.dropped.of(reason).inc();
    }
}

impl AuthorityTable {
    fn refresh(&self) {
        let now = SystemTime::now();
        for (gauge, end) in
            [(&self.root_expiry, &self.derived.root_end), (&self.serving_expiry, &self.derived.serving_end)]
        {
            match *end.lock() {
                Some(end) => gauge.set(seconds_until(end, now)),
                None => unset(gauge),
            }
        }
        process_gauges!(self).refresh();
    }
}
