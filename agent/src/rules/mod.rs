//! What people write in mesh ConfigMaps: one typed rule for each document, or every reason why there is none.
//!
//! In: one YAML document. Out: a [`Rule`] in the words of its upstream schema, or problems with their places. A rule is
//! the whole of its document: a field that this build does not act on is refused and never dropped. Which documents
//! are in force, and which of two wins, is decided in `mesh`.

pub mod authorization_policy;
pub mod backend_traffic_policy;
pub mod capture;
pub mod destination_rule;
pub mod fallback;
pub mod fault_injection;
mod features;
pub mod gateway;
pub mod grpc_route;
pub mod http_route;
mod kind;
pub mod peer_authentication;
pub mod rate_limit;
mod read;
mod reference;
mod reference_grant;
pub mod request_authentication;
pub mod service_entry;
pub mod tcp_route;
pub mod telemetry;
#[cfg(test)]
mod testing;
pub mod tls_route;
pub mod value;

use std::{fmt, sync::Arc, time::SystemTime};

use serde::Serialize;

use crate::objects::{Map, ObjectName};

pub use features::{Enforced, FEATURES, Feature};
pub use kind::RuleKind;
pub(crate) use read::{Reading, is_rule, read};
pub use reference::configuration_reference;
pub use reference_grant::{GrantFrom, GrantTo, ReferenceGrant};

/// One accepted document.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Kind, namespace and name.
    pub key: RuleKey,
    /// `metadata.annotations`.
    pub annotations: Map,
    /// `spec`, typed.
    pub spec: Spec,
    /// When its ConfigMap was made: of two documents that say different things of one object, the older counts. Nobody
    /// knows of a file.
    pub created: Option<SystemTime>,
}

/// What tells two rules apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleKey {
    /// Kind.
    pub kind: RuleKind,
    /// Namespace and name.
    pub name: ObjectName,
}

/// The `spec` of a rule. It serializes to the shape that was read, so that what `/config` shows can be applied again.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Spec {
    /// An HTTPRoute.
    HttpRoute(http_route::HttpRoute),
    /// A GRPCRoute.
    GrpcRoute(grpc_route::GrpcRoute),
    /// A TLSRoute.
    TlsRoute(tls_route::TlsRoute),
    /// A TCPRoute.
    TcpRoute(tcp_route::TcpRoute),
    /// A ReferenceGrant.
    ReferenceGrant(ReferenceGrant),
    /// An XBackendTrafficPolicy.
    BackendTrafficPolicy(backend_traffic_policy::BackendTrafficPolicy),
    /// An AuthorizationPolicy, which the index of policies shares.
    AuthorizationPolicy(Arc<authorization_policy::AuthorizationPolicy>),
    /// A PeerAuthentication.
    PeerAuthentication(peer_authentication::PeerAuthentication),
    /// A RequestAuthentication.
    RequestAuthentication(request_authentication::RequestAuthentication),
    /// A DestinationRule.
    DestinationRule(Box<destination_rule::DestinationRule>),
    /// A ServiceEntry.
    ServiceEntry(service_entry::ServiceEntry),
    /// A RateLimit.
    RateLimit(rate_limit::RateLimit),
    /// A FaultInjection.
    FaultInjection(fault_injection::FaultInjection),
    /// A Fallback.
    Fallback(fallback::Fallback),
    /// A Telemetry.
    Telemetry(telemetry::Telemetry),
    /// A Capture.
    Capture(capture::Capture),
}

impl fmt::Display for RuleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}
