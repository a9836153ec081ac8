//! Fallbacks by the Service ports that they are for. One that names a port comes before one for all ports; of several for the
//! same, the oldest counts alone.
//!
//! Whether the Service that takes over is there is looked up when somebody asks, as that of a backendRef is.

use std::{fmt, num::NonZeroU16, sync::Arc};

use super::{ServiceKind, ServiceName, Snapshot, by_age::OldestOf};
use crate::{
    objects::ObjectName,
    rules::{Rule, RuleKey, Spec, fallback::Fallback},
};

/// The Service port that takes over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakesOver {
    /// The Service.
    pub service: ServiceName,
    /// Its port.
    pub port: NonZeroU16,
}

/// What a Fallback is for: a port of a Service, or all that no other names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    service: ServiceName,
    port: Option<u16>,
}

/// All of them. A copy shares what is the same.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fallbacks(OldestOf<Target, TakesOver>);

impl Fallbacks {
    /// Takes over that a rule was this, and is that now. Rules of other kinds are passed over.
    pub(super) fn replace(&mut self, before: Option<&Rule>, now: Option<&Rule>) {
        if let Some((rule, Spec::Fallback(spec))) = before.map(|rule| (rule, &rule.spec)) {
            targets(rule, spec).iter().for_each(|target| self.0.remove(target, rule));
        }
        if let Some((rule, Spec::Fallback(spec))) = now.map(|rule| (rule, &rule.spec)) {
            let takes_over = Arc::new(takes_over(rule, spec));
            targets(rule, spec).into_iter().for_each(|target| self.0.insert(target, rule, Arc::clone(&takes_over)));
        }
    }

    /// Who takes over from a port of a Service.
    fn of(&self, service: &ServiceName, port: u16) -> Option<&Arc<TakesOver>> {
        // Nearly always there are none.
        if self.0.is_empty() {
            return None;
        }
        let target = |port| Target { service: service.clone(), port };
        self.0.get(&target(Some(port))).or_else(|| self.0.get(&target(None)))
    }

    /// The document that counts for a target.
    pub(super) fn winner(&self, target: &Target) -> Option<&ObjectName> {
        self.0.winner(target)
    }
}

/// What a document is for, in its order; the Services are of its namespace.
pub(super) fn targets(rule: &Rule, spec: &Fallback) -> Vec<Target> {
    let service = |name: &str| ServiceName::referred(&rule.key.name.namespace, None, name);
    let target = |target: &crate::rules::fallback::Target| Target {
        service: service(&target.name),
        port: target.port.map(NonZeroU16::get),
    };
    spec.target_refs.iter().map(target).collect()
}

fn takes_over(rule: &Rule, spec: &Fallback) -> TakesOver {
    let reference = &spec.backend_ref;
    let service = ServiceName::referred(&rule.key.name.namespace, reference.namespace.as_deref(), &reference.name);
    TakesOver { service, port: reference.port }
}

/// A Fallback from which nobody takes over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FallbackProblem {
    /// The document.
    pub document: RuleKey,
    /// Who should.
    pub takes_over: TakesOver,
    /// Why not.
    pub why: Dangling,
}

/// Why a Service port cannot take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dangling {
    /// There is no such Service.
    NoService,
    /// It is another name, and has no endpoints.
    ExternalName,
    /// It has no such port.
    NoPort,
}

impl Snapshot {
    /// Who takes over from a port of a Service that cannot serve, whether that is there or not.
    pub fn fallback(&self, service: &ServiceName, port: u16) -> Option<&TakesOver> {
        self.fallbacks.of(service, port).map(AsRef::as_ref)
    }

    /// Fallbacks that lead nowhere, ordered by document.
    pub fn fallback_problems(&self) -> Vec<FallbackProblem> {
        self.rules().values().filter_map(|rule| self.fallback_problem(rule)).collect()
    }

    fn fallback_problem(&self, rule: &Rule) -> Option<FallbackProblem> {
        let Spec::Fallback(spec) = &rule.spec else { return None };
        let takes_over = takes_over(rule, spec);
        let why = self.dangling(&takes_over)?;
        Some(FallbackProblem { document: rule.key.clone(), takes_over, why })
    }

    fn dangling(&self, takes_over: &TakesOver) -> Option<Dangling> {
        let Some(service) = self.service(&takes_over.service) else { return Some(Dangling::NoService) };
        let has_port = service.ports.iter().any(|port| port.port == takes_over.port.get());
        match service.kind {
            ServiceKind::ExternalName => Some(Dangling::ExternalName),
            // Its ports are known by its endpoints.
            ServiceKind::Headless if service.ports.is_empty() => None,
            ServiceKind::Headless | ServiceKind::ClusterIp => (!has_port).then_some(Dangling::NoPort),
        }
    }
}

impl fmt::Display for FallbackProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { document, takes_over: TakesOver { service, port }, why } = self;
        write!(f, "{document}: spec.backendRef: ")?;
        match why {
            Dangling::NoService => write!(f, "there is no Service {service}")?,
            Dangling::ExternalName => write!(f, "Service {service} is of type ExternalName and has no endpoints")?,
            Dangling::NoPort => write!(f, "Service {service} has no TCP port {port}")?,
        }
        f.write_str(", so nobody takes over")
    }
}

impl fmt::Display for TakesOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.service, self.port)
    }
}
