//! RateLimits, as the data path asks for them: those of a pod, of a Service, and by name, as routes do.
//!
//! In: the rules in force, as they change. Out: the limits that a request must keep, all of them. They are counted in
//! `authorize`.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    ServiceName, Workload,
    by_selector::Selects,
    for_workloads::{Document, ForWorkloads},
};
use crate::{
    objects::ObjectName,
    rules::{
        Rule, Spec,
        rate_limit::{Limit, LimitScope, RateLimit},
        value::Selector,
    },
};

/// A RateLimit in force. A copy shares it.
#[derive(Clone, Debug, PartialEq)]
pub struct AppliedLimits {
    /// The document.
    pub document: ObjectName,
    /// A request must keep all of them.
    pub limits: Arc<[Limit]>,
}

impl AppliedLimits {
    fn new(rule: &Rule, spec: &RateLimit) -> Self {
        Self { document: rule.key.name.clone(), limits: spec.limits.as_slice().into() }
    }
}

/// One that selects pods.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OfPods {
    selector: Selector,
    applied: AppliedLimits,
}

impl Document for OfPods {
    fn of(rule: &Rule) -> Option<Self> {
        match &rule.spec {
            Spec::RateLimit(spec @ RateLimit { scope: LimitScope::Workloads(selector), .. }) => {
                Some(Self { selector: selector.clone(), applied: AppliedLimits::new(rule, spec) })
            }
            _ => None,
        }
    }

    fn name(&self) -> &ObjectName {
        &self.applied.document
    }
}

impl Selects for OfPods {
    fn selector(&self) -> &Selector {
        &self.selector
    }
}

/// All of them. A copy shares what is the same.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RateLimits {
    pods: ForWorkloads<OfPods>,
    services: imbl::OrdMap<ServiceName, Arc<BTreeMap<ObjectName, AppliedLimits>>>,
    named: imbl::OrdMap<ObjectName, AppliedLimits>,
}

impl RateLimits {
    /// None yet.
    pub(super) fn new(root_namespace: Arc<str>) -> Self {
        Self { pods: ForWorkloads::new(root_namespace), ..Self::default() }
    }

    /// Takes over that a rule was this, and is that now. Rules of other kinds are passed over.
    pub(super) fn replace(&mut self, before: Option<&Rule>, now: Option<&Rule>) {
        self.pods.replace(before, now);
        if let Some((rule, spec)) = before.and_then(limit) {
            self.named.remove(&rule.key.name);
            for service in services(rule, spec) {
                self.change(service, |limits| drop(limits.remove(&rule.key.name)));
            }
        }
        if let Some((rule, spec)) = now.and_then(limit) {
            let applied = AppliedLimits::new(rule, spec);
            for service in services(rule, spec) {
                self.change(service, |limits| drop(limits.insert(rule.key.name.clone(), applied.clone())));
            }
            self.named.insert(rule.key.name.clone(), applied);
        }
    }

    fn change(&mut self, service: ServiceName, change: impl FnOnce(&mut BTreeMap<ObjectName, AppliedLimits>)) {
        let mut limits = self.services.get(&service).map(|limits| BTreeMap::clone(limits)).unwrap_or_default();
        change(&mut limits);
        match limits.is_empty() {
            true => drop(self.services.remove(&service)),
            false => drop(self.services.insert(service, Arc::new(limits))),
        }
    }

    /// Those that select a pod: those for the whole mesh first, then by name.
    pub(super) fn of_workload(&self, workload: &Workload) -> Vec<&AppliedLimits> {
        self.pods.of(workload).into_iter().map(|document| &document.applied).collect()
    }

    /// Those whose `targetRefs` name a Service, by name.
    pub(super) fn of_service(&self, service: &ServiceName) -> impl Iterator<Item = &AppliedLimits> {
        self.services.get(service).into_iter().flat_map(|limits| limits.values())
    }

    /// The one of this name, whatever else it is for.
    pub(super) fn named(&self, name: &ObjectName) -> Option<&AppliedLimits> {
        self.named.get(name)
    }
}

fn limit(rule: &Rule) -> Option<(&Rule, &RateLimit)> {
    match &rule.spec {
        Spec::RateLimit(spec) => Some((rule, spec)),
        _ => None,
    }
}

/// The Services that a document names; they are of its namespace.
fn services(rule: &Rule, spec: &RateLimit) -> Vec<ServiceName> {
    let LimitScope::Services(targets) = &spec.scope else { return Vec::new() };
    targets.iter().map(|target| ServiceName::referred(&rule.key.name.namespace, None, &target.name)).collect()
}
