//! GRPCRoute: which calls to a Service go where, and what is done with them on the way.
//!
//! One document to one [`GrpcRoute`], with upstream's defaults filled in. Backends, header matches and filters are
//! those of HTTPRoute, as far as upstream has them here.

mod filters;
mod matches;
#[cfg(test)]
mod tests;

use serde::Serialize;

use super::gateway::{
    self, FilteredBackendRef, MAX_BACKENDS, ParentRef, SessionPersistence, filtered_backend, limited, no_hostnames,
    parent_refs, rule_name, session_persistence,
};
use crate::config::yaml::MapReader;

pub use filters::GrpcFilter;
pub use matches::{GrpcMatch, GrpcMethodMatch};

/// Matches of one rule, and of a whole route, by upstream's schema.
const MAX_MATCHES: usize = 64;
const MAX_MATCHES_OF_ROUTE: usize = 128;

/// `gateway.networking.k8s.io/v1` GRPCRouteSpec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcRoute {
    /// The Services that it is for, at least one.
    pub parent_refs: Vec<ParentRef>,
    /// With none of them no call matches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<GrpcRule>,
}

/// GRPCRouteRule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcRule {
    /// Name, once in a route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// It is enough that one matches; there is at least one.
    pub matches: Vec<GrpcMatch>,
    /// What is done with a call, in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<GrpcFilter>,
    /// Where calls go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub backend_refs: Vec<FilteredBackendRef>,
    /// How a client stays with one endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_persistence: Option<SessionPersistence>,
}

/// Reads the spec.
pub(super) fn read(spec: MapReader<'_>) -> Option<GrpcRoute> {
    let parent_refs = parent_refs(&spec);
    no_hostnames(&spec);
    spec.not_enforced(&["useDefaultGateways"]);
    let rules = gateway::rules(&spec, rule);
    let matches: usize = rules.iter().map(|rule| rule.matches.len()).sum();
    if matches > MAX_MATCHES_OF_ROUTE {
        let message = format!("have {matches} matches in all, allowed: at most {MAX_MATCHES_OF_ROUTE} in one route");
        spec.complain("rules", message);
    }
    spec.finish();
    Some(GrpcRoute { parent_refs, rules })
}

fn rule(map: MapReader<'_>, earlier: &[GrpcRule]) -> Option<GrpcRule> {
    let name = rule_name(&map, earlier.iter().map(|rule| &rule.name));
    let mut matches: Vec<_> = limited(&map, "matches", MAX_MATCHES).into_iter().filter_map(matches::read).collect();
    if matches.is_empty() {
        matches.push(GrpcMatch::default());
    }
    let filters = filters::read(&map);
    let backend_refs = limited(&map, "backendRefs", MAX_BACKENDS).into_iter().filter_map(filtered_backend).collect();
    let session_persistence = session_persistence(&map);
    map.finish();
    Some(GrpcRule { name, matches, filters, backend_refs, session_persistence })
}
