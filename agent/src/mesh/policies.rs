//! AuthorizationPolicies by the workloads that they protect.
//!
//! In: the AuthorizationPolicies in force, as they change. Out: those that select a workload. What they decide is decided
//! in `authorize`.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Workload,
    by_selector::{BySelector, Selects},
};
use crate::{
    objects::ObjectName,
    rules::{
        Rule, Spec,
        authorization_policy::{AuthorizationPolicy, is_dry_run},
        value::Selector,
    },
};

/// An AuthorizationPolicy in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its namespace, in which service accounts without one are, and its name.
    pub name: ObjectName,
    /// Whether it is on trial: evaluated and counted, without deciding.
    pub is_dry_run: bool,
    /// What it says.
    pub spec: Arc<AuthorizationPolicy>,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Policies {
    root_namespace: Arc<str>,
    by_selector: BySelector<Policy>,
}

impl Policies {
    /// None yet. Those of the root namespace are for the pods of all namespaces.
    pub(super) fn new(root_namespace: Arc<str>) -> Self {
        Self { root_namespace, ..Self::default() }
    }

    /// Takes over that a rule was this, and is that now. Rules of other kinds are passed over.
    pub(super) fn replace(&mut self, before: Option<&Rule>, now: Option<&Rule>) {
        if let Some(policy) = before.and_then(Policy::of) {
            self.by_selector.remove(&policy.name, policy.selector());
        }
        if let Some(policy) = now.and_then(Policy::of) {
            self.by_selector.insert(&policy.name.clone(), policy);
        }
    }

    /// Those that select a workload: those for the whole mesh first, then by name.
    pub(super) fn of(&self, workload: &Workload) -> Vec<&Policy> {
        let mut found: Vec<&Policy> = self.by_selector.select(&self.root_namespace, &workload.labels).collect();
        if workload.namespace != self.root_namespace {
            found.extend(self.by_selector.select(&workload.namespace, &workload.labels));
        }
        found.sort_unstable_by_key(|policy| (policy.name.namespace != self.root_namespace, &policy.name));
        found
    }
}

#[cfg(test)]
impl Policies {
    /// Whether nothing is kept, of what has gone either.
    pub(super) fn is_empty(&self) -> bool {
        self.by_selector.is_empty()
    }
}

/// The same policies are equal, in whatever order they came. The root namespace is one and the same for a process.
impl PartialEq for Policies {
    fn eq(&self, other: &Self) -> bool {
        let by_name = |policies: &Self| -> BTreeMap<ObjectName, Policy> {
            policies.by_selector.iter().map(|policy| (policy.name.clone(), policy.clone())).collect()
        };
        by_name(self) == by_name(other)
    }
}

impl Policy {
    /// `None` of a rule of another kind.
    fn of(rule: &Rule) -> Option<Self> {
        let Spec::AuthorizationPolicy(spec) = &rule.spec else { return None };
        let is_dry_run = is_dry_run(&rule.annotations);
        Some(Self { name: rule.key.name.clone(), is_dry_run, spec: Arc::clone(spec) })
    }
}

impl Selects for Policy {
    fn selector(&self) -> &Selector {
        &self.spec.selector
    }
}
