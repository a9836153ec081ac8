//! What a flow does not tell, and policies bent so that it does not matter: once so that as much as possible is allowed, and
//! once so that as much as possible is refused. Where both come to the same, so does every policy in between, the real one
//! among them.
//!
//! A rule matches more often without a condition, and never when it is not there. So of what is not told, conditions are left
//! out of rules that are to match, and rules out of policies that are not.

use std::sync::Arc;

use crate::{
    mesh::Policy,
    observe::{CUT, Flow, FlowClient},
    rules::authorization_policy::{AccessRule, Action, AddressAttribute, Condition, Operation, Source, TextAttribute},
};

/// What a flow does not tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unseen {
    /// Headers and tokens: of a request.
    of_request: bool,
    /// The client's address: of one that proved who it is.
    address: bool,
    /// The whole path: of one that was cut.
    path: bool,
}

/// To which side policies are bent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bent {
    ToAllow,
    ToRefuse,
}

impl Unseen {
    pub(super) fn of(flow: &Flow) -> Self {
        let request = flow.request.as_ref();
        Self {
            of_request: request.is_some(),
            address: matches!(flow.client, FlowClient::Identity(_)),
            path: request.is_some_and(|request| request.path.ends_with(CUT)),
        }
    }

    pub(super) fn bent(self, policies: &[&Policy], bent: Bent) -> Vec<Policy> {
        policies.iter().map(|policy| self.bent_policy(policy, bent)).collect()
    }

    fn bent_policy(self, policy: &Policy, bent: Bent) -> Policy {
        let matches_more = match policy.spec.action {
            Action::Allow => bent == Bent::ToAllow,
            Action::Deny => bent == Bent::ToRefuse,
            Action::Audit => return policy.clone(),
        };
        let rules = policy.spec.rules.iter();
        let rules: Vec<AccessRule> = match matches_more {
            true => rules.map(|rule| self.without_conditions(rule)).collect(),
            false => rules.filter_map(|rule| self.without_entries(rule)).collect(),
        };
        let mut spec = (*policy.spec).clone();
        spec.rules = rules;
        Policy { spec: Arc::new(spec), ..policy.clone() }
    }

    /// Matches whenever the rule could.
    fn without_conditions(self, rule: &AccessRule) -> AccessRule {
        let mut rule = rule.clone();
        rule.when.retain(|condition| !self.hides(condition));
        rule.from.iter_mut().for_each(|from| from.source = self.seen_source(&from.source));
        rule.to.iter_mut().for_each(|to| to.operation = self.seen_operation(&to.operation));
        // One that asks for nothing any more matches everything; written out, an empty entry would be none.
        if rule.from.iter().any(|from| from.source == Source::default()) {
            rule.from.clear();
        }
        if rule.to.iter().any(|to| to.operation == Operation::default()) {
            rule.to.clear();
        }
        rule
    }

    /// Matches only where the rule does, whatever is not told; `None` where that is nowhere.
    fn without_entries(self, rule: &AccessRule) -> Option<AccessRule> {
        let mut rule = rule.clone();
        if rule.when.iter().any(|condition| self.hides(condition)) {
            return None;
        }
        let (had_from, had_to) = (!rule.from.is_empty(), !rule.to.is_empty());
        rule.from.retain(|from| self.seen_source(&from.source) == from.source);
        rule.to.retain(|to| self.seen_operation(&to.operation) == to.operation);
        let is_empty = (had_from && rule.from.is_empty()) || (had_to && rule.to.is_empty());
        (!is_empty).then_some(rule)
    }

    fn hides(self, condition: &Condition) -> bool {
        match condition {
            Condition::Text(attribute, _) => match attribute {
                TextAttribute::RequestHeader(_)
                | TextAttribute::RequestPrincipal
                | TextAttribute::RequestAudiences
                | TextAttribute::RequestPresenter
                | TextAttribute::RequestClaim(_) => self.of_request,
                TextAttribute::SourceNamespace | TextAttribute::SourcePrincipal => false,
                // No connection tells one to policies.
                TextAttribute::ConnectionSni => false,
            },
            Condition::Address(AddressAttribute::Source | AddressAttribute::Remote, _) => self.address,
            // Any pod of the workload was meant.
            Condition::Address(AddressAttribute::Destination, _) => true,
            Condition::ServiceAccount(_) | Condition::Port(_) => false,
        }
    }

    fn seen_source(self, source: &Source) -> Source {
        let mut seen = source.clone();
        if self.of_request {
            seen.request_principals.clear();
            seen.not_request_principals.clear();
        }
        if self.address {
            for blocks in [
                &mut seen.ip_blocks,
                &mut seen.not_ip_blocks,
                &mut seen.remote_ip_blocks,
                &mut seen.not_remote_ip_blocks,
            ] {
                blocks.clear();
            }
        }
        seen
    }

    fn seen_operation(self, operation: &Operation) -> Operation {
        let mut seen = operation.clone();
        if self.path {
            seen.paths.clear();
            seen.not_paths.clear();
        }
        seen
    }

    /// Whether a policy asks for what is not told.
    pub(super) fn is_asked_for_by(self, policy: &Policy) -> bool {
        policy.spec.rules.iter().any(|rule| self.without_conditions(rule) != *rule)
    }

    /// Why a verdict cannot be told: the policies that ask for what is not told.
    pub(super) fn why(self, policies: &[&Policy]) -> String {
        let names: Vec<String> = policies
            .iter()
            .filter(|policy| self.is_asked_for_by(policy))
            .map(|policy| format!("AuthorizationPolicy {}", policy.name))
            .collect();
        format!(
            "it depends on what is not recorded (headers, tokens, addresses of proven clients, cut paths): {}",
            names.join(", ")
        )
    }
}
