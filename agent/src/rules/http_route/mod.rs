//! HTTPRoute: which requests to a Service go where, and what is done with them on the way.
//!
//! One document to one [`HttpRoute`], with upstream's defaults filled in. How rules of several routes rank is decided
//! where they are compiled; here each list keeps its order.

mod cors;
mod filters;
mod matches;
mod paths;
mod resilience;
#[cfg(test)]
mod tests;

use serde::Serialize;

use super::gateway::{
    self, FilteredBackendRef, MAX_BACKENDS, ParentRef, SessionPersistence, filtered_backend, limited, no_hostnames,
    parent_refs, rule_name, session_persistence,
};
use crate::config::yaml::MapReader;

pub use cors::{AllowList, CorsFilter, Origin, OriginHost, Scheme};
pub use filters::HttpFilter;
pub use matches::{HttpMatch, PathMatch, QueryMatch};
pub use paths::{PathModifier, RequestRedirect, UrlRewrite};
pub use resilience::{Retry, Timeouts};

/// Matches of one rule, and of a whole route, by upstream's schema.
const MAX_MATCHES: usize = 64;
const MAX_MATCHES_OF_ROUTE: usize = 128;

/// `gateway.networking.k8s.io/v1` HTTPRouteSpec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRoute {
    /// The Services that it is for, at least one.
    pub parent_refs: Vec<ParentRef>,
    /// At least one.
    pub rules: Vec<HttpRule>,
}

/// HTTPRouteRule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRule {
    /// Name, once in a route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// It is enough that one matches; there is at least one.
    pub matches: Vec<HttpMatch>,
    /// What is done with a request, in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<HttpFilter>,
    /// Where requests go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub backend_refs: Vec<FilteredBackendRef>,
    /// How long a request may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
    /// What is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// How a client stays with one endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_persistence: Option<SessionPersistence>,
}

impl HttpRule {
    /// What the schema makes of a route without rules: every request matches, and there is no backend.
    fn of_empty_route() -> Self {
        Self {
            name: None,
            matches: vec![HttpMatch::default()],
            filters: Vec::new(),
            backend_refs: Vec::new(),
            timeouts: None,
            retry: None,
            session_persistence: None,
        }
    }
}

/// Reads the spec.
pub(super) fn read(spec: MapReader<'_>) -> Option<HttpRoute> {
    let parent_refs = parent_refs(&spec);
    no_hostnames(&spec);
    spec.not_enforced(&["useDefaultGateways"]);
    let mut rules = gateway::rules(&spec, rule);
    let matches: usize = rules.iter().map(|rule| rule.matches.len()).sum();
    if matches > MAX_MATCHES_OF_ROUTE {
        let message = format!("have {matches} matches in all, allowed: at most {MAX_MATCHES_OF_ROUTE} in one route");
        spec.complain("rules", message);
    }
    if !spec.has("rules") {
        rules.push(HttpRule::of_empty_route());
    }
    spec.finish();
    Some(HttpRoute { parent_refs, rules })
}

fn rule(map: MapReader<'_>, earlier: &[HttpRule]) -> Option<HttpRule> {
    let name = rule_name(&map, earlier.iter().map(|rule| &rule.name));
    let matches = matches(&map);
    let prefixed = matches.as_deref().map(has_one_prefix);
    let filters = filters::read(&map, prefixed.unwrap_or(true));
    let backend_refs = backend_refs(&map, &filters);
    let timeouts = resilience::timeouts(&map);
    let retry = resilience::retry(&map);
    let session_persistence = session_persistence(&map);
    map.finish();
    Some(HttpRule { name, matches: matches?, filters, backend_refs, timeouts, retry, session_persistence })
}

/// `None` where one of them is bad.
fn matches(map: &MapReader<'_>) -> Option<Vec<HttpMatch>> {
    let maps = limited(map, "matches", MAX_MATCHES);
    if maps.is_empty() {
        return Some(vec![HttpMatch::default()]);
    }
    // Read to the end before looking: each has its own problems.
    let matches: Vec<Option<HttpMatch>> = maps.into_iter().map(matches::read).collect();
    matches.into_iter().collect()
}

/// What a filter needs that replaces the prefix which matched.
fn has_one_prefix(matches: &[HttpMatch]) -> bool {
    matches!(matches, [HttpMatch { path: PathMatch::PathPrefix(_), .. }])
}

fn backend_refs(map: &MapReader<'_>, filters: &[HttpFilter]) -> Vec<FilteredBackendRef> {
    let backends = limited(map, "backendRefs", MAX_BACKENDS);
    let redirects = filters.iter().any(|filter| matches!(filter, HttpFilter::RequestRedirect(_)));
    if redirects && !backends.is_empty() {
        map.complain("backendRefs", "get nothing, since a RequestRedirect filter answers; remove one of the two");
    }
    backends.into_iter().filter_map(filtered_backend).collect()
}
