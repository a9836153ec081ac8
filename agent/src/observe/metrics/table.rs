//! The one table of metrics: each row declares name, unit, labels and help, and becomes a typed field of [`Metrics`].
//!
//! `deploy/METRICS.md` is generated from it. Values are recorded through the fields and the methods in `mod.rs`; what is not
//! a row here does not exist.

use prometheus::{Counter, Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::{
    derived::Derived,
    instrument::{ByLabel, Instrument, MetricSpec},
    labels::{
        BypassReason, CertificateState, DenialReason, DialResult, DocumentLabel, EventResult, LookupResult,
        RefusedReason, RestartReason, Side,
    },
    traffic::TCP_LABELS,
};

macro_rules! metrics {
    ($($vis:vis $field:ident: $handle:ty = $name:literal [$unit:literal] $labels:expr, $help:literal;)+) => {
        /// Every metric of the agent. Plain ones are fields; those with rules are behind methods.
        #[derive(Debug)]
        pub struct Metrics {
            $(#[doc = $help] $vis $field: $handle,)+
            pub(super) derived: Derived,
        }

        /// Every row, in the order of the reference.
        pub const TABLE: &[MetricSpec] = &[$(MetricSpec {
            name: $name,
            kind: <$handle as Instrument>::KIND,
            unit: $unit,
            labels: $labels,
            help: $help,
        },)+];

        impl Metrics {
            /// Builds and registers every row.
            pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
                let mut rows = TABLE.iter();
                let mut next = || rows.next().ok_or(prometheus::Error::AlreadyReg);
                Ok(Self { $($field: Instrument::build(next()?, registry)?,)+ derived: Derived::default() })
            }
        }
    };
}

metrics! {
    pub(super) tcp_opened: IntCounterVec = "istio_tcp_connections_opened_total" ["connections"] TCP_LABELS,
        "Connections whose client and server were joined.";
    pub(super) tcp_closed: IntCounterVec = "istio_tcp_connections_closed_total" ["connections"] TCP_LABELS,
        "Joined connections that ended, by the flag of their end.";
    pub(super) tcp_failed: IntCounterVec = "istio_tcp_connections_failed_total" ["connections"] TCP_LABELS,
        "Connections that ended before client and server were joined, by the flag that says why.";
    pub(super) tcp_sent: IntCounterVec = "istio_tcp_sent_bytes_total" ["bytes"] TCP_LABELS,
        "Application bytes from client to server.";
    pub(super) tcp_received: IntCounterVec = "istio_tcp_received_bytes_total" ["bytes"] TCP_LABELS,
        "Application bytes from server to client.";
    pub(in crate::observe) open_connections: IntGauge = "heddle_open_connections" ["connections"] &[],
        "Accepted connections that have not ended.";
    pub(super) bypassed: ByLabel<BypassReason, IntCounter> = "heddle_bypassed_connections_total" ["connections"] &["reason"],
        "Connections of enrolled pods that were carried in the clear, by reason.";
    pub(super) refused: ByLabel<RefusedReason, IntCounter> = "heddle_refused_connections_total" ["connections"] &["reason"],
        "Connections refused before anything was dialled for them, by reason.";
    pub(super) denied: ByLabel<DenialReason, IntCounter> = "heddle_denied_connections_total" ["connections"] &["reason"],
        "New connections to pods of this node that were not permitted, by reason.";
    pub(super) withdrawn: ByLabel<DenialReason, IntCounter> = "heddle_withdrawn_connections_total" ["connections"] &["reason"],
        "Open connections to pods of this node that were ended because access has changed, by the reason why they are no longer permitted.";
    pub(super) policy_hits: IntCounterVec = "heddle_policy_hits_total" ["connections"] &["policy", "effect"],
        "Connections to pods of this node that a document decided over or had something to say about, by the document and what it did.";
    pub(super) handshakes: IntCounterVec = "heddle_handshakes_total" ["handshakes"] &["side", "result", "version", "group"],
        "TLS handshakes between nodes; version and group are \"none\" where none was agreed.";
    pub(super) tunnels: ByLabel<Side, IntGauge> = "heddle_tunnels_open" ["tunnels"] &["side"],
        "HBONE connections to and from other agents.";
    pub(super) tunnel_streams: IntGauge = "heddle_tunnel_streams_open" ["streams"] &[],
        "Connections inside HBONE tunnels, both sides of this node together.";
    pub(super) tunnel_dials: ByLabel<DialResult, IntCounter> = "heddle_tunnel_dials_total" ["requests"] &["result"],
        "Requests for a tunnel to another agent, by what came of them.";
    pub enrolled_pods: IntGauge = "heddle_enrolled_pods" ["pods"] &[],
        "Pods of this node whose traffic is captured.";
    pub enrolment_failures: IntCounter = "heddle_enrolment_failures_total" ["attempts"] &[],
        "Attempts to enrol a pod that failed; the pod's connections are refused meanwhile.";
    pub(super) kernel_events: IntCounterVec = "heddle_kernel_events_total" ["events"] &["event"],
        "Events counted by the kernel programs, read at each scrape.";
    pub(super) certificates: ByLabel<CertificateState, IntGauge> = "heddle_certificates" ["certificates"] &["state"],
        "Identities of this node's pods by the state of their certificate.";
    pub(super) certificate_expiry: Gauge = "heddle_certificate_expiry_seconds" ["seconds"] &[],
        "Time until the first of this node's certificates ends; negative when it has, NaN while there is none.";
    pub(super) snapshot_generation: IntGauge = "heddle_snapshot_generation" ["number"] &[],
        "Generation of the mesh snapshot in force; 0 while there is none.";
    pub(super) snapshot_age: Gauge = "heddle_snapshot_age_seconds" ["seconds"] &[],
        "Time since the snapshot in force was published; NaN while there is none.";
    pub(super) objects: IntGaugeVec = "heddle_objects" ["objects"] &["kind"],
        "Accepted Kubernetes objects by kind.";
    pub object_problems: IntGauge = "heddle_object_problems" ["problems"] &[],
        "Problems in the objects read last; each is in the agent's log.";
    pub(super) documents: ByLabel<DocumentLabel, IntGauge> = "heddle_documents" ["documents"] &["state"],
        "Mesh documents by what became of them.";
    pub(super) open_workloads: IntGauge = "heddle_rejected_authorization_policies" ["documents"] &[],
        "AuthorizationPolicies that are rejected and have no earlier version in force: workloads may be open to more clients than their owners wrote.";
    pub(super) events: ByLabel<EventResult, IntCounter> = "heddle_events_total" ["events"] &["result"],
        "Kubernetes Events about refused mesh documents.";
    pub(super) source_connected: IntGaugeVec = "heddle_source_connected" ["0 or 1"] &["kind"],
        "Whether a watch of the Kubernetes API is open, by kind.";
    pub(super) source_last_word: GaugeVec = "heddle_source_last_word_seconds" ["seconds"] &["kind"],
        "Time since the API server last said something about a kind, about a minute at most while it is well; NaN before.";
    pub(super) source_relists: IntCounterVec = "heddle_source_relists_total" ["lists"] &["kind"],
        "Times that a kind was listed again from the start.";
    pub(super) source_restarts: ByLabel<RestartReason, IntCounter> = "heddle_source_watch_restarts_total" ["requests"] &["reason"],
        "Lists and watches of the Kubernetes API that have to be started again, by the reason.";
    pub(super) source_state_age: Gauge = "heddle_source_state_age_seconds" ["seconds"] &[],
        "Age of the state on disk while it is in force instead of what the API server has; NaN otherwise.";
    pub(super) dns_lookups: ByLabel<LookupResult, IntCounter> = "heddle_dns_lookups_total" ["questions"] &["result"],
        "Questions to the name servers for names of ServiceEntries, one for each name and family, by what came of them.";
    pub(super) dns_names: IntGauge = "heddle_dns_names" ["names"] &[],
        "Names of ServiceEntries that are kept resolved.";
    pub(in crate::observe) access_log_dropped: IntCounter = "heddle_access_log_dropped_total" ["lines"] &[],
        "Access log lines that were left out because the queue was full or the output failed.";
    pub(super) label_sets: IntGauge = "heddle_metric_label_sets" ["label sets"] &[],
        "Label sets of the traffic metrics in memory.";
    pub(super) label_sets_folded: IntCounter = "heddle_metric_label_sets_folded_total" ["connections"] &[],
        "Connections counted under the label value \"other\" because the cap of label sets was reached.";
    pub(super) draining: IntGauge = "heddle_draining" ["0 or 1"] &[],
        "Whether the agent is waiting for connections to end before it stops.";
    pub(super) build_info: IntGaugeVec = "heddle_build_info" ["1"] &["version"],
        "The running build.";
    pub(super) process_cpu: Counter = "process_cpu_seconds_total" ["seconds"] &[],
        "CPU time of the agent, user and system.";
    pub(super) process_resident: IntGauge = "process_resident_memory_bytes" ["bytes"] &[],
        "Resident memory of the agent.";
    pub(super) process_virtual: IntGauge = "process_virtual_memory_bytes" ["bytes"] &[],
        "Virtual memory of the agent.";
    pub(super) process_fds: IntGauge = "process_open_fds" ["descriptors"] &[],
        "Open file descriptors of the agent.";
    pub(super) process_max_fds: IntGauge = "process_max_fds" ["descriptors"] &[],
        "The soft limit of open file descriptors.";
    pub(super) process_start: Gauge = "process_start_time_seconds" ["seconds since 1970"] &[],
        "When the agent was started.";
}
