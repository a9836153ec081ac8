//! The one rule of a TCPRoute or TLSRoute.

use serde::Serialize;

use super::{BackendRef, MAX_BACKENDS, backend, required_list, rule_name};
use crate::config::yaml::MapReader;

/// TCPRouteRule and TLSRouteRule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamRule {
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where connections go, at least one.
    pub backend_refs: Vec<BackendRef>,
}

/// Reads `rules`. Older versions of the schema allow several, none of which but the first could ever match.
pub(in crate::rules) fn stream_rules(spec: &MapReader<'_>) -> Vec<StreamRule> {
    required_list(spec, "rules", 1, "one rule, which takes every connection of the route")
        .into_iter()
        .map(rule)
        .collect()
}

fn rule(map: MapReader<'_>) -> StreamRule {
    let name = rule_name(&map, std::iter::empty());
    let backends = required_list(&map, "backendRefs", MAX_BACKENDS, "the Services that connections go to");
    let backend_refs = backends.into_iter().filter_map(backend).collect();
    map.finish();
    StreamRule { name, backend_refs }
}
