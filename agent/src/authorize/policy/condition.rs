//! Under which conditions: the entries of `when`.

use super::{
    TokenFacts,
    address::is_within,
    question::{Question, none_of, one_of},
};
use crate::rules::{
    authorization_policy::{AddressAttribute, Condition, TextAttribute, Values},
    value::StringMatch,
};

/// A list of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConditionField {
    Values,
    NotValues,
}

impl Question<'_> {
    /// The first list that is not met.
    pub(super) fn unmet_of_condition(&self, condition: &Condition) -> Option<ConditionField> {
        if self.is_out_of_sight(condition.is_of_requests()) {
            return None;
        }
        match condition {
            Condition::Text(attribute, values) => unmet(values, |wanted| self.has_text(attribute, wanted)),
            Condition::Address(attribute, values) => {
                let address = match attribute {
                    AddressAttribute::Source => self.facts.source,
                    AddressAttribute::Remote => self.facts.remote,
                    AddressAttribute::Destination => self.facts.destination.ip(),
                };
                unmet(values, |network| is_within(network, address))
            }
            Condition::ServiceAccount(values) => unmet(values, |wanted| self.has_account(wanted)),
            Condition::Port(values) => unmet(values, |port| self.has_port(*port)),
        }
    }

    fn has_text(&self, attribute: &TextAttribute, wanted: &StringMatch) -> bool {
        match attribute {
            TextAttribute::SourcePrincipal => self.has_principal(wanted),
            TextAttribute::SourceNamespace => self.has_namespace(wanted),
            TextAttribute::ConnectionSni => self.facts.sni.is_some_and(|name| wanted.matches(name)),
            TextAttribute::RequestPrincipal => self.has_request_principal(wanted),
            TextAttribute::RequestAudiences => self.has_claim(&["aud"], wanted),
            TextAttribute::RequestPresenter => self.has_claim(&["azp"], wanted),
            TextAttribute::RequestClaim(path) => self.has_claim(path, wanted),
            TextAttribute::RequestHeader(name) => {
                let is_wanted = |value: &[u8]| wanted.matches_bytes(value);
                self.facts.request.is_some_and(|request| request.header(name).any(is_wanted))
            }
        }
    }

    fn has_claim(&self, path: &[impl AsRef<str>], wanted: &StringMatch) -> bool {
        let token: Option<TokenFacts<'_>> = self.facts.request.and_then(|request| request.token);
        token.is_some_and(|token| token.has_claim(path, |text| wanted.matches(text)))
    }
}

fn unmet<T>(values: &Values<T>, is_met: impl Fn(&T) -> bool) -> Option<ConditionField> {
    if !one_of(&values.values, &is_met) {
        return Some(ConditionField::Values);
    }
    (!none_of(&values.not_values, &is_met)).then_some(ConditionField::NotValues)
}
