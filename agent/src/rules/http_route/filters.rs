//! HTTPRouteFilter: what is done with a request that matched.

use serde::{Serialize, Serializer};

use super::{
    super::gateway::{
        ExtensionRef, HeaderModifier, Member, RequestMirror, Union, extension_ref, header_modifier, limited,
        not_repeated, request_mirror, write_member,
    },
    CorsFilter, PathModifier, RequestRedirect, UrlRewrite, cors, paths,
};
use crate::config::yaml::MapReader;

/// Filters of one rule, by upstream's schema.
const MAX_FILTERS: usize = 16;

/// HTTPRouteFilter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpFilter {
    /// Changes the request's headers.
    RequestHeaderModifier(HeaderModifier),
    /// Changes the response's headers.
    ResponseHeaderModifier(HeaderModifier),
    /// Sends copies elsewhere. May come several times.
    RequestMirror(RequestMirror),
    /// Answers with a redirect.
    RequestRedirect(RequestRedirect),
    /// Changes host and path.
    UrlRewrite(UrlRewrite),
    /// Answers browsers that ask whether other sites may call.
    Cors(CorsFilter),
    /// Refers to a filter of Heddle's own. May come several times.
    ExtensionRef(ExtensionRef),
}

const FILTERS: Union<HttpFilter> = Union(&[
    Member {
        name: "RequestHeaderModifier",
        field: "requestHeaderModifier",
        read: Ok(|map, field| header_modifier(map, field).map(HttpFilter::RequestHeaderModifier)),
    },
    Member {
        name: "ResponseHeaderModifier",
        field: "responseHeaderModifier",
        read: Ok(|map, field| header_modifier(map, field).map(HttpFilter::ResponseHeaderModifier)),
    },
    Member {
        name: "RequestMirror",
        field: "requestMirror",
        read: Ok(|map, field| request_mirror(map, field).map(HttpFilter::RequestMirror)),
    },
    Member {
        name: "RequestRedirect",
        field: "requestRedirect",
        read: Ok(|map, field| paths::redirect(map, field).map(HttpFilter::RequestRedirect)),
    },
    Member {
        name: "URLRewrite",
        field: "urlRewrite",
        read: Ok(|map, field| paths::rewrite(map, field).map(HttpFilter::UrlRewrite)),
    },
    Member { name: "CORS", field: "cors", read: Ok(|map, field| cors::read(map, field).map(HttpFilter::Cors)) },
    Member {
        name: "ExtensionRef",
        field: "extensionRef",
        read: Ok(|map, field| extension_ref(map, field).map(HttpFilter::ExtensionRef)),
    },
    Member {
        name: "ExternalAuth",
        field: "externalAuth",
        read: Err("is not enforced by this build, which asks no other server; use AuthorizationPolicy documents"),
    },
]);

impl HttpFilter {
    fn replaces_prefix(&self) -> bool {
        let path = match self {
            Self::RequestRedirect(redirect) => &redirect.path,
            Self::UrlRewrite(rewrite) => &rewrite.path,
            _ => return false,
        };
        matches!(path, Some(PathModifier::ReplacePrefixMatch(_)))
    }

    fn is_repeatable(&self) -> bool {
        matches!(self, Self::RequestMirror(_) | Self::ExtensionRef(_))
    }
}

/// Reads the filters of a rule; `prefixed` tells whether it has exactly one match, and that of a path prefix.
pub(super) fn read(rule: &MapReader<'_>, prefixed: bool) -> Vec<HttpFilter> {
    let mut filters = Vec::new();
    for map in limited(rule, "filters", MAX_FILTERS) {
        let filter = FILTERS.read(&map);
        if let Some(filter) = &filter {
            not_repeated(&map, &filters, filter, HttpFilter::is_repeatable);
            not_both(&map, &filters, filter);
            if filter.replaces_prefix() && !prefixed {
                let message = "replaces the prefix that matched, so the rule must have exactly one match, of type PathPrefix; split the rule";
                map.complain_here(message);
            }
        }
        filters.extend(filter);
        map.finish();
    }
    filters
}

fn not_both(map: &MapReader<'_>, earlier: &[HttpFilter], filter: &HttpFilter) {
    let is_redirect = |filter: &HttpFilter| matches!(filter, HttpFilter::RequestRedirect(_));
    let is_rewrite = |filter: &HttpFilter| matches!(filter, HttpFilter::UrlRewrite(_));
    if is_redirect(filter) && earlier.iter().any(is_rewrite) || is_rewrite(filter) && earlier.iter().any(is_redirect) {
        map.complain(
            "type",
            "stands beside the other of RequestRedirect and URLRewrite, allowed: one of them; remove one",
        );
    }
}

impl Serialize for HttpFilter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::RequestHeaderModifier(filter) => {
                write_member(serializer, "RequestHeaderModifier", "requestHeaderModifier", filter)
            }
            Self::ResponseHeaderModifier(filter) => {
                write_member(serializer, "ResponseHeaderModifier", "responseHeaderModifier", filter)
            }
            Self::RequestMirror(filter) => write_member(serializer, "RequestMirror", "requestMirror", filter),
            Self::RequestRedirect(filter) => write_member(serializer, "RequestRedirect", "requestRedirect", filter),
            Self::UrlRewrite(filter) => write_member(serializer, "URLRewrite", "urlRewrite", filter),
            Self::Cors(filter) => write_member(serializer, "CORS", "cors", filter),
            Self::ExtensionRef(filter) => write_member(serializer, "ExtensionRef", "extensionRef", filter),
        }
    }
}
