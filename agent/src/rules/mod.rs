//! What people write in mesh ConfigMaps: one typed rule for each document, or every reason why there is none.
//!
//! In: one YAML document. Out: a [`Rule`] in the words of its upstream schema, or problems with their places. A rule is
//! the whole of its document: a field that this build does not act on is refused and never dropped. Which documents
//! are in force, and which of two wins, is decided in `mesh`.

pub mod backend_traffic_policy;
mod features;
pub mod gateway;
pub mod grpc_route;
pub mod http_route;
mod kind;
mod read;
mod reference_grant;
pub mod tcp_route;
pub mod tls_route;

use std::fmt;

use serde::Serialize;

use crate::objects::{Map, ObjectName};

pub use features::{Enforced, FEATURES, Feature};
pub use kind::RuleKind;
pub(crate) use read::{Reading, is_rule, read};
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
}

impl fmt::Display for RuleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}
