//! TCPRoute: which Services the connections to a Service go to.

#[cfg(test)]
mod tests;

use serde::Serialize;

use super::gateway::{ParentRef, StreamRule, parent_refs, stream_rules};
use crate::config::yaml::MapReader;

/// `gateway.networking.k8s.io/v1` TCPRouteSpec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TcpRoute {
    /// The Services that it is for, at least one.
    pub parent_refs: Vec<ParentRef>,
    /// Exactly one.
    pub rules: Vec<StreamRule>,
}

/// Reads the spec.
pub(super) fn read(spec: MapReader<'_>) -> Option<TcpRoute> {
    let parent_refs = parent_refs(&spec);
    spec.not_enforced(&["useDefaultGateways"]);
    let rules = stream_rules(&spec);
    spec.finish();
    Some(TcpRoute { parent_refs, rules })
}
