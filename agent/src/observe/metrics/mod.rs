//! Metrics: one declared table, typed handles for the steps, and the text that Prometheus scrapes, in pieces (`families.rs`).
//!
//! Counters that somebody else keeps (the kernel, `/proc`, the clock) are read at the scrape. Bounds: label values come from
//! closed lists or from workloads, and those are capped and expire (`label_sets.rs`).

mod authority;
mod authority_labels;
mod bounds;
mod declare;
mod derived;
mod families;
mod http_labels;
mod http_steps;
mod instrument;
mod label_sets;
mod labels;
mod pods;
mod policy_hits;
mod process;
mod reference;
mod request_labels;
#[cfg(test)]
mod request_tests;
mod requests;
mod root_labels;
mod table;
#[cfg(test)]
mod tests;
mod traffic;
mod traffic_labels;

pub use authority::{AUTHORITY_TABLE, AuthorityMetrics};
pub use authority_labels::{
    AdmissionResult, DropReason, LookResult, NodePatchResult, ReviewResult, SignedFor, SigningResult,
};
pub use bounds::{OwnListener, Remembered, WatchLoss, Watching};

pub use http_labels::{
    DetectedBy, DetectedProtocol, EjectionReason, FallbackOf, FallbackReason, FaultKind, HttpRefusal, LimitedAt,
    MirrorResult, OverflowLimit, PickLocality, PoolResult, RetryResult, TokenResult, UpgradeKind,
};
pub use instrument::{ByLabel, GaugeGuard, Kind, MetricSpec};
pub use labels::{
    BypassReason, CertificateState, ClosedLabel, CrlLoad, DenialReason, DialResult, DocumentLabel, EventResult,
    HandshakeResult, KeyFetchResult, LeftOutReason, LookupResult, LostEventReason, PodBound, PodDirection,
    PolicyEffect, RefusedReason, Resource, RestartReason, Side, SpanDropReason, SpanExportResult, TunnelEndReason,
};
pub use pods::PodUse;
pub(super) use policy_hits::PolicyHits;
pub use reference::metrics_reference;
pub(super) use request_labels::{RequestEnd, RequestLabels};
pub(super) use requests::{Measured, Requests};
pub use table::{Metrics, TABLE};
pub(super) use traffic::{Series, Traffic};
pub(super) use traffic_labels::LabelSet;

use std::time::{Duration, Instant};

use prometheus::{Registry, TextEncoder};

use super::RootName;

/// `Content-Type` of what [`render`] returns.
pub const TEXT_FORMAT: &str = prometheus::TEXT_FORMAT;

/// Label value of TLS version and group where the handshake agreed on none, and of the root where none vouches for the peer.
const NONE: &str = "none";

/// Builds every metric, in a registry of its own.
pub(super) fn new() -> prometheus::Result<(Registry, Metrics)> {
    let registry = Registry::new();
    let metrics = Metrics::register(&registry)?;
    metrics.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    Ok((registry, metrics))
}

/// The text format 0.0.4 of all but traffic, with ages and process values as of now.
pub(super) fn render(registry: &Registry, metrics: &Metrics) -> prometheus::Result<String> {
    metrics.refresh_derived();
    metrics.refresh_process();
    TextEncoder::new().encode_to_string(&registry.gather())
}

impl Metrics {
    /// Connections of an enrolled pod are carried in the clear.
    pub fn bypassed(&self, reason: BypassReason, count: usize) {
        self.bypassed.of(reason).inc_by(count as u64);
    }

    /// Connections that the kernel itself let pass in the clear, in all.
    pub fn set_bypassed(&self, reason: BypassReason, total: u64) {
        instrument::advance(self.bypassed.of(reason), total);
    }

    /// Events of connections that the kernel itself lost, in all.
    pub fn set_connection_events_lost(&self, total: u64) {
        instrument::advance(self.connection_events_lost.of(LostEventReason::Ring), total);
    }

    /// Native connections that were not accounted, in all.
    pub fn set_native_events_lost(&self, total: u64) {
        instrument::advance(&self.native_events_lost, total);
    }

    /// Native connections that are open.
    pub fn set_native_connections(&self, open: u64) {
        self.native_connections.set(i64::try_from(open).unwrap_or(i64::MAX));
    }

    /// Who listens to events of connections did not take this many.
    pub fn connection_events_missed(&self, count: u64) {
        self.connection_events_lost.of(LostEventReason::SlowListener).inc_by(count);
    }

    /// Whether the kernel programs tell events of connections, and who listens to them now.
    pub fn set_event_listeners(&self, on: bool, count: usize) {
        self.connection_events_on.set(i64::from(on));
        self.event_listeners.set(gauge_value(count));
    }

    /// Documents that were not accepted, or not whole.
    pub fn set_object_problems(&self, count: usize) {
        self.object_problems.set(gauge_value(count));
    }

    /// Mesh documents that are in a state now.
    pub fn set_documents(&self, state: DocumentLabel, count: usize) {
        self.documents.of(state).set(gauge_value(count));
    }

    /// A Kubernetes Event was to be written.
    pub fn event(&self, result: EventResult) {
        self.events.of(result).inc();
    }

    /// AuthorizationPolicies that are rejected and leave workloads open.
    pub fn set_open_workloads(&self, count: usize) {
        self.open_workloads.set(gauge_value(count));
    }

    /// A question to the name servers ended.
    pub fn dns_lookup(&self, result: LookupResult) {
        self.dns_lookups.of(result).inc();
    }

    /// Names that are kept resolved.
    pub fn set_dns_names(&self, count: usize) {
        self.dns_names.set(gauge_value(count));
    }

    /// Addresses of names that are too many to be used.
    pub fn set_dns_left_out(&self, count: usize) {
        self.dns_left_out.set(gauge_value(count));
    }

    /// A fetch of an issuer's keys ended.
    pub fn token_keys_fetched(&self, result: KeyFetchResult) {
        self.token_key_fetches.of(result).inc();
    }

    /// Places that are asked for keys, and how many of them have not given any.
    pub fn set_token_key_places(&self, asked: usize, missing: usize) {
        self.token_key_places.set(gauge_value(asked));
        self.token_key_places_missing.set(gauge_value(missing));
    }

    /// Fetched keys in force.
    pub fn set_token_keys(&self, count: usize) {
        self.token_keys.set(gauge_value(count));
    }

    /// Pods that are enrolled now.
    pub fn set_enrolled_pods(&self, count: usize) {
        self.enrolled_pods.set(gauge_value(count));
    }

    /// Whether the kubelet's cgroup is known.
    pub fn set_kubelet_found(&self, is_found: bool) {
        self.kubelet_found.set(i64::from(is_found));
    }

    /// A connection was refused before anything was dialled for it.
    pub fn refused(&self, reason: RefusedReason) {
        self.refused.of(reason).inc();
    }

    /// A new connection was not permitted.
    pub fn denied(&self, reason: DenialReason) {
        self.denied.of(reason).inc();
    }

    /// An open connection was ended because it is no longer permitted.
    pub fn withdrawn(&self, reason: DenialReason) {
        self.withdrawn.of(reason).inc();
    }

    /// A handshake ended well; names as rustls gives them, and the root that vouches for the peer.
    pub fn handshake_done(&self, side: Side, tls_version: &'static str, group: &'static str, root: RootName) {
        self.handshake(side, HandshakeResult::Ok, [tls_version, group], Some(root));
    }

    /// A handshake failed before version and group were agreed.
    pub fn handshake_failed(&self, side: Side, result: HandshakeResult) {
        self.handshake(side, result, [NONE, NONE], None);
    }

    fn handshake(&self, side: Side, result: HandshakeResult, agreed: [&'static str; 2], root: Option<RootName>) {
        let [version, group] = agreed;
        let values = [side.as_str(), result.as_str(), version, group];
        self.derived.root_labels.count(&self.handshakes, values, root, Instant::now());
    }

    /// Forgets roots that no handshake was verified by for a while.
    pub(super) fn expire_roots(&self, now: Instant) {
        self.derived.root_labels.expire(&self.handshakes, now);
    }

    /// This agent ends a tunnel, or takes no new connections into it.
    pub fn tunnel_ended(&self, reason: TunnelEndReason) {
        self.tunnels_ended.of(reason).inc();
    }

    /// A CRL file was read, or could not be.
    pub fn crl_load(&self, result: CrlLoad) {
        self.crl_loads.of(result).inc();
    }

    /// What the CRL file in force says: certificates that it names, and lists that no trusted issuer has signed.
    pub fn set_crl(&self, entries: usize, unverified: usize) {
        self.crl_entries.set(gauge_value(entries));
        self.crl_unverified.set(gauge_value(unverified));
    }

    /// How many roots are trusted now.
    pub fn set_trusted_roots(&self, count: usize) {
        self.trusted_roots.set(gauge_value(count));
    }

    /// A tunnel is up while the returned guard lives.
    pub fn tunnel_opened(&self, side: Side) -> GaugeGuard {
        GaugeGuard::raise(self.tunnels.of(side))
    }

    /// A stream of a tunnel is open while the returned guard lives.
    pub fn tunnel_stream_opened(&self) -> GaugeGuard {
        GaugeGuard::raise(&self.tunnel_streams)
    }

    /// A tunnel was asked for.
    pub fn tunnel_dial(&self, result: DialResult) {
        self.tunnel_dials.of(result).inc();
    }

    /// How many identities have a certificate in this state.
    pub fn set_certificates(&self, state: CertificateState, count: usize) {
        self.certificates.of(state).set(gauge_value(count));
    }

    /// How many objects of a kind are accepted. `kind` is the Kubernetes kind.
    pub fn set_objects(&self, kind: &'static str, count: usize) {
        self.objects.with_label_values(&[kind]).set(gauge_value(count));
    }

    /// What the watch of a kind is doing; ages in seconds.
    pub fn set_source_kind(&self, kind: &'static str, connected: bool, last_word: Option<f64>, relists: u64) {
        self.source_connected.with_label_values(&[kind]).set(i64::from(connected));
        self.source_last_word.with_label_values(&[kind]).set(last_word.unwrap_or(f64::NAN));
        instrument::advance(&self.source_relists.with_label_values(&[kind]), relists);
    }

    /// How often listing or watching was started again, in all.
    pub fn set_source_restarts(&self, reason: RestartReason, total: u64) {
        instrument::advance(self.source_restarts.of(reason), total);
    }

    /// How old the state on disk is while it serves.
    pub fn set_source_state_age(&self, seconds: Option<f64>) {
        self.source_state_age.set(seconds.unwrap_or(f64::NAN));
    }

    /// What compiling has come to, in all.
    pub fn set_compiles(&self, count: u64, took: Duration) {
        instrument::advance(&self.compiles, count);
        instrument::advance_seconds(&self.compile_time, took.as_secs_f64());
    }

    /// How long a thread of the agent was busy, in all, and how many tasks wait for it.
    pub fn set_runtime(&self, thread: &str, busy: Duration, queued: usize) {
        instrument::advance_seconds(&self.runtime_busy.with_label_values(&[thread]), busy.as_secs_f64());
        self.runtime_queued.with_label_values(&[thread]).set(gauge_value(queued));
    }

    /// Connections of all pods together, and how many there may be.
    pub fn set_node_connections(&self, (taken, most): (usize, usize)) {
        self.node_connections.set(gauge_value(taken));
        self.node_connections_limit.set(gauge_value(most));
    }

    /// How much memory the agent may have.
    pub fn set_memory_limit(&self, bytes: Option<u64>) {
        self.memory_limit.set(i64::try_from(bytes.unwrap_or(0)).unwrap_or(i64::MAX));
    }

    /// Whether something new is refused for want of this, and how much was so far.
    pub fn set_overload(&self, resource: Resource, is_short: bool, refused: u64) {
        self.overload.of(resource).set(i64::from(is_short));
        instrument::advance(self.overload_refusals.of(resource), refused);
    }

    /// Entries of a table of the kernel, and how many there may be.
    pub fn set_map_entries(&self, map: &'static str, entries: usize, most: u32) {
        self.map_entries.with_label_values(&[map]).set(gauge_value(entries));
        self.map_max_entries.with_label_values(&[map]).set(i64::from(most));
    }

    /// The kernel's own count of an event, since its map was made.
    pub fn set_kernel_events(&self, event: &'static str, total: u64) {
        instrument::advance(&self.kernel_events.with_label_values(&[event]), total);
    }

    /// Whether the agent waits for connections to end.
    pub fn set_draining(&self, draining: bool) {
        self.draining.set(i64::from(draining));
    }

    /// What the agent before has left.
    pub fn set_predecessor_connections(&self, connections: usize) {
        self.predecessor_connections.set(gauge_value(connections));
    }

    /// What [`Self::set_draining`] said last.
    pub fn is_draining(&self) -> bool {
        self.draining.get() != 0
    }
}

fn gauge_value(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
