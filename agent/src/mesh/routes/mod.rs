//! Which routes decide over which port of which Service, for whose requests.
//!
//! In: the routes in force. Out: for a Service, a port and the client's namespace one [`RouteTable`], or none, which means
//! that the Service's own endpoints serve. A route in the Service's namespace is for every client (a producer's route). A
//! route of another namespace is for the clients of that namespace, and there replaces the producer's (GAMMA, GEP-1294).
//! Routes never merge across namespaces and never chain. On one port one kind decides, GRPCRoute before HTTPRoute before
//! TLSRoute before TCPRoute.
//!
//! Whether the Services exist changes nothing here: a table of a Service without an address is never asked, because
//! nobody can dial it. That such routes are for nothing is told by [`parents`].

mod calls;
mod extensions;
mod parents;
mod paths;
mod rank;
mod table;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU16,
    sync::Arc,
};

use super::{Rules, ServiceName};
use crate::rules::{Rule, RuleKey, Spec, gateway::ParentRef};

pub use extensions::ExtensionProblem;
pub(crate) use extensions::key_of;
pub use parents::{ParentProblem, ParentRefusal, Scope};
pub use rank::{GrpcRank, HttpRank};
pub use table::{Condition, RouteKind, RouteMatch, RouteTable};

pub(crate) use table::call;

/// All route tables. A copy shares what is the same.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routes {
    services: imbl::OrdMap<ServiceName, Arc<ServiceRoutes>>,
}

/// The routes that have one Service as a parent.
#[derive(Clone, Debug, Default, PartialEq)]
struct ServiceRoutes {
    /// All of them, those that decide nothing included.
    routes: BTreeSet<RuleKey>,
    /// For every client that has no routes of its own namespace.
    producer: Ports,
    /// For the clients of a namespace.
    consumers: BTreeMap<Arc<str>, Ports>,
}

/// The tables of one audience.
#[derive(Clone, Debug, Default, PartialEq)]
struct Ports {
    /// Of the ports that a route names.
    named: BTreeMap<u16, Arc<RouteTable>>,
    /// Of all other ports.
    other: Option<Arc<RouteTable>>,
}

impl Routes {
    /// The routes that decide over a port of a Service for clients of a namespace.
    pub fn table(&self, service: &ServiceName, port: u16, client_namespace: &str) -> Option<&Arc<RouteTable>> {
        let routes = self.services.get(service)?;
        let own = routes.consumers.get(client_namespace).and_then(|ports| ports.of(port));
        own.or_else(|| routes.producer.of(port))
    }

    /// Brings the tables up to date after some rules changed. The work is that of the Services that these name.
    pub(super) fn update(&mut self, touched: &BTreeSet<RuleKey>, before: &Rules, now: &Rules) {
        let mut services: BTreeMap<ServiceName, BTreeSet<RuleKey>> = BTreeMap::new();
        for key in touched {
            for rule in [before.get(key), now.get(key)].into_iter().flatten() {
                for service in parents_of(rule).iter().map(|parent| parent_service(rule, parent)) {
                    let routes = || self.services.get(&service).map(|old| old.routes.clone()).unwrap_or_default();
                    services.entry(service.clone()).or_insert_with(routes).insert(key.clone());
                }
            }
        }
        for (service, keys) in services {
            match ServiceRoutes::build(&service, &keys, now) {
                Some(routes) => drop(self.services.insert(service, Arc::new(routes))),
                None => drop(self.services.remove(&service)),
            }
        }
    }

    /// The tables that stand for a port, or for all ports, of a Service, as a parent of this route names it.
    fn tables_for(&self, rule: &Rule, parent: &ParentRef) -> Vec<(Option<u16>, &Arc<RouteTable>)> {
        let service = parent_service(rule, parent);
        let Some(routes) = self.services.get(&service) else { return Vec::new() };
        let ports = match rule.key.name.namespace == service.namespace {
            true => Some(&routes.producer),
            false => routes.consumers.get(&rule.key.name.namespace),
        };
        match (ports, parent.port) {
            (None, _) => Vec::new(),
            (Some(ports), Some(port)) => {
                ports.of(port.get()).map(|table| (Some(port.get()), table)).into_iter().collect()
            }
            (Some(ports), None) => {
                let named = ports.named.iter().map(|(port, table)| (Some(*port), table));
                named.chain(ports.other.iter().map(|table| (None, table))).collect()
            }
        }
    }
}

impl ServiceRoutes {
    /// Of those of the keys whose routes still have the Service as a parent; `None` where none has.
    fn build(service: &ServiceName, keys: &BTreeSet<RuleKey>, rules: &Rules) -> Option<Self> {
        let mut all = Self::default();
        let mut audiences: BTreeMap<&Arc<str>, Vec<Claim<'_>>> = BTreeMap::new();
        for key in keys {
            let Some(route) = rules.get(key) else { continue };
            let parents = parents_of(route).iter().filter(|parent| parent_service(route, parent) == *service);
            let claims: Vec<_> = parents.map(|parent| Claim { route, port: parent.port }).collect();
            if !claims.is_empty() {
                all.routes.insert(key.clone());
                audiences.entry(&key.name.namespace).or_default().extend(claims);
            }
        }
        for (namespace, claims) in audiences {
            let ports = Ports::build(&claims);
            match *namespace == service.namespace {
                true => all.producer = ports,
                false => drop(all.consumers.insert(Arc::clone(namespace), ports)),
            }
        }
        (!all.routes.is_empty()).then_some(all)
    }
}

/// A route wants a port of a Service, or all ports.
struct Claim<'r> {
    route: &'r Arc<Rule>,
    port: Option<NonZeroU16>,
}

impl Ports {
    fn build(claims: &[Claim<'_>]) -> Self {
        let named: BTreeSet<u16> = claims.iter().filter_map(|claim| claim.port).map(NonZeroU16::get).collect();
        let of = |port: Option<u16>| {
            let wanted = claims.iter().filter(|claim| claim.port.is_none() || claim.port.map(NonZeroU16::get) == port);
            strongest(wanted.map(|claim| claim.route)).map(Arc::new)
        };
        Self { named: named.into_iter().filter_map(|port| Some((port, of(Some(port))?))).collect(), other: of(None) }
    }

    fn of(&self, port: u16) -> Option<&Arc<RouteTable>> {
        self.named.get(&port).or(self.other.as_ref())
    }
}

/// The table of the kind that comes before the others.
fn strongest<'r>(routes: impl Iterator<Item = &'r Arc<Rule>> + Clone) -> Option<RouteTable> {
    let kind = routes.clone().filter_map(|route| RouteKind::of(route)).min()?;
    RouteTable::build(kind, routes.map(Arc::clone))
}

/// The Services that a route is for; none for what is no route.
fn parents_of(rule: &Rule) -> &[ParentRef] {
    match &rule.spec {
        Spec::HttpRoute(route) => &route.parent_refs,
        Spec::GrpcRoute(route) => &route.parent_refs,
        Spec::TlsRoute(route) => &route.parent_refs,
        Spec::TcpRoute(route) => &route.parent_refs,
        _ => &[],
    }
}

fn parent_service(rule: &Rule, parent: &ParentRef) -> ServiceName {
    ServiceName::referred(&rule.key.name.namespace, parent.namespace.as_deref(), &parent.name)
}
