//! Paths that are replaced, and the `Location` of a redirect.

use super::{Matched, Request, cors::port_of};
use crate::{
    mesh::ServicePort,
    rules::http_route::{PathModifier, RequestRedirect, Scheme},
};

/// Where a redirect leads. What the filter does not say is as in the request; the query always is. Without a host in the
/// request it is the Service's. A scheme brings its own port; without one, and without a port, it is the one that was
/// dialled. The port that a scheme has anyway is left out.
pub(super) fn location(
    redirect: &RequestRedirect,
    matched: &Matched<'_>,
    request: &Request<'_>,
    dialled: &ServicePort,
) -> String {
    let scheme = redirect.scheme.unwrap_or(request.scheme);
    let host = match redirect.hostname.as_deref().or_else(|| request.host()) {
        Some(host) => host.to_owned(),
        None => dialled.service.host(),
    };
    let port = match (redirect.port, redirect.scheme) {
        (Some(port), _) => port.get(),
        (None, Some(scheme)) => port_of(scheme),
        (None, None) => dialled.port,
    };
    let name = match scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    let port = if port == port_of(scheme) { String::new() } else { format!(":{port}") };
    let path = match &redirect.path {
        Some(modifier) => replaced(modifier, matched, request.target.path()),
        None => request.target.path().to_owned(),
    };
    with_query(format!("{name}://{host}{port}{path}"), request)
}

/// The path after a modifier, never empty. A slash at the end of what replaces a prefix means nothing, as at the end of the
/// prefix. `*`, the target of an OPTIONS request to a whole server, is no path and stays.
pub(super) fn replaced(modifier: &PathModifier, matched: &Matched<'_>, path: &str) -> String {
    match modifier {
        _ if path == "*" => path.to_owned(),
        PathModifier::ReplaceFullPath(full) => full.clone(),
        PathModifier::ReplacePrefixMatch(prefix) => {
            let path = prefix.trim_end_matches('/').to_owned() + matched.rest(path);
            if path.is_empty() { "/".to_owned() } else { path }
        }
    }
}

/// A path or URL with the query of the request.
pub(super) fn with_query(path: String, request: &Request<'_>) -> String {
    match request.target.query() {
        Some(query) => path + "?" + query,
        None => path,
    }
}
