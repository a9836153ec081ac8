//! RequestAuthentications, as the check of tokens reads them. What they demand is checked in `authorize`.

use std::sync::Arc;

use super::{
    by_selector::Selects,
    for_workloads::{Document, ForWorkloads},
};
use crate::{
    objects::ObjectName,
    rules::{Rule, Spec, request_authentication::JwtRule, value::Selector},
};

/// One rule of a document. A copy shares it.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenRule {
    document: ObjectName,
    index: usize,
    rule: Arc<JwtRule>,
}

/// A RequestAuthentication in force.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TokenDocument {
    name: ObjectName,
    selector: Selector,
    rules: Arc<[TokenRule]>,
}

/// All of them, by the workloads whose requests they are about.
pub(super) type TokenDocuments = ForWorkloads<TokenDocument>;

impl TokenRule {
    /// The RequestAuthentication.
    pub fn document(&self) -> &ObjectName {
        &self.document
    }

    /// Its place in `jwtRules`.
    pub fn index(&self) -> usize {
        self.index
    }

    /// What it says.
    pub fn rule(&self) -> &JwtRule {
        &self.rule
    }
}

impl TokenDocument {
    /// Its rules, in their order.
    pub(super) fn rules(&self) -> impl Iterator<Item = TokenRule> {
        self.rules.iter().cloned()
    }
}

impl Document for TokenDocument {
    fn of(rule: &Rule) -> Option<Self> {
        let Spec::RequestAuthentication(spec) = &rule.spec else { return None };
        let name = &rule.key.name;
        let token_rule = |(index, rule): (usize, &JwtRule)| TokenRule {
            document: name.clone(),
            index,
            rule: Arc::new(rule.clone()),
        };
        let rules = spec.jwt_rules.iter().enumerate().map(token_rule).collect();
        Some(Self { name: name.clone(), selector: spec.selector.clone(), rules })
    }

    fn name(&self) -> &ObjectName {
        &self.name
    }
}

impl Selects for TokenDocument {
    fn selector(&self) -> &Selector {
        &self.selector
    }
}
