//! XBackendTrafficPolicies by the Services that they are for. Of several for one Service the oldest counts alone.

use std::sync::Arc;

use super::{ServiceName, by_age::OldestOf};
use crate::{
    objects::ObjectName,
    rules::{Rule, Spec, backend_traffic_policy::BackendTrafficPolicy},
};

/// All of them. A copy shares what is the same.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct BackendPolicies(OldestOf<ServiceName, BackendTrafficPolicy>);

impl BackendPolicies {
    /// Takes over that a rule was this, and is that now. Rules of other kinds are passed over.
    pub(super) fn replace(&mut self, before: Option<&Rule>, now: Option<&Rule>) {
        if let Some((rule, Spec::BackendTrafficPolicy(spec))) = before.map(|rule| (rule, &rule.spec)) {
            targets(rule, spec).iter().for_each(|service| self.0.remove(service, rule));
        }
        if let Some((rule, Spec::BackendTrafficPolicy(spec))) = now.map(|rule| (rule, &rule.spec)) {
            let shared = Arc::new(spec.clone());
            targets(rule, spec).into_iter().for_each(|service| self.0.insert(service, rule, Arc::clone(&shared)));
        }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The policy for a Service.
    pub(super) fn of(&self, service: &ServiceName) -> Option<&Arc<BackendTrafficPolicy>> {
        self.0.get(service)
    }

    /// Its name.
    pub(super) fn winner(&self, service: &ServiceName) -> Option<&ObjectName> {
        self.0.winner(service)
    }
}

/// The Services that a policy names, in its order; they are of its namespace.
pub(super) fn targets(rule: &Rule, spec: &BackendTrafficPolicy) -> Vec<ServiceName> {
    let service = |target: &str| ServiceName::referred(&rule.key.name.namespace, None, target);
    spec.target_refs.iter().map(|target| service(&target.name)).collect()
}
