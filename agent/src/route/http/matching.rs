//! Whether a request has what a match asks for; if not, the first thing that it lacks.
//!
//! Path, method, headers, parameters, in this order, which is that of precedence. The decision and its explanation call the
//! same function.

use crate::{
    mesh::{Condition, call},
    rules::{
        gateway::{HeaderMatch, Pattern},
        grpc_route::{GrpcMatch, GrpcMethodMatch},
        http_route::{HttpMatch, PathMatch, QueryMatch},
    },
};

use super::Request;

/// The first thing that a request lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch<'t> {
    /// It is no gRPC call.
    NoCall,
    /// Its path.
    Path(&'t PathMatch),
    /// Its method.
    Method(&'t http::Method),
    /// The service that it calls.
    Service(Name<'t>),
    /// The method that it calls.
    GrpcMethod(Name<'t>),
    /// A header.
    Header(&'t HeaderMatch),
    /// A parameter of its query.
    Parameter(&'t QueryMatch),
}

/// What a name has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name<'t> {
    /// This one.
    Exact(&'t str),
    /// One that an expression matches.
    Expression(&'t Pattern),
}

/// Compares.
pub(super) fn check<'t>(condition: Condition<'t>, request: &Request<'_>) -> Result<(), Mismatch<'t>> {
    match condition {
        Condition::Http(one, _, path) => http(one, path, request),
        Condition::Grpc(one, _) => grpc(one, request),
    }
}

fn http<'t>(one: &'t HttpMatch, normal: Option<&str>, request: &Request<'_>) -> Result<(), Mismatch<'t>> {
    if !has_path(&one.path, normal.unwrap_or_default(), request.target.path()) {
        return Err(Mismatch::Path(&one.path));
    }
    if let Some(method) = one.method.as_ref().filter(|method| *method != request.method) {
        return Err(Mismatch::Method(method));
    }
    headers(&one.headers, request)?;
    let has = |wanted: &&QueryMatch| {
        request.target.parameter(&wanted.name).is_some_and(|value| wanted.value.is_match(&value))
    };
    match one.query_params.iter().find(|wanted| !has(wanted)) {
        Some(wanted) => Err(Mismatch::Parameter(wanted)),
        None => Ok(()),
    }
}

/// `normal` is what is written in the match, in normal form, a prefix without a slash at its end.
fn has_path(wanted: &PathMatch, normal: &str, path: &str) -> bool {
    match wanted {
        PathMatch::Exact(_) => path == normal,
        PathMatch::PathPrefix(_) => after_prefix(path, normal).is_some(),
        PathMatch::RegularExpression(pattern) => pattern.is_match(path.as_bytes()),
    }
}

/// What follows a prefix of whole segments: nothing, or a text that begins with a slash. The empty prefix is that of every
/// path.
pub(super) fn after_prefix<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with('/') || prefix.is_empty()).then_some(rest)
}

fn grpc<'t>(one: &'t GrpcMatch, request: &Request<'_>) -> Result<(), Mismatch<'t>> {
    if !request.is_grpc() {
        return Err(Mismatch::NoCall);
    }
    let (service, method) = call(request.target.path()).unwrap_or_default();
    let (wanted_service, wanted_method) = names(one);
    if let Some(wanted) = wanted_service.filter(|wanted| !wanted.is(service)) {
        return Err(Mismatch::Service(wanted));
    }
    if let Some(wanted) = wanted_method.filter(|wanted| !wanted.is(method)) {
        return Err(Mismatch::GrpcMethod(wanted));
    }
    headers(&one.headers, request)
}

fn names(one: &GrpcMatch) -> (Option<Name<'_>>, Option<Name<'_>>) {
    match &one.method {
        None => (None, None),
        Some(GrpcMethodMatch::Exact { service, method }) => {
            (service.as_deref().map(Name::Exact), method.as_deref().map(Name::Exact))
        }
        Some(GrpcMethodMatch::RegularExpression { service, method }) => {
            (service.as_ref().map(Name::Expression), method.as_ref().map(Name::Expression))
        }
    }
}

impl Name<'_> {
    fn is(&self, name: &str) -> bool {
        match self {
            Self::Exact(wanted) => *wanted == name,
            Self::Expression(pattern) => !name.is_empty() && pattern.is_match(name.as_bytes()),
        }
    }
}

fn headers<'t>(wanted: &'t [HeaderMatch], request: &Request<'_>) -> Result<(), Mismatch<'t>> {
    let has = |wanted: &&HeaderMatch| request.header(&wanted.name).is_some_and(|value| wanted.value.is_match(&value));
    match wanted.iter().find(|wanted| !has(wanted)) {
        Some(wanted) => Err(Mismatch::Header(wanted)),
        None => Ok(()),
    }
}
