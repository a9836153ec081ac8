//! The rules that decide over one port of a Service for one audience, in the order in which they are tried.
//!
//! A table is built when its routes change and at no other time: backends are names here, and what they stand for is
//! looked up when a request is decided. So a change of endpoints touches no table.

use std::{cmp::Ordering, sync::Arc};

use super::{
    calls::CallIndex,
    paths::{PathIndex, normal},
    rank::{GrpcRank, HttpRank, Seniority},
};
use crate::rules::{
    Rule, Spec,
    grpc_route::{GrpcMatch, GrpcRule},
    http_route::{HttpMatch, HttpRule, PathMatch},
};

/// The kinds of routes; on one port the first of them decides alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteKind {
    /// GRPCRoute.
    Grpc,
    /// HTTPRoute.
    Http,
    /// TLSRoute.
    Tls,
    /// TCPRoute.
    Tcp,
}

impl RouteKind {
    /// `None` for what is no route.
    pub fn of(rule: &Rule) -> Option<Self> {
        match &rule.spec {
            Spec::GrpcRoute(_) => Some(Self::Grpc),
            Spec::HttpRoute(_) => Some(Self::Http),
            Spec::TlsRoute(_) => Some(Self::Tls),
            Spec::TcpRoute(_) => Some(Self::Tcp),
            _ => None,
        }
    }
}

/// The routes of one kind, the oldest first, and their matches by precedence.
#[derive(Clone, Debug)]
pub struct RouteTable {
    routes: Vec<Arc<Rule>>,
    matches: Matches,
}

#[derive(Clone, Debug)]
enum Matches {
    Http(Vec<Entry>, PathIndex),
    Grpc(Vec<Entry>, CallIndex),
    /// By the routes themselves.
    Tls,
    Tcp,
}

/// A match by its place: which route of the table, which rule of it, which match of that.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    route: usize,
    rule: usize,
    index: usize,
    /// The path in normal form, where it is an exact one or a prefix; a prefix has no slash at its end.
    path: Option<Box<str>>,
}

/// One match of a table.
#[derive(Clone, Copy, Debug)]
pub struct RouteMatch<'t> {
    /// Its route.
    pub route: &'t Arc<Rule>,
    /// Which rule of the route, from 0.
    pub rule: usize,
    /// Which match of the rule, from 0.
    pub index: usize,
    /// What it asks of a request.
    pub condition: Condition<'t>,
}

/// What a match asks of a request.
#[derive(Clone, Copy, Debug)]
pub enum Condition<'t> {
    /// A match of an HTTPRoute; its path, where it is exact or a prefix, in normal form.
    Http(&'t HttpMatch, &'t HttpRule, Option<&'t str>),
    /// A match of a GRPCRoute.
    Grpc(&'t GrpcMatch, &'t GrpcRule),
}

impl RouteTable {
    /// The table of routes of one kind. Those of other kinds are left out; `None` where there is none of this kind.
    pub fn build(kind: RouteKind, routes: impl IntoIterator<Item = Arc<Rule>>) -> Option<Self> {
        let mut routes: Vec<Arc<Rule>> =
            routes.into_iter().filter(|route| RouteKind::of(route) == Some(kind)).collect();
        routes.sort_by(|a, b| Seniority::of(a).cmp(&Seniority::of(b)));
        if routes.is_empty() {
            return None;
        }
        let matches = match kind {
            RouteKind::Http => {
                let entries = http_entries(&routes);
                let mut index = PathIndex::default();
                numbered(&entries, |number, entry| {
                    http_match(&routes, entry).into_iter().for_each(|(one, _)| index.insert(&one.path, number));
                });
                Matches::Http(entries, index)
            }
            RouteKind::Grpc => {
                let entries = grpc_entries(&routes);
                let mut index = CallIndex::default();
                numbered(&entries, |number, entry| {
                    grpc_match(&routes, entry).into_iter().for_each(|(one, _)| index.insert(one, number));
                });
                Matches::Grpc(entries, index)
            }
            RouteKind::Tls => Matches::Tls,
            RouteKind::Tcp => Matches::Tcp,
        };
        Some(Self { routes, matches })
    }

    /// The kind of its routes.
    pub fn kind(&self) -> RouteKind {
        match &self.matches {
            Matches::Http(..) => RouteKind::Http,
            Matches::Grpc(..) => RouteKind::Grpc,
            Matches::Tls => RouteKind::Tls,
            Matches::Tcp => RouteKind::Tcp,
        }
    }

    /// Its routes, the oldest first.
    pub fn routes(&self) -> &[Arc<Rule>] {
        &self.routes
    }

    /// All matches, in the order of precedence. Routes of connections have none.
    pub fn matches(&self) -> impl Iterator<Item = RouteMatch<'_>> {
        self.entries().iter().filter_map(|entry| self.view(entry))
    }

    /// The matches that a path may have, in the order of precedence; those that are left out do not match it.
    pub fn candidates(&self, path: &str) -> impl Iterator<Item = RouteMatch<'_>> {
        let (http, grpc) = match &self.matches {
            Matches::Http(_, index) => (Some(index.candidates(path)), None),
            Matches::Grpc(_, index) => {
                let (service, method) = call(path).unwrap_or_default();
                (None, Some(index.candidates(service, method)))
            }
            Matches::Tls | Matches::Tcp => (None, None),
        };
        let numbers = http.into_iter().flatten().chain(grpc.into_iter().flatten());
        numbers.filter_map(|number| self.view(self.entries().get(usize::try_from(number).ok()?)?))
    }

    fn entries(&self) -> &[Entry] {
        match &self.matches {
            Matches::Http(entries, _) | Matches::Grpc(entries, _) => entries,
            Matches::Tls | Matches::Tcp => &[],
        }
    }

    fn view<'t>(&'t self, entry: &'t Entry) -> Option<RouteMatch<'t>> {
        let condition = match &self.matches {
            Matches::Http(..) => {
                let (one, rule) = http_match(&self.routes, entry)?;
                Condition::Http(one, rule, entry.path.as_deref())
            }
            Matches::Grpc(..) => {
                let (one, rule) = grpc_match(&self.routes, entry)?;
                Condition::Grpc(one, rule)
            }
            Matches::Tls | Matches::Tcp => return None,
        };
        let route = self.routes.get(entry.route)?;
        Some(RouteMatch { route, rule: entry.rule, index: entry.index, condition })
    }
}

/// Everything else follows from the routes.
impl PartialEq for RouteTable {
    fn eq(&self, other: &Self) -> bool {
        self.kind() == other.kind() && self.routes == other.routes
    }
}

/// Service and method of the path of a gRPC call: `/package.Service/Method`.
pub(crate) fn call(path: &str) -> Option<(&str, &str)> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let is_call = !service.is_empty() && !method.is_empty() && !method.contains('/');
    is_call.then_some((service, method))
}

fn numbered(entries: &[Entry], mut then: impl FnMut(u32, &Entry)) {
    (0..).zip(entries).for_each(|(number, entry)| then(number, entry));
}

fn http_match<'t>(routes: &'t [Arc<Rule>], entry: &Entry) -> Option<(&'t HttpMatch, &'t HttpRule)> {
    let Spec::HttpRoute(route) = &routes.get(entry.route)?.spec else { return None };
    let rule = route.rules.get(entry.rule)?;
    Some((rule.matches.get(entry.index)?, rule))
}

fn grpc_match<'t>(routes: &'t [Arc<Rule>], entry: &Entry) -> Option<(&'t GrpcMatch, &'t GrpcRule)> {
    let Spec::GrpcRoute(route) = &routes.get(entry.route)?.spec else { return None };
    let rule = route.rules.get(entry.rule)?;
    Some((rule.matches.get(entry.index)?, rule))
}

fn http_entries(routes: &[Arc<Rule>]) -> Vec<Entry> {
    let mut ranked = Vec::new();
    for (route, rule) in routes.iter().enumerate() {
        let Spec::HttpRoute(spec) = &rule.spec else { continue };
        for (rule, of_rule) in spec.rules.iter().enumerate() {
            for (index, one) in of_rule.matches.iter().enumerate() {
                ranked.push((HttpRank::of(one), Entry { route, rule, index, path: path_of(&one.path) }));
            }
        }
    }
    in_order(ranked)
}

fn path_of(path: &PathMatch) -> Option<Box<str>> {
    match path {
        PathMatch::Exact(path) => Some(normal(path)),
        PathMatch::PathPrefix(prefix) => Some(normal(prefix).trim_end_matches('/').into()),
        PathMatch::RegularExpression(_) => None,
    }
}

fn grpc_entries(routes: &[Arc<Rule>]) -> Vec<Entry> {
    let mut ranked = Vec::new();
    for (route, rule) in routes.iter().enumerate() {
        let Spec::GrpcRoute(spec) = &rule.spec else { continue };
        for (rule, of_rule) in spec.rules.iter().enumerate() {
            for (index, one) in of_rule.matches.iter().enumerate() {
                ranked.push((GrpcRank::of(one), Entry { route, rule, index, path: None }));
            }
        }
    }
    in_order(ranked)
}

/// The sort is stable, and routes are in their order already: what is equal stays in the order of routes and rules.
fn in_order<R: Ord>(mut ranked: Vec<(R, Entry)>) -> Vec<Entry> {
    ranked.sort_by(|(a, _), (b, _)| -> Ordering { a.cmp(b) });
    ranked.into_iter().map(|(_, entry)| entry).collect()
}
