//! References to the Services that requests and connections are sent to.

use std::num::NonZeroU16;

use serde::{Serialize, Serializer};

use super::{
    HeaderModifier, Member, Union, header_modifier, hostname::is_label, limited, not_repeated, port, required,
    values::not_core_service, write_member,
};
use crate::config::yaml::MapReader;

/// Backends of one rule, by upstream's schema.
pub(in crate::rules) const MAX_BACKENDS: usize = 16;

/// Filters of one backend, by upstream's schema.
const MAX_FILTERS: usize = 16;

/// What a name may be, for messages.
const NAME: &str = "the name of a Service, of 1 to 253 characters";

/// BackendObjectReference to a Service, the only kind of backend that this build knows. `group` and `kind` are left
/// out when it is written: their defaults are those of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceRef {
    /// Name of the Service.
    pub name: String,
    /// Its namespace; that of the route where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The Service's port, not the container's.
    pub port: NonZeroU16,
}

/// BackendRef: a Service and its share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackendRef {
    /// The Service.
    #[serde(flatten)]
    pub service: ServiceRef,
    /// Its part of the sum of all weights, at most a million; with 0 it gets nothing.
    pub weight: u32,
}

/// HTTPBackendRef and GRPCBackendRef: a backend that gets some headers of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FilteredBackendRef {
    /// The Service and its share.
    #[serde(flatten)]
    pub backend: BackendRef,
    /// What is done for this backend only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<BackendFilter>,
}

/// A filter of one backend. Others have their place on the rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendFilter {
    /// Changes the request's headers.
    RequestHeaderModifier(HeaderModifier),
    /// Changes the response's headers.
    ResponseHeaderModifier(HeaderModifier),
}

const FILTERS: Union<BackendFilter> = Union(&[
    Member {
        name: "RequestHeaderModifier",
        field: "requestHeaderModifier",
        read: Ok(|map, field| header_modifier(map, field).map(BackendFilter::RequestHeaderModifier)),
    },
    Member {
        name: "ResponseHeaderModifier",
        field: "responseHeaderModifier",
        read: Ok(|map, field| header_modifier(map, field).map(BackendFilter::ResponseHeaderModifier)),
    },
    Member { name: "RequestMirror", field: "requestMirror", read: Err(NOT_FOR_BACKENDS) },
    Member { name: "RequestRedirect", field: "requestRedirect", read: Err(NOT_FOR_BACKENDS) },
    Member { name: "URLRewrite", field: "urlRewrite", read: Err(NOT_FOR_BACKENDS) },
    Member { name: "CORS", field: "cors", read: Err(NOT_FOR_BACKENDS) },
    Member { name: "ExternalAuth", field: "externalAuth", read: Err("is not enforced by this build; remove it") },
    Member { name: "ExtensionRef", field: "extensionRef", read: Err(NOT_FOR_BACKENDS) },
]);

const NOT_FOR_BACKENDS: &str = "is not enforced on a backendRef by this build; put it on the rule";

/// Reads a BackendRef that has no filters.
pub(in crate::rules) fn backend(map: MapReader<'_>) -> Option<BackendRef> {
    let backend = weighted(&map);
    map.finish();
    backend
}

/// Reads an HTTPBackendRef or GRPCBackendRef.
pub(in crate::rules) fn filtered_backend(map: MapReader<'_>) -> Option<FilteredBackendRef> {
    let backend = weighted(&map);
    let mut filters = Vec::new();
    for filter_map in limited(&map, "filters", MAX_FILTERS) {
        let filter = FILTERS.read(&filter_map);
        filter.iter().for_each(|filter| not_repeated(&filter_map, &filters, filter, |_| false));
        filters.extend(filter);
        filter_map.finish();
    }
    map.finish();
    Some(FilteredBackendRef { backend: backend?, filters })
}

fn weighted(map: &MapReader<'_>) -> Option<BackendRef> {
    let service = service_ref(map);
    let weight = map.integer("weight", "a weight from 0 to 1000000", |weight| *weight <= 1_000_000);
    Some(BackendRef { service: service?, weight: weight.unwrap_or(1) })
}

/// Reads the fields of a BackendObjectReference, and leaves the map to the caller.
pub(in crate::rules) fn service_ref(map: &MapReader<'_>) -> Option<ServiceRef> {
    let is_service = not_other_kind(map);
    let (name, namespace, port) = (name(map), namespace(map), port(map, "port"));
    // Another kind may do without a port: one complaint is enough then.
    if is_service && !map.has("port") {
        map.missing("port", "a port number of the Service");
    }
    Some(ServiceRef { name: name?, namespace, port: port? })
}

/// Complains about `group` and `kind` of anything but a Service, which is what they mean where they are left out; `false`
/// where there is such a kind.
pub(in crate::rules) fn not_other_kind(map: &MapReader<'_>) -> bool {
    let (group, kind) = (map.text("group"), map.text("kind"));
    let readable = (!map.has("group") || group.is_some()) && (!map.has("kind") || kind.is_some());
    !readable || !not_core_service(map, group.unwrap_or_default(), kind.unwrap_or("Service"))
}

/// The name of a Service.
pub(in crate::rules) fn name(map: &MapReader<'_>) -> Option<String> {
    required(map, "name", NAME, |name| (1..=253).contains(&name.chars().count()).then(|| name.to_owned()))
}

/// The namespace of a Service.
pub(super) fn namespace(map: &MapReader<'_>) -> Option<String> {
    let allowed = "a namespace: at most 63 of the characters a-z, 0-9 and '-'";
    map.parsed("namespace", allowed, |text| is_label(text).then(|| text.to_owned()))
}

impl Serialize for BackendFilter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::RequestHeaderModifier(modifier) => {
                write_member(serializer, "RequestHeaderModifier", "requestHeaderModifier", modifier)
            }
            Self::ResponseHeaderModifier(modifier) => {
                write_member(serializer, "ResponseHeaderModifier", "responseHeaderModifier", modifier)
            }
        }
    }
}
