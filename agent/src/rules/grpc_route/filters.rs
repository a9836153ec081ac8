//! GRPCRouteFilter: what is done with a call that matched.

use serde::{Serialize, Serializer};

use super::super::gateway::{
    ExtensionRef, HeaderModifier, Member, RequestMirror, Union, extension_ref, header_modifier, limited, not_repeated,
    request_mirror, write_member,
};
use crate::config::yaml::MapReader;

/// Filters of one rule, by upstream's schema.
const MAX_FILTERS: usize = 16;

/// GRPCRouteFilter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrpcFilter {
    /// Changes the metadata that the client sent.
    RequestHeaderModifier(HeaderModifier),
    /// Changes the metadata that the server sent first.
    ResponseHeaderModifier(HeaderModifier),
    /// Sends copies elsewhere. May come several times.
    RequestMirror(RequestMirror),
    /// Refers to a filter of Heddle's own. May come several times.
    ExtensionRef(ExtensionRef),
}

const FILTERS: Union<GrpcFilter> = Union(&[
    Member {
        name: "RequestHeaderModifier",
        field: "requestHeaderModifier",
        read: Ok(|map, field| header_modifier(map, field).map(GrpcFilter::RequestHeaderModifier)),
    },
    Member {
        name: "ResponseHeaderModifier",
        field: "responseHeaderModifier",
        read: Ok(|map, field| header_modifier(map, field).map(GrpcFilter::ResponseHeaderModifier)),
    },
    Member {
        name: "RequestMirror",
        field: "requestMirror",
        read: Ok(|map, field| request_mirror(map, field).map(GrpcFilter::RequestMirror)),
    },
    Member {
        name: "ExtensionRef",
        field: "extensionRef",
        read: Ok(|map, field| extension_ref(map, field).map(GrpcFilter::ExtensionRef)),
    },
]);

impl GrpcFilter {
    fn is_repeatable(&self) -> bool {
        matches!(self, Self::RequestMirror(_) | Self::ExtensionRef(_))
    }
}

/// Reads the filters of a rule.
pub(super) fn read(rule: &MapReader<'_>) -> Vec<GrpcFilter> {
    let mut filters = Vec::new();
    for map in limited(rule, "filters", MAX_FILTERS) {
        let filter = FILTERS.read(&map);
        filter.iter().for_each(|filter| not_repeated(&map, &filters, filter, GrpcFilter::is_repeatable));
        filters.extend(filter);
        map.finish();
    }
    filters
}

impl Serialize for GrpcFilter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::RequestHeaderModifier(filter) => {
                write_member(serializer, "RequestHeaderModifier", "requestHeaderModifier", filter)
            }
            Self::ResponseHeaderModifier(filter) => {
                write_member(serializer, "ResponseHeaderModifier", "responseHeaderModifier", filter)
            }
            Self::RequestMirror(filter) => write_member(serializer, "RequestMirror", "requestMirror", filter),
            Self::ExtensionRef(filter) => write_member(serializer, "ExtensionRef", "extensionRef", filter),
        }
    }
}
