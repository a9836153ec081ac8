//! What people write in mesh ConfigMaps: one typed rule for each document, or every reason why there is none.
//!
//! In: one YAML document. Out: a [`Rule`] in the words of its upstream schema, or problems with their places. A rule is
//! the whole of its document: a field that this build does not act on is refused and never dropped. Which documents
//! are in force, and which of two wins, is decided in `mesh`.

mod authorization_policy;
mod capture;
mod destination_rule;
mod fault_injection;
mod features;
mod kind;
mod peer_authentication;
mod rate_limit;
mod read;
mod reference_grant;
mod request_authentication;
mod service_entry;
mod telemetry;
#[cfg(test)]
mod testing;
mod value;

use std::fmt;

use serde::Serialize;

use crate::objects::{Map, ObjectName};

pub use authorization_policy::{
    AccessRule, Action, AddressAttribute, AuthorizationPolicy, Condition, Operation, PathMatch, PathSegment,
    PathTemplate, RuleFrom, RuleTo, ServiceAccountMatch, Source, TextAttribute, Values, is_dry_run,
};
pub use capture::Capture;
pub use destination_rule::{
    Algorithm, ClientTls, ClientTlsMode, ConnectionPool, ConsistentHash, DestinationRule, HashAlgorithm, HashCookie,
    HashKey, HttpSettings, LoadBalancer, LocalityFailover, LocalityLb, LocalityPolicy, LocalityShares,
    OutlierDetection, PortPolicy, PortSelector, PortSettings, SimpleAlgorithm, TcpSettings, TrafficPolicy, Warmup,
};
pub use fault_injection::{Abort, AbortStatus, Delay, FaultHeader, FaultInjection, GrpcStatus};
pub use features::{Enforced, FEATURES, Feature};
pub use kind::RuleKind;
pub use peer_authentication::{Mtls, PeerAuthentication, PeerMtlsMode};
pub use rate_limit::{Limit, LimitPer, LimitScope, PerType, RateLimit, ServiceRef};
pub(crate) use read::{Reading, is_rule, read};
pub use reference_grant::{GrantFrom, GrantTo, ReferenceGrant};
pub use request_authentication::{ClaimToHeader, Jwks, JwtHeader, JwtRule, KeySource, RequestAuthentication};
pub use service_entry::{EndpointAddress, EntryEndpoint, EntryPort, EntryProtocol, Resolution, ServiceEntry};
pub use telemetry::{AccessLogging, Telemetry, Tracing};
pub use value::{Host, Percentage, Selector, StringMatch, WholePercentage};

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
    /// A ReferenceGrant.
    ReferenceGrant(ReferenceGrant),
    /// An AuthorizationPolicy.
    AuthorizationPolicy(AuthorizationPolicy),
    /// A PeerAuthentication.
    PeerAuthentication(PeerAuthentication),
    /// A RequestAuthentication.
    RequestAuthentication(RequestAuthentication),
    /// A DestinationRule.
    DestinationRule(Box<DestinationRule>),
    /// A ServiceEntry.
    ServiceEntry(ServiceEntry),
    /// A RateLimit.
    RateLimit(RateLimit),
    /// A FaultInjection.
    FaultInjection(FaultInjection),
    /// A Telemetry.
    Telemetry(Telemetry),
    /// A Capture.
    Capture(Capture),
}

impl fmt::Display for RuleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}
