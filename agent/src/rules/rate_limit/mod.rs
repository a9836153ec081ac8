//! RateLimit: how many requests clients may make.

#[cfg(test)]
mod tests;

use std::{num::NonZeroU32, time::Duration};

use http::HeaderName;
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::value::{
    Selector, Word, count, duration, header_name, not_both, required, required_list, selector, serialize_duration,
    text, word, words,
};
use crate::config::yaml::MapReader;

/// `heddle.io/v1alpha1` RateLimit. Each node counts for itself, at the server: what a client may make in all grows with the
/// number of nodes that serve it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RateLimit {
    /// Which requests are counted.
    #[serde(flatten)]
    pub scope: LimitScope,
    /// A request must keep all of them. At least one.
    pub limits: Vec<Limit>,
}

/// Which requests are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitScope {
    /// Those of routes that name this document in a filter.
    Routes,
    /// `targetRefs`: those to these Services of the namespace.
    Services(Vec<ServiceRef>),
    /// `selector`: those to these pods of the namespace; `{}` for all.
    Workloads(Selector),
}

/// A Service of the document's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceRef {
    /// Its name.
    pub name: String,
}

/// So many requests in so long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// How many.
    pub requests: NonZeroU32,
    /// In how long.
    #[serde(serialize_with = "serialize_duration")]
    pub interval: Duration,
    /// How many at once, after a pause; as many as `requests` where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<NonZeroU32>,
    /// Whose requests are counted together; all where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per: Option<LimitPer>,
}

/// Whose requests are counted together. `{type: Source}`, or `{type: Header, header: NAME}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LimitPer {
    /// Those of one identity; of one address where the client is not in the mesh.
    Source,
    /// Those with one value of a header. Requests without it are counted together.
    Header(HeaderName),
}

words! {
    /// `type` of `per`.
    PerType {
        /// One identity.
        Source = "Source",
        /// One value of a header.
        Header = "Header",
    }
}

/// Reads the spec.
pub(super) fn read(spec: MapReader<'_>) -> Option<RateLimit> {
    not_both(&spec, "targetRefs", "selector");
    let targets: Vec<ServiceRef> = spec.maps("targetRefs").into_iter().filter_map(service).collect();
    let selector = selector(&spec);
    if spec.has_empty("targetRefs") {
        spec.complain("targetRefs", "is empty; name Services, or remove it for the routes that refer to this document");
    }
    let limits = spec.maps("limits").into_iter().filter_map(limit).collect();
    required_list(&spec, "limits", "a list with at least one limit");
    let scope = match selector {
        Some(selector) => LimitScope::Workloads(selector),
        None if spec.has("targetRefs") => LimitScope::Services(targets),
        None => LimitScope::Routes,
    };
    spec.finish();
    Some(RateLimit { scope, limits })
}

fn service(map: MapReader<'_>) -> Option<ServiceRef> {
    let group = map.parsed("group", "\"\", the group of Services", |group| group.is_empty().then_some(()));
    required(&map, "group", "\"\"", group);
    let kind = map.parsed("kind", "Service", |kind| (kind == "Service").then_some(()));
    required(&map, "kind", "Service", kind);
    let name = required(&map, "name", "a Service's name", text(&map, "name"));
    map.finish();
    Some(ServiceRef { name: name? })
}

fn limit(map: MapReader<'_>) -> Option<Limit> {
    let requests = required(&map, "requests", "a number from 1", count(&map, "requests"));
    let interval = required(&map, "interval", "a duration such as 1s", duration(&map, "interval"));
    let burst = count(&map, "burst");
    let per = map.map("per").and_then(per);
    map.finish();
    Some(Limit { requests: requests?, interval: interval?, burst, per })
}

fn per(map: MapReader<'_>) -> Option<LimitPer> {
    let kind = required(&map, "type", "Source or Header", word(&map, "type", &[]));
    let header = header_name(&map, "header");
    match kind {
        Some(PerType::Header) => drop(required(&map, "header", "a header's name with type Header", header.as_ref())),
        Some(PerType::Source) if map.has("header") => map.complain("header", "is allowed with type Header only"),
        _ => {}
    }
    map.finish();
    match kind? {
        PerType::Source => Some(LimitPer::Source),
        PerType::Header => header.map(LimitPer::Header),
    }
}

impl Serialize for LimitScope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Routes => {}
            Self::Services(targets) => map.serialize_entry("targetRefs", targets)?,
            Self::Workloads(selector) => map.serialize_entry("selector", selector)?,
        }
        map.end()
    }
}

impl Serialize for ServiceRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("group", "")?;
        map.serialize_entry("kind", "Service")?;
        map.serialize_entry("name", &self.name)?;
        map.end()
    }
}

impl Serialize for LimitPer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Source => map.serialize_entry("type", PerType::Source.as_str())?,
            Self::Header(name) => {
                map.serialize_entry("type", PerType::Header.as_str())?;
                map.serialize_entry("header", name.as_str())?;
            }
        }
        map.end()
    }
}
