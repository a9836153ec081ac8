//! The one table of metrics: each row declares name, unit, labels and help, and becomes a typed field of [`Metrics`].
//!
//! `deploy/METRICS.md` is generated from it. Values are recorded through the fields and the methods in `mod.rs`; what is not
//! a row here does not exist.

use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
};

use super::{
    bounds::{OwnListener, Remembered, WatchLoss, Watching},
    declare::declare_metrics,
    derived::Derived,
    families::{CounterFamily, HistogramFamily},
    http_labels::{
        EjectionReason, FaultKind, HttpRefusal, LimitedAt, MirrorResult, OverflowLimit, PickLocality, PoolResult,
        RetryResult, TokenResult, UpgradeKind,
    },
    instrument::{ByLabel, Instrument, MetricSpec},
    labels::{
        BypassReason, CertificateState, CrlLoad, DenialReason, DialResult, DocumentLabel, EventResult, KeyFetchResult,
        LeftOutReason, LookupResult, LostEventReason, RefusedReason, Resource, RestartReason, Side, SpanDropReason,
        SpanExportResult, TunnelEndReason,
    },
    pods::{POD_LABELS, POD_WAYS},
    request_labels::REQUEST_LABELS,
    traffic::TCP_LABELS,
};

declare_metrics! {
    /// Every metric of the agent. Plain ones are fields; those with rules are behind methods.
    pub struct Metrics, TABLE;
    pub(super) tcp_opened: CounterFamily = "istio_tcp_connections_opened_total" ["connections"] TCP_LABELS,
        "Connections whose client and server were joined.";
    pub(super) tcp_closed: CounterFamily = "istio_tcp_connections_closed_total" ["connections"] TCP_LABELS,
        "Joined connections that ended, by the flag of their end.";
    pub(super) tcp_failed: CounterFamily = "istio_tcp_connections_failed_total" ["connections"] TCP_LABELS,
        "Connections that ended before client and server were joined, by the flag that says why.";
    pub(super) tcp_sent: CounterFamily = "istio_tcp_sent_bytes_total" ["bytes"] TCP_LABELS,
        "Application bytes from client to server.";
    pub(super) tcp_received: CounterFamily = "istio_tcp_received_bytes_total" ["bytes"] TCP_LABELS,
        "Application bytes from server to client.";
    pub(super) requests: CounterFamily = "istio_requests_total" ["requests"] REQUEST_LABELS,
        "HTTP requests that ended, those without a response too.";
    pub(super) request_duration: HistogramFamily = "istio_request_duration_milliseconds" ["milliseconds"] REQUEST_LABELS,
        "Time from a request's head to the end of its response.";
    pub(super) request_bytes: HistogramFamily = "istio_request_bytes" ["bytes"] REQUEST_LABELS,
        "Bytes of request bodies.";
    pub(super) response_bytes: HistogramFamily = "istio_response_bytes" ["bytes"] REQUEST_LABELS,
        "Bytes of response bodies.";
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
    pub(super) handshakes: IntCounterVec = "heddle_handshakes_total" ["handshakes"] &["side", "result", "version", "group", "root"],
        "TLS handshakes between nodes; version and group are \"none\" where none was agreed, root where none vouches for the peer.";
    pub(super) tunnels: ByLabel<Side, IntGauge> = "heddle_tunnels_open" ["tunnels"] &["side"],
        "HBONE connections to and from other agents.";
    pub(super) tunnels_ended: ByLabel<TunnelEndReason, IntCounter> = "heddle_tunnels_ended_total" ["tunnels"] &["reason"],
        "Tunnels that this agent cut, or takes no new connections into, because of the peer's certificate or of what it sent.";
    pub(super) tunnel_streams: IntGauge = "heddle_tunnel_streams_open" ["streams"] &[],
        "Connections inside HBONE tunnels, both sides of this node together.";
    pub(super) tunnel_dials: ByLabel<DialResult, IntCounter> = "heddle_tunnel_dials_total" ["requests"] &["result"],
        "Requests for a tunnel to another agent, by what came of them.";
    pub(super) detections: IntCounterVec = "heddle_protocol_detections_total" ["connections"] &["direction", "how", "protocol"],
        "Connections by what they carry, and how that was found out.";
    pub(super) detection_time: Histogram = "heddle_detection_seconds" ["seconds"] &[],
        "Time that the first bytes of connections waited until it was known what they carry.";
    pub(in crate::observe) http_requests_open: IntGauge = "heddle_http_requests_open" ["requests"] &[],
        "HTTP requests whose head was read and that have not ended.";
    pub(super) http_refused: ByLabel<HttpRefusal, IntCounter> = "heddle_http_refused_total" ["requests"] &["reason"],
        "Requests of clients that were refused before anything was decided over them, by reason.";
    pub(super) token_results: ByLabel<TokenResult, IntCounter> = "heddle_token_results_total" ["requests"] &["result"],
        "Requests by what looking for their JSON Web Token came to.";
    pub(super) rate_limited: ByLabel<LimitedAt, IntCounter> = "heddle_rate_limited_total" ["refusals"] &["scope"],
        "Requests and connections that a RateLimit refused, by what it is attached to.";
    pub(super) faults: ByLabel<FaultKind, IntCounter> = "heddle_faults_total" ["requests"] &["kind"],
        "Faults that FaultInjections asked for.";
    pub(super) mirrors: ByLabel<MirrorResult, IntCounter> = "heddle_mirrors_total" ["requests"] &["result"],
        "Copies of requests that routes mirror, by what became of them.";
    pub(super) picks: ByLabel<PickLocality, IntCounter> = "heddle_balancer_picks_total" ["picks"] &["locality"],
        "Endpoints that were picked, by where they are as seen from the client's node.";
    pub(super) retries: ByLabel<RetryResult, IntCounter> = "heddle_retries_total" ["tries"] &["result"],
        "Failed tries that the route would try again, by whether that was done or why not.";
    pub(super) overflows: ByLabel<OverflowLimit, IntCounter> = "heddle_overflows_total" ["refusals"] &["limit"],
        "Requests and retries that a circuit breaker refused, by the limit that was reached.";
    pub(super) fallbacks: IntCounterVec = "heddle_fallbacks_total" ["requests and connections"] &["protocol", "reason"],
        "Requests and connections that went to the fallback of a Service port, by why they did.";
    pub(super) ejections: ByLabel<EjectionReason, IntCounter> = "heddle_ejections_total" ["ejections"] &["reason"],
        "Times that an endpoint was left out because of its failures, by reason.";
    pub(super) ejected_endpoints: IntGauge = "heddle_ejected_endpoints" ["endpoints"] &[],
        "Endpoints of Service ports that were ejected because of their failures and have not answered well since.";
    pub(super) open_breakers: ByLabel<OverflowLimit, IntGauge> = "heddle_open_breakers" ["Service ports"] &["limit"],
        "Service ports with a circuit breaker that refuses now, by the limit that is reached.";
    pub(super) remembered: ByLabel<Remembered, IntGauge> = "heddle_remembered" ["entries"] &["what"],
        "What the agent has learned of servers, clients and pods and keeps, within a bound.";
    pub(super) forgotten: ByLabel<Remembered, IntCounter> = "heddle_forgotten_total" ["entries"] &["what"],
        "What of it was forgotten at the bound, and not because its Service or document is gone.";
    pub(super) pool_connections: IntGauge = "heddle_http_pool_connections" ["connections"] &[],
        "Connections to servers that are kept for requests.";
    pub(super) pool_requests: ByLabel<PoolResult, IntCounter> = "heddle_http_pool_requests_total" ["requests"] &["result"],
        "Requests sent to servers, by whether a connection was there or had to be opened.";
    pub(super) upgrades: ByLabel<UpgradeKind, IntCounter> = "heddle_upgrades_total" ["requests"] &["kind"],
        "Requests after which client and server went on with something else than HTTP.";
    pub enrolled_pods: IntGauge = "heddle_enrolled_pods" ["pods"] &[],
        "Pods of this node whose traffic is captured.";
    pub(super) kubelet_found: IntGauge = "heddle_kubelet_found" ["1"] &[],
        "1 while the kubelet's cgroup is known, whose probes go past the agent; 0 while they are taken for any plaintext.";
    pub enrolment_failures: IntCounter = "heddle_enrolment_failures_total" ["attempts"] &[],
        "Attempts to enrol a pod that failed; the pod's connections are refused meanwhile.";
    pub(super) accept_failures: IntCounter = "heddle_accept_failures_total" ["attempts"] &[],
        "Attempts to accept a connection of a pod that failed; it waits in the pod's queue and is tried again.";
    pub(super) node_connections: IntGauge = "heddle_node_connections" ["connections"] &[],
        "Connections of all pods together, each way of a tunnel and each connection in one counted.";
    pub(super) node_connections_limit: IntGauge = "heddle_node_connections_limit" ["connections"] &[],
        "How many there may be. The last tenth is kept for pods that have few.";
    pub(super) memory_limit: IntGauge = "heddle_memory_limit_bytes" ["bytes"] &[],
        "Resident memory that the agent may have before nothing new is taken on; 0 where there is no bound.";
    pub(super) overload: ByLabel<Resource, IntGauge> = "heddle_overload" ["0 or 1"] &["resource"],
        "Whether something new is refused because all pods together have used this up.";
    pub(super) overload_refusals: ByLabel<Resource, IntCounter> = "heddle_overload_refusals_total" ["connections and requests"] &["resource"],
        "What was refused for it.";
    pub(super) pod_cpu: CounterVec = "heddle_pod_cpu_seconds_total" ["seconds"] POD_LABELS,
        "Time that data threads worked for a pod, from the beginnings of turns to their ends: on a node that is short of CPUs, waiting for one is in it.";
    pub(super) pod_put_off: IntCounterVec = "heddle_pod_turns_put_off_total" ["turns"] POD_LABELS,
        "Times that a task of a pod had to wait for its turn, since another pod had used less of the data thread.";
    pub(super) pod_connections: IntGaugeVec = "heddle_pod_connections" ["connections"] POD_WAYS,
        "Connections of a pod that count against its bound; to a pod, those that carry tunnels and those in them.";
    pub(super) pod_queue: IntGaugeVec = "heddle_pod_queued_connections" ["connections"] POD_WAYS,
        "Connections that wait in a pod's own queue for the agent to accept them; of several listeners, in the fullest.";
    pub(super) pod_handshakes: IntGaugeVec = "heddle_pod_handshakes" ["handshakes"] POD_WAYS,
        "TLS handshakes of a pod that are under way.";
    pub(super) pod_http: IntGaugeVec = "heddle_pod_http_connections" ["connections"] POD_WAYS,
        "Connections of HTTP that the agent has opened for requests, from a pod to servers and to its application.";
    pub(super) pod_tunnels: IntGaugeVec = "heddle_pod_tunnels" ["tunnels"] POD_LABELS,
        "Tunnels from a pod.";
    pub(super) pod_buffer_bytes: IntGaugeVec = "heddle_pod_buffer_bytes" ["bytes"] POD_WAYS,
        "Bytes of a pod that wait in the agent for somebody to take them; where HTTP is read, as many as may come while nobody reads.";
    pub(super) pod_waits: IntCounterVec = "heddle_pod_waits_total" ["waits"] &["namespace", "pod", "bound"],
        "Times that something of a pod had to wait since the pod had all that it may have, by the bound that was reached.";
    pub(super) pod_wait_time: CounterVec = "heddle_pod_wait_seconds_total" ["seconds"] &["namespace", "pod", "bound"],
        "Time that was waited for a place among a pod's connections or handshakes.";
    pub(super) pod_weight: IntGaugeVec = "heddle_pod_weight" ["weight"] POD_LABELS,
        "A pod's part of a data thread that others want, too, beside theirs; 100 by default.";
    pub(super) pod_connections_limit: IntGaugeVec = "heddle_pod_connections_limit" ["connections"] POD_LABELS,
        "Connections that a pod may have in each direction, as many of HTTP to servers, and tunnels that nobody uses.";
    pub(super) pod_queue_limit: IntGaugeVec = "heddle_pod_queue_limit" ["connections"] POD_LABELS,
        "Connections that may wait in each of a pod's queues; the kernel drops what comes beyond, and the client tries again.";
    pub(super) pod_handshakes_limit: IntGaugeVec = "heddle_pod_handshakes_limit" ["handshakes"] POD_LABELS,
        "Handshakes that a pod may have under way in each direction.";
    pub(super) pod_buffer_limit: IntGaugeVec = "heddle_pod_buffer_limit_bytes" ["bytes"] POD_LABELS,
        "Bytes of a pod that may wait in the agent, half of them in each direction.";
    pub(super) kernel_events: IntCounterVec = "heddle_kernel_events_total" ["events"] &["event"],
        "Events counted by the kernel programs, read at each scrape.";
    pub(super) map_entries: IntGaugeVec = "heddle_map_entries" ["entries"] &["map"],
        "What is entered in the kernel's tables that the agent fills; a pod whose entries find no room is not enrolled.";
    pub(super) map_max_entries: IntGaugeVec = "heddle_map_max_entries" ["entries"] &["map"],
        "How much there may be.";
    pub(super) map_recent_entries: IntGaugeVec = "heddle_map_recent_entries" ["entries"] &["map"],
        "What is in the kernel's tables in which the least recently used make room: when one is full that is no failure.";
    pub(super) native_connections: IntGauge = "heddle_native_connections_open" ["connections"] &[],
        "Connections of this node's pods that the kernel carries by itself, those that are being opened included.";
    pub(super) native_events_lost: IntCounter = "heddle_native_events_lost_total" ["connections"] &[],
        "Native connections whose end was not accounted, since the kernel's ring was full or their pod had left the mesh; each is missing in the TCP metrics and the access log.";
    pub(super) connection_events_lost: ByLabel<LostEventReason, IntCounter> = "heddle_connection_events_lost_total" ["events"] &["reason"],
        "Events of connections that kernel programs tell to those who listen, and that got lost on the way.";
    pub(super) connection_events_on: IntGauge = "heddle_connection_events_on" ["0 or 1"] &[],
        "Whether the kernel programs tell about connections; 0 while nobody listens, and then they read that and go on.";
    pub(super) event_listeners: IntGauge = "heddle_connection_event_listeners" ["listeners"] &[],
        "Clients of /events that listen to the kernel programs' events of connections.";
    pub(super) watchers: ByLabel<Watching, IntGauge> = "heddle_watchers" ["clients"] &["kind"],
        "Who watches what happens now: flows (heddle top), taps, and recordings.";
    pub(super) watch_lost: ByLabel<WatchLoss, IntCounter> = "heddle_watch_lost_total" ["entries"] &["what"],
        "What those who watch have not seen, since they were too slow or there was too much; they are told.";
    pub(super) certificates: ByLabel<CertificateState, IntGauge> = "heddle_certificates" ["certificates"] &["state"],
        "Identities of this node's pods by the state of their certificate.";
    pub(super) certificate_expiry: Gauge = "heddle_certificate_expiry_seconds" ["seconds"] &[],
        "Time until the first of this node's certificates ends; negative when it has, NaN while there is none.";
    pub(super) trusted_roots: IntGauge = "heddle_trusted_roots" ["certificates"] &[],
        "Root certificates that peers of this node may be vouched for by; more than one while a root is being replaced.";
    pub(super) root_expiry: Gauge = "heddle_trusted_root_expiry_seconds" ["seconds"] &[],
        "Time until the first of the trusted roots ends; negative when it has, NaN while there is none.";
    pub(super) crl_entries: IntGauge = "heddle_crl_entries" ["certificates"] &[],
        "Certificates that the revocation lists in force name.";
    pub(super) crl_unverified: IntGauge = "heddle_crl_unverified_lists" ["lists"] &[],
        "Revocation lists in the CRL file that no known issuer has signed, and that revoke nothing.";
    pub(super) crl_next_update: Gauge = "heddle_crl_next_update_seconds" ["seconds"] &[],
        "Time until the first revocation list in force should have been replaced; negative when it is late, NaN while there is none.";
    pub(super) crl_loads: ByLabel<CrlLoad, IntCounter> = "heddle_crl_loads_total" ["reads"] &["result"],
        "Times that the CRL file was read; after a failed one the lists read last stay in force.";
    pub(super) snapshot_generation: IntGauge = "heddle_snapshot_generation" ["number"] &[],
        "Generation of the mesh snapshot in force; 0 while there is none.";
    pub(super) snapshot_age: Gauge = "heddle_snapshot_age_seconds" ["seconds"] &[],
        "Time since the snapshot in force was published; NaN while there is none.";
    pub(super) compiles: IntCounter = "heddle_compiles_total" ["batches"] &[],
        "Batches of changed objects and names that were compiled.";
    pub(super) compile_time: Counter = "heddle_compile_seconds_total" ["seconds"] &[],
        "Time that compiling them took.";
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
    pub(super) dns_left_out: IntGauge = "heddle_dns_addresses_left_out" ["addresses"] &[],
        "Addresses of names beyond the 64 of each that are used.";
    pub(super) token_key_fetches: ByLabel<KeyFetchResult, IntCounter> = "heddle_token_key_fetches_total" ["fetches"] &["result"],
        "Fetches of the public keys of issuers of JSON Web Tokens, by what came of them.";
    pub(super) token_key_places: IntGauge = "heddle_token_key_places" ["places"] &[],
        "Places that RequestAuthentications in force name for keys, and that are asked.";
    pub(super) token_key_places_missing: IntGauge = "heddle_token_key_places_missing" ["places"] &[],
        "Those of them that have not given any keys yet: tokens of their issuers are refused.";
    pub(super) token_keys: IntGauge = "heddle_token_keys" ["keys"] &[],
        "Fetched public keys of issuers that tokens are checked with.";
    pub(super) token_keys_age: Gauge = "heddle_token_keys_age_seconds" ["seconds"] &[],
        "Time since the oldest of the fetched keys in force were fetched, up to 1200 while all is well; NaN while there are none.";
    pub(in crate::observe) access_log_dropped: IntCounter = "heddle_access_log_dropped_total" ["lines"] &[],
        "Access log lines that were left out because the queue was full or the output failed.";
    pub(in crate::observe) access_log_left_out: ByLabel<LeftOutReason, IntCounter> = "heddle_access_log_left_out_total" ["lines"] &["reason"],
        "Connections and requests without an access log line, as it is configured, by reason.";
    pub(super) log_dropped: IntCounter = "heddle_log_dropped_total" ["lines"] &[],
        "Lines of the agent's own log that were left out because the queue was full or the output failed.";
    pub(in crate::observe) spans_exported: IntCounter = "heddle_spans_exported_total" ["spans"] &[],
        "Spans that the collector took.";
    pub(in crate::observe) spans_dropped: ByLabel<SpanDropReason, IntCounter> = "heddle_spans_dropped_total" ["spans"] &["reason"],
        "Spans that were lost, by reason.";
    pub(in crate::observe) spans_queued: IntGauge = "heddle_spans_queued" ["spans"] &[],
        "Spans that wait for the collector.";
    pub(in crate::observe) span_exports: ByLabel<SpanExportResult, IntCounter> = "heddle_span_exports_total" ["requests"] &["result"],
        "Requests to the collector of spans, second tries included, by what came of them.";
    pub(super) label_sets: IntGauge = "heddle_metric_label_sets" ["label sets"] &[],
        "Label sets of the traffic metrics in memory, those of connections and of requests together.";
    pub(super) label_sets_folded: IntCounter = "heddle_metric_label_sets_folded_total" ["connections and requests"] &[],
        "Connections and requests counted under the label value \"other\" because the cap of label sets was reached.";
    pub(super) draining: IntGauge = "heddle_draining" ["0 or 1"] &[],
        "Whether the agent is waiting for connections to end before it stops.";
    pub(super) predecessor_connections: IntGauge = "heddle_predecessor_connections" ["connections"] &[],
        "Connections that the agent before, which this one has taken over from, still serves.";
    pub(super) runtime_busy: CounterVec = "heddle_runtime_busy_seconds_total" ["seconds"] &["thread"],
        "Time that the agent's threads were not waiting for something to do.";
    pub(super) runtime_queued: IntGaugeVec = "heddle_runtime_queued_tasks" ["tasks"] &["thread"],
        "Tasks that other threads have woken on a thread and that it has not come to.";
    pub(super) admin_connections: ByLabel<OwnListener, IntGauge> = "heddle_admin_connections" ["connections"] &["listener"],
        "Clients of the agent's own listeners; beyond 64 of one they wait.";
    pub(super) build_info: IntGaugeVec = "heddle_build_info" ["1"] &["version"],
        "The running build.";
    pub(super) process_cpu: Counter = "process_cpu_seconds_total" ["seconds"] &[],
        "CPU time of the agent, user and system.";
    pub(super) process_resident: IntGauge = "process_resident_memory_bytes" ["bytes"] &[],
        "Resident memory of the agent.";
    pub(super) process_virtual: IntGauge = "process_virtual_memory_bytes" ["bytes"] &[],
        "Virtual memory of the agent.";
    pub(super) process_threads: IntGauge = "process_threads" ["threads"] &[],
        "Threads of the agent; further ones are started for what blocks, up to a bound, and end when they are idle.";
    pub(super) process_fds: IntGauge = "process_open_fds" ["descriptors"] &[],
        "Open file descriptors of the agent.";
    pub(super) process_max_fds: IntGauge = "process_max_fds" ["descriptors"] &[],
        "The soft limit of open file descriptors.";
    pub(super) process_start: Gauge = "process_start_time_seconds" ["seconds since 1970"] &[],
        "When the agent was started.";
}
