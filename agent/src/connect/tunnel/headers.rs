//! The headers with which a CONNECT request, and its answer, say who speaks.
//!
//! They are for the reader of logs and metrics at the other end. No decision is ever made on them.

use std::net::SocketAddr;

use crate::mesh::Workload;

/// Headers of a CONNECT request.
#[derive(Clone, Debug)]
pub struct ConnectHeaders {
    baggage: String,
    forwarded: String,
    traceparent: String,
}

impl ConnectHeaders {
    /// Of a connection that `client`, a socket of `source`, opens to `host`.
    pub fn new(cluster: &str, source: &Workload, client: SocketAddr, host: &str) -> Self {
        Self {
            baggage: Self::baggage(cluster, source),
            // RFC 7239: an address with a port is quoted.
            forwarded: format!("for=\"{client}\";host={host}"),
            traceparent: traceparent(),
        }
    }

    /// A workload's facts in the keys that Istio ambient uses (W3C Baggage).
    pub fn baggage(cluster: &str, workload: &Workload) -> String {
        format!(
            "k8s.cluster.name={cluster},k8s.namespace.name={},k8s.deployment.name={},service.name={},service.version={}",
            workload.namespace, workload.owner, workload.canonical_service, workload.canonical_revision,
        )
    }

    /// Names and values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [("baggage", self.baggage.as_str()), ("forwarded", &self.forwarded), ("traceparent", &self.traceparent)]
            .into_iter()
    }
}

/// A new, unsampled W3C trace context: both agents' logs can be joined by it. Zero is not a valid id.
fn traceparent() -> String {
    format!("00-{:032x}-{:016x}-00", fastrand::u128(1..), fastrand::u64(1..))
}

#[cfg(test)]
mod tests {
    use super::traceparent;

    #[test]
    fn the_trace_context_has_the_form_of_the_recommendation() {
        let text = traceparent();
        let parts: Vec<&str> = text.split('-').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [2, 32, 16, 2], "{text}");
        assert!(parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_hexdigit())), "{text}");
    }
}
