//! The order of precedence: of two matches that a request fits, which one decides.
//!
//! In: a match with the place of its rule. Out: a key; the smaller one comes first. Gateway API, "HTTPRouteRule.matches"
//! and "GRPCRouteRule.matches": the most specific match, then the oldest route, then the first by name, then the first in
//! the route. Where upstream leaves the choice, a regular expression comes after all names and paths that are written out.

use std::{cmp::Reverse, time::SystemTime};

use super::paths::normal;
use crate::{
    objects::ObjectName,
    rules::{
        Rule,
        grpc_route::{GrpcMatch, GrpcMethodMatch},
        http_route::{HttpMatch, PathMatch},
    },
};

/// The order of routes: the oldest first, then by `namespace/name`. Of unknown age, as of a file, come last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seniority<'r> {
    created: (bool, Option<SystemTime>),
    name: &'r ObjectName,
}

impl<'r> Seniority<'r> {
    pub(super) fn of(route: &'r Rule) -> Self {
        Self { created: (route.created.is_none(), route.created), name: &route.key.name }
    }
}

/// How specific a match of an HTTPRoute is; the most specific first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HttpRank {
    path: PathRank,
    without_method: bool,
    headers: Reverse<usize>,
    parameters: Reverse<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PathRank {
    Exact,
    /// By the characters of the prefix, without a slash at its end.
    Prefix(Reverse<usize>),
    Expression,
}

impl HttpRank {
    /// Of one match.
    pub fn of(one: &HttpMatch) -> Self {
        let path = match &one.path {
            PathMatch::Exact(_) => PathRank::Exact,
            PathMatch::PathPrefix(prefix) => PathRank::Prefix(Reverse(normal(prefix).trim_end_matches('/').len())),
            PathMatch::RegularExpression(_) => PathRank::Expression,
        };
        Self {
            path,
            without_method: one.method.is_none(),
            headers: Reverse(one.headers.len()),
            parameters: Reverse(one.query_params.len()),
        }
    }
}

/// How specific a match of a GRPCRoute is; the most specific first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GrpcRank {
    /// By the characters of names that are written out.
    service: Reverse<usize>,
    method: Reverse<usize>,
    /// An expression comes before a match of every call.
    without_name: bool,
    headers: Reverse<usize>,
}

impl GrpcRank {
    /// Of one match.
    pub fn of(one: &GrpcMatch) -> Self {
        let length = |name: &Option<String>| Reverse(name.as_ref().map_or(0, String::len));
        let (service, method) = match &one.method {
            Some(GrpcMethodMatch::Exact { service, method }) => (length(service), length(method)),
            Some(GrpcMethodMatch::RegularExpression { .. }) | None => (Reverse(0), Reverse(0)),
        };
        Self { service, method, without_name: names_nothing(one), headers: Reverse(one.headers.len()) }
    }
}

/// An exact match whose names are both empty matches every call, as one that is not there.
fn names_nothing(one: &GrpcMatch) -> bool {
    matches!(&one.method, None | Some(GrpcMethodMatch::Exact { service: None, method: None }))
}
