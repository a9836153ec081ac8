//! What the steps of a request report, beside the request's own record.

use std::time::Duration;

use super::{
    GaugeGuard, Metrics, gauge_value,
    http_labels::{
        DetectedBy, DetectedProtocol, EjectionReason, FallbackOf, FallbackReason, FaultKind, HttpRefusal, LimitedAt,
        MirrorResult, OverflowLimit, PickLocality, PoolResult, RetryResult, TokenResult, UpgradeKind,
    },
    labels::ClosedLabel,
};
use crate::observe::Reporter;

impl Metrics {
    /// It is known what a connection carries, and how long its bytes waited for that.
    pub fn protocol_detected(&self, reporter: Reporter, how: DetectedBy, protocol: DetectedProtocol, waited: Duration) {
        self.detections.with_label_values(&[reporter.direction(), how.as_str(), protocol.as_str()]).inc();
        self.detection_time.observe(waited.as_secs_f64());
    }

    /// A client's HTTP was refused before anything was decided over the request.
    pub fn http_refused(&self, reason: HttpRefusal) {
        self.http_refused.of(reason).inc();
    }

    /// A try failed that the route would have tried again.
    pub fn retry(&self, result: RetryResult) {
        self.retries.of(result).inc();
    }

    /// A circuit breaker refused something.
    pub fn overflowed(&self, limit: OverflowLimit) {
        self.overflows.of(limit).inc();
    }

    /// A fallback took over.
    pub fn fell_back(&self, what: FallbackOf, reason: FallbackReason) {
        self.fallbacks.with_label_values(&[what.as_str(), reason.as_str()]).inc();
    }

    /// An endpoint gets no requests from now on, for a while.
    pub fn ejected(&self, reason: EjectionReason) {
        self.ejections.of(reason).inc();
    }

    /// How many endpoints are ejected.
    pub fn set_ejected_endpoints(&self, count: usize) {
        self.ejected_endpoints.set(gauge_value(count));
    }

    /// How many circuit breakers refuse for this limit.
    pub fn set_open_breakers(&self, limit: OverflowLimit, count: usize) {
        self.open_breakers.of(limit).set(gauge_value(count));
    }

    /// A rate limit refused a request or connection.
    pub fn rate_limited(&self, at: LimitedAt) {
        self.rate_limited.of(at).inc();
    }

    /// A fault was injected.
    pub fn fault_injected(&self, kind: FaultKind) {
        self.faults.of(kind).inc();
    }

    /// A copy of a request was to be sent.
    pub fn mirrored(&self, result: MirrorResult) {
        self.mirrors.of(result).inc();
    }

    /// An endpoint was picked.
    pub fn endpoint_picked(&self, locality: PickLocality) {
        self.picks.of(locality).inc();
    }

    /// A pooled connection to a server is open while the returned guard lives.
    pub fn pool_connection_opened(&self) -> GaugeGuard {
        GaugeGuard::raise(&self.pool_connections)
    }

    /// A request has its connection to a server.
    pub fn pool_request(&self, result: PoolResult) {
        self.pool_requests.of(result).inc();
    }

    /// A token was looked for in a request.
    pub fn token_looked_at(&self, result: TokenResult) {
        self.token_results.of(result).inc();
    }

    /// Client and server agreed to go on with something else than HTTP.
    pub fn upgraded(&self, kind: UpgradeKind) {
        self.upgrades.of(kind).inc();
    }
}
