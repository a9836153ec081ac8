//! AuthorizationPolicies, as decisions read them. What they decide is decided in `authorize`.

use std::sync::Arc;

use super::{
    by_selector::Selects,
    for_workloads::{Document, ForWorkloads},
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

/// All of them, by the workloads that they protect.
pub(super) type Policies = ForWorkloads<Policy>;

impl Document for Policy {
    fn of(rule: &Rule) -> Option<Self> {
        let Spec::AuthorizationPolicy(spec) = &rule.spec else { return None };
        let is_dry_run = is_dry_run(&rule.annotations);
        Some(Self { name: rule.key.name.clone(), is_dry_run, spec: Arc::clone(spec) })
    }

    fn name(&self) -> &ObjectName {
        &self.name
    }
}

impl Selects for Policy {
    fn selector(&self) -> &Selector {
        &self.spec.selector
    }
}
