//! Parents for which a route does nothing, and why.
//!
//! In: a snapshot. Out: each such parent of each route with the reason, for `heddle status`, and for `heddle check`, which
//! asks the same question of files. Nothing is kept: what depends on Services is looked up when somebody asks.

use std::fmt;

use super::{RouteKind, parent_service, parents_of};
use crate::{
    mesh::{ServiceKind, ServiceName, Snapshot},
    rules::{Rule, RuleKey, gateway::ParentRef},
};

/// A parent of a route for which the route does nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentProblem {
    /// The route.
    pub route: RuleKey,
    /// Which of its `parentRefs`, from 0.
    pub index: usize,
    /// Why.
    pub refusal: ParentRefusal,
}

/// Why a route does nothing for a parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParentRefusal {
    /// There is no such Service.
    NoService(ServiceName),
    /// It is another name, and has no address.
    ExternalName(ServiceName),
    /// Clients dial its pods, and no address of its own.
    Headless(ServiceName),
    /// It has no such port.
    NoPort {
        /// The Service.
        service: ServiceName,
        /// The port that the parent names.
        port: u16,
        /// The TCP ports that it has.
        known: Vec<u16>,
    },
    /// Routes of a kind that comes first decide there.
    Outranked {
        /// The kind of the route that loses.
        kind: RouteKind,
        /// Of those that win, the oldest.
        winner: RuleKey,
        /// Where.
        scope: Scope,
        /// The Service.
        service: ServiceName,
    },
}

/// Ports of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This one.
    Port(u16),
    /// All that no route names by itself.
    OtherPorts,
}

impl Snapshot {
    /// Parents for which routes do nothing, ordered by route.
    pub fn route_problems(&self) -> Vec<ParentProblem> {
        self.rules().values().flat_map(|rule| self.parent_problems(rule)).collect()
    }

    /// Those of one route.
    pub fn parent_problems(&self, rule: &Rule) -> Vec<ParentProblem> {
        let of_parent = |(index, parent): (usize, &ParentRef)| {
            let problem = move |refusal| ParentProblem { route: rule.key.clone(), index, refusal };
            match self.unfit(rule, parent) {
                Some(refusal) => vec![problem(refusal)],
                None => self.outranked(rule, parent).into_iter().map(problem).collect(),
            }
        };
        parents_of(rule).iter().enumerate().flat_map(of_parent).collect()
    }

    fn unfit(&self, rule: &Rule, parent: &ParentRef) -> Option<ParentRefusal> {
        let name = parent_service(rule, parent);
        let Some(service) = self.service(&name) else { return Some(ParentRefusal::NoService(name)) };
        match service.kind {
            ServiceKind::ExternalName => return Some(ParentRefusal::ExternalName(name)),
            ServiceKind::Headless => return Some(ParentRefusal::Headless(name)),
            ServiceKind::ClusterIp => {}
        }
        let port = parent.port?.get();
        let mut known: Vec<u16> = service.ports.iter().map(|port| port.port).collect();
        known.sort_unstable();
        known.dedup();
        (!known.contains(&port)).then_some(ParentRefusal::NoPort { service: name, port, known })
    }

    fn outranked(&self, rule: &Rule, parent: &ParentRef) -> Vec<ParentRefusal> {
        let Some(kind) = RouteKind::of(rule) else { return Vec::new() };
        let refusal = |(port, table): (Option<u16>, &std::sync::Arc<super::RouteTable>)| {
            let winner = table.routes().first().filter(|_| table.kind() != kind)?.key.clone();
            let scope = port.map_or(Scope::OtherPorts, Scope::Port);
            Some(ParentRefusal::Outranked { kind, winner, scope, service: parent_service(rule, parent) })
        };
        self.routes().tables_for(rule, parent).into_iter().filter_map(refusal).collect()
    }
}

impl fmt::Display for ParentProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: spec.parentRefs[{}]: {}", self.route, self.index, self.refusal)
    }
}

impl fmt::Display for ParentRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoService(service) => write!(f, "there is no Service {service}, so the route is for nothing"),
            Self::ExternalName(service) => {
                write!(f, "Service {service} is of type ExternalName and cannot be a parent: it has no address")
            }
            // What no API server has seen yet may have no address yet: files cannot tell the two apart.
            Self::Headless(service) => write!(
                f,
                "Service {service} has no clusterIP: if it is headless it cannot be a parent, since clients dial its pods"
            ),
            Self::NoPort { service, port, known } => {
                let known: Vec<String> = known.iter().map(u16::to_string).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                write!(f, "Service {service} has no TCP port {port} (it has {known}), so the route is for nothing")
            }
            Self::Outranked { kind, winner, scope, service } => write!(
                f,
                "{winner} decides over {scope} of Service {service}, where no {kind} counts beside it; remove one of the two"
            ),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => write!(f, "port {port}"),
            Self::OtherPorts => f.write_str("the ports that no route names"),
        }
    }
}

impl fmt::Display for RouteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Grpc => "GRPCRoute",
            Self::Http => "HTTPRoute",
            Self::Tls => "TLSRoute",
            Self::Tcp => "TCPRoute",
        })
    }
}
