//! Whether the rules of one policy match.

use super::Facts;
use crate::{
    identify::TrustDomains,
    mesh::Policy,
    rules::authorization_policy::{AccessRule, Action, RuleFrom, RuleTo},
};

/// A policy, and what it is asked about.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) policy: &'a Policy,
    pub(super) domains: &'a TrustDomains,
    pub(super) facts: &'a Facts<'a>,
}

impl Question<'_> {
    /// The first rule that matches.
    pub(super) fn first_match(&self) -> Option<usize> {
        self.policy.spec.rules.iter().position(|rule| self.matches(rule))
    }

    fn matches(&self, rule: &AccessRule) -> bool {
        let from = |from: &RuleFrom| self.unmet_of_source(&from.source).is_none();
        let to = |to: &RuleTo| self.unmet_of_operation(&to.operation).is_none();
        self.may_match(rule)
            && one_of(&rule.from, from)
            && one_of(&rule.to, to)
            && rule.when.iter().all(|condition| self.unmet_of_condition(condition).is_none())
    }

    /// Whether a rule can match at all: only DENY matches what it cannot inspect, only ALLOW what it will be able to.
    pub(super) fn may_match(&self, rule: &AccessRule) -> bool {
        let blind = if self.facts.requests_follow { Action::Allow } else { Action::Deny };
        self.facts.request.is_some() || self.policy.spec.action == blind || !rule.asks_of_requests()
    }

    /// Whether what is asked of a request is taken for met, because there is none to look at. Only rules that may match
    /// without one get there.
    pub(super) fn is_out_of_sight(&self, is_of_requests: bool) -> bool {
        is_of_requests && self.facts.request.is_none()
    }
}

/// Whether one entry is met; a list without entries asks nothing.
pub(super) fn one_of<T>(list: &[T], is_met: impl Fn(&T) -> bool) -> bool {
    list.is_empty() || list.iter().any(is_met)
}

/// Whether no entry is met. What is absent meets none.
pub(super) fn none_of<T>(list: &[T], is_met: impl Fn(&T) -> bool) -> bool {
    !list.iter().any(is_met)
}
