//! The one table of what this build enforces. A document of a kind that it does not enforce is checked whole, and then
//! refused: accepting it would be a promise that nobody keeps.

use super::RuleKind;

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// The kind of document.
    pub kind: RuleKind,
    /// Whether the data path acts on it.
    pub enforced: bool,
    /// What it is good for, in a few words.
    pub effect: &'static str,
}

const fn feature(kind: RuleKind, enforced: bool, effect: &'static str) -> Feature {
    Feature { kind, enforced, effect }
}

/// Every kind of document, and whether this build enforces it.
pub const FEATURES: [Feature; 16] = [
    feature(RuleKind::HttpRoute, true, "routes of HTTP requests to Services"),
    feature(RuleKind::GrpcRoute, true, "routes of gRPC calls to Services"),
    feature(RuleKind::TlsRoute, true, "routes of TLS connections by server name"),
    feature(RuleKind::TcpRoute, true, "routes of TCP connections to Services"),
    feature(RuleKind::ReferenceGrant, true, "nothing: mesh routes refer across namespaces without it"),
    feature(RuleKind::BackendTrafficPolicy, true, "retry budgets and session persistence"),
    feature(RuleKind::AuthorizationPolicy, true, "who may do what"),
    feature(RuleKind::PeerAuthentication, true, "who may come in plaintext"),
    feature(RuleKind::RequestAuthentication, true, "JSON Web Tokens"),
    feature(RuleKind::DestinationRule, true, "balancing, connection limits, ejection of bad endpoints"),
    feature(RuleKind::ServiceEntry, true, "destinations outside the cluster"),
    feature(RuleKind::RateLimit, true, "limits of requests"),
    feature(RuleKind::FaultInjection, true, "delays and errors on purpose"),
    feature(RuleKind::Fallback, true, "who serves where a Service cannot"),
    feature(RuleKind::Telemetry, true, "logs and traces"),
    feature(RuleKind::Capture, true, "ports and networks that stay out of the mesh; what a pod may have of its agent"),
];

/// Which kinds a build enforces.
#[derive(Clone, Copy, Debug)]
pub struct Enforced(fn(RuleKind) -> bool);

impl Enforced {
    /// What this build enforces.
    pub const THIS_BUILD: Self = Self(|kind| FEATURES.iter().any(|feature| feature.kind == kind && feature.enforced));

    /// Every kind, of whatever build: for lints, examples and tests of documents that are to be enforced later. An agent
    /// never reads with it.
    pub(crate) const EVERYTHING: Self = Self(|_| true);

    /// Whether documents of this kind are enforced.
    pub fn has(self, kind: RuleKind) -> bool {
        (self.0)(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_each_kind_once() {
        let kinds: Vec<RuleKind> = FEATURES.iter().map(|feature| feature.kind).collect();
        assert_eq!(kinds, RuleKind::ALL);
    }
}
