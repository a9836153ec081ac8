//! Where one connection goes that is not parsed as HTTP: a pure decision over TLSRoutes and TCPRoutes.
//!
//! In: the routes of the port that was dialled, and the server name that the client asks for in TLS of its own. Out: the
//! rule, and with a random number its backend. A TCPRoute takes every connection, so the oldest decides alone. Of TLSRoutes
//! the one with the exact name decides, then that with the longest part of it, then the oldest.

use std::sync::Arc;

use super::backend::{Draw, Resolved, Unresolved, resolve};
use crate::{
    mesh::{RouteKind, RouteTable, ServicePort, Snapshot},
    rules::{
        Rule, RuleKey, Spec,
        gateway::{BackendRef, StreamRule},
        tls_route::ServerName,
    },
};

/// Which rule decides over a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamDecision<'t> {
    /// No route is for this port and client: the endpoints of the Service itself serve.
    Implicit,
    /// The routes of this port decide over requests, and this is no HTTP: it is refused.
    OfRequests,
    /// There are routes and none has the name that the client asks for: it is refused.
    NoRule,
    /// This one.
    Rule(StreamMatch<'t>),
}

/// The rule that decides over a connection. Made by the decision only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamMatch<'t> {
    route: &'t RuleKey,
    rule: &'t StreamRule,
}

/// Why there is no backend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamFailure {
    /// The routes of the port are about HTTP.
    #[error("the routes of this port are about HTTP requests, and the client does not speak HTTP; use a TCPRoute")]
    OfRequests,
    /// There are routes, and none is for this connection.
    #[error("no TLSRoute of this port has the server name {}", server_name.as_deref().unwrap_or("of a client that gives none"))]
    NoRule {
        /// The name that the client asks for.
        server_name: Option<String>,
    },
    /// The weights of all its backends are 0.
    #[error("all backendRefs of the rule have weight 0; give one of them a weight")]
    NoWeight,
    /// The backend whose turn it was does not stand for anything.
    #[error(transparent)]
    Unresolved(#[from] Unresolved),
}

/// Finds the rule. `table` is what [`Routes::table`](crate::mesh::Routes::table) has for the port that was dialled and the
/// client's namespace.
pub fn decide<'t>(table: Option<&'t RouteTable>, server_name: Option<&str>) -> StreamDecision<'t> {
    let Some(table) = table else { return StreamDecision::Implicit };
    let rule = match table.kind() {
        RouteKind::Http | RouteKind::Grpc => return StreamDecision::OfRequests,
        RouteKind::Tcp => table.routes().first().and_then(only_rule),
        RouteKind::Tls => server_name.and_then(|name| by_name(table, name)),
    };
    rule.map_or(StreamDecision::NoRule, StreamDecision::Rule)
}

/// The backend that a connection to a port goes to; `None` where no route says so and the port's own endpoints serve.
///
/// # Errors
/// The connection is refused.
pub fn backend(
    snapshot: &Snapshot,
    dialled: &ServicePort,
    table: Option<&RouteTable>,
    server_name: Option<&str>,
) -> Result<Option<Resolved>, StreamFailure> {
    match decide(table, server_name) {
        StreamDecision::Implicit => Ok(None),
        StreamDecision::OfRequests => Err(StreamFailure::OfRequests),
        StreamDecision::NoRule => Err(StreamFailure::NoRule { server_name: server_name.map(ToOwned::to_owned) }),
        StreamDecision::Rule(rule) => rule.backend(snapshot, dialled, Draw(fastrand::u64(..))).map(Some),
    }
}

fn by_name<'t>(table: &'t RouteTable, name: &str) -> Option<StreamMatch<'t>> {
    let name = name.to_ascii_lowercase();
    let closeness = |route: &Rule| match &route.spec {
        Spec::TlsRoute(spec) => spec.hostnames.iter().filter_map(|own| closeness(own, &name)).max(),
        _ => None,
    };
    let routes = table.routes().iter().filter_map(|route| Some((closeness(route)?, route)));
    // The last of equals is what `max_by_key` takes, so the oldest route has to come last.
    let (_, route) = routes.rev().max_by_key(|(closeness, _)| *closeness)?;
    only_rule(route)
}

/// How much of a name a pattern says, exact ones first. `None` where it does not match.
fn closeness(own: &ServerName, name: &str) -> Option<(bool, usize)> {
    match own {
        ServerName::Exact(own) => (own == name).then_some((true, own.len())),
        ServerName::Below(own) => {
            let labels = name.strip_suffix(own.as_str()).and_then(|rest| rest.strip_suffix('.'));
            labels.filter(|labels| !labels.is_empty()).map(|_| (false, own.len()))
        }
    }
}

fn only_rule(route: &Arc<Rule>) -> Option<StreamMatch<'_>> {
    let rules = match &route.spec {
        Spec::TlsRoute(spec) => &spec.rules,
        Spec::TcpRoute(spec) => &spec.rules,
        _ => return None,
    };
    rules.first().map(|rule| StreamMatch { route: &route.key, rule })
}

/// Each route of a table that does not decide over a connection, and why: the name that it is for is another, less close or
/// as close as that of an older route.
pub fn passed_over<'t>(table: &'t RouteTable, server_name: Option<&str>) -> Vec<(&'t RuleKey, String)> {
    let decided = match decide(Some(table), server_name) {
        StreamDecision::Rule(one) => Some(one.route()),
        _ => None,
    };
    let others = table.routes().iter().filter(|route| Some(&route.key) != decided);
    let name = server_name.map(str::to_ascii_lowercase);
    others.map(|route| (&route.key, why_not(route, name.as_deref()))).collect()
}

fn why_not(route: &Rule, name: Option<&str>) -> String {
    let Spec::TlsRoute(spec) = &route.spec else {
        return "an older route takes every connection of the port".to_owned();
    };
    let wanted: Vec<String> = spec.hostnames.iter().map(ToString::to_string).collect();
    match name {
        None => format!("it is for the server name {}, and the client gives none", wanted.join(" or ")),
        Some(name) if spec.hostnames.iter().all(|own| closeness(own, name).is_none()) => {
            format!("it is for the server name {}, not {name}", wanted.join(" or "))
        }
        Some(_) => "another route has a closer name, or is older".to_owned(),
    }
}

impl<'t> StreamMatch<'t> {
    /// The Services that connections are sent to, with their weights.
    pub fn backends(&self) -> &'t [BackendRef] {
        &self.rule.backend_refs
    }

    /// The route, by kind and name.
    pub fn route(&self) -> &'t RuleKey {
        self.route
    }

    /// The name of the rule, where it has one.
    pub fn rule_name(&self) -> Option<&'t str> {
        self.rule.name.as_deref()
    }

    /// The backend whose turn it is, or its fallback; it has endpoints.
    ///
    /// # Errors
    /// There is none, and the connection is refused.
    pub fn backend(&self, snapshot: &Snapshot, dialled: &ServicePort, draw: Draw) -> Result<Resolved, StreamFailure> {
        let backends = &self.rule.backend_refs;
        let turn = draw.weighted(backends.iter().map(|backend| backend.weight));
        let backend = turn.and_then(|turn| backends.get(turn)).ok_or(StreamFailure::NoWeight)?;
        Ok(resolve(snapshot, &self.route.name.namespace, &backend.service, dialled.family)?)
    }
}
