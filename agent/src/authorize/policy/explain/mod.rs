//! Why a decision is as it is: every policy that selects the workload, every rule, and of each rule that does not match the
//! first field that is not met, with what was found and what was wanted.
//!
//! For people who ask; connections are decided by [`decide`](super::decide), which makes none of this. Both ask the same
//! questions of the same rules.

mod found;
mod text;

use serde::Serialize;

use super::{Decision, Facts, Ruling, Verdict, condition::ConditionField, decision::Tally, question::Question};
use crate::{
    identify::TrustDomains,
    mesh::Policy,
    rules::authorization_policy::{AccessRule, Action, Condition, Operation, Source},
};

/// A decision with its reasons. It serializes to JSON and displays as lines of text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The answer.
    pub verdict: Verdict,
    /// It in words, with the rule that decided.
    pub decision: String,
    /// What it would be if the policies on trial were in force; `None` where none of them selects the workload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_trial: Option<String>,
    /// The policies that select the workload, in order.
    pub policies: Vec<ExplainedPolicy>,
}

/// One policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedPolicy {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What a match means.
    pub action: Action,
    /// Whether it is on trial.
    pub dry_run: bool,
    /// The first rule that matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matches: Option<usize>,
    /// Every rule.
    pub rules: Vec<ExplainedRule>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainedRule {
    /// Whether it matches.
    pub matches: bool,
    /// Why not: of each of its sources, else of each of its operations, else of one condition, what is not met. Empty if
    /// it matches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unmet: Vec<Unmet>,
    /// What was taken for met without looking: what a DENY rule asks of requests, where there is none to look at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<String>,
}

/// A part of a rule that is not met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unmet {
    /// Where, such as `from[0].source.principals`.
    pub field: String,
    /// What the connection or request has.
    pub found: String,
    /// What the rule asks for.
    pub wanted: String,
}

/// Explains what [`decide`](super::decide) says of the same.
pub fn explain(policies: &[&Policy], domains: &TrustDomains, facts: &Facts<'_>) -> Explanation {
    let question = |policy| Question { policy, domains, facts };
    let explained: Vec<_> = policies.iter().map(|policy| question(*policy).explained()).collect();
    let mut tally = Tally::default();
    for (policy, explained) in policies.iter().copied().zip(&explained) {
        tally.add(policy, explained.matches);
    }
    let Decision { ruling, on_trial, hits: _ } = tally.into();
    Explanation {
        verdict: ruling.verdict(),
        decision: ruling.to_string(),
        on_trial: on_trial.as_ref().map(Ruling::to_string),
        policies: explained,
    }
}

impl Question<'_> {
    fn explained(&self) -> ExplainedPolicy {
        let Policy { name, is_dry_run, spec } = self.policy;
        let rules: Vec<_> = spec.rules.iter().map(|rule| self.explained_rule(rule)).collect();
        ExplainedPolicy {
            namespace: name.namespace.to_string(),
            name: name.name.to_string(),
            action: spec.action,
            dry_run: *is_dry_run,
            matches: rules.iter().position(|rule| rule.matches),
            rules,
        }
    }

    fn explained_rule(&self, rule: &AccessRule) -> ExplainedRule {
        let asked = || if self.facts.request.is_none() { rule.asked_of_requests() } else { Vec::new() };
        let unmet = match self.may_match(rule) {
            true => self.unmet(rule),
            false => asked().into_iter().map(out_of_sight).collect(),
        };
        let unseen = if unmet.is_empty() { asked() } else { Vec::new() };
        ExplainedRule { matches: unmet.is_empty(), unmet, unseen }
    }

    fn unmet(&self, rule: &AccessRule) -> Vec<Unmet> {
        let from = rule.from.iter().enumerate().map(|(index, from)| self.unmet_source(index, &from.source));
        let to = rule.to.iter().enumerate().map(|(index, to)| self.unmet_operation(index, &to.operation));
        let mut when = rule.when.iter().enumerate();
        unless_one_is_met(from)
            .or_else(|| unless_one_is_met(to))
            .or_else(|| {
                when.find_map(|(index, condition)| self.unmet_condition(index, condition)).map(|unmet| vec![unmet])
            })
            .unwrap_or_default()
    }

    fn unmet_source(&self, index: usize, source: &Source) -> Option<Unmet> {
        let field = self.unmet_of_source(source)?;
        let path = format!("from[{index}].source.{}", field.as_str());
        Some(unmet(path, field.as_str(), self.found_of_source(field), &field.entries(source)))
    }

    fn unmet_operation(&self, index: usize, operation: &Operation) -> Option<Unmet> {
        let field = self.unmet_of_operation(operation)?;
        let path = format!("to[{index}].operation.{}", field.as_str());
        Some(unmet(path, field.as_str(), self.found_of_operation(field), &field.entries(operation)))
    }

    fn unmet_condition(&self, index: usize, condition: &Condition) -> Option<Unmet> {
        let field = self.unmet_of_condition(condition)?;
        let [values, not_values] = condition.entries();
        let (name, entries) = match field {
            ConditionField::Values => ("values", values),
            ConditionField::NotValues => ("notValues", not_values),
        };
        let path = format!("when[{index}].{name} of {}", condition.key());
        Some(unmet(path, name, self.found_of_condition(condition), &entries))
    }
}

/// What is not met of each entry; `None` if one of them is met, or there is none.
fn unless_one_is_met(entries: impl Iterator<Item = Option<Unmet>>) -> Option<Vec<Unmet>> {
    entries.collect::<Option<Vec<_>>>().filter(|unmet| !unmet.is_empty())
}

fn unmet(path: String, field: &str, found: String, entries: &[String]) -> Unmet {
    let quantity = if field.starts_with("not") { "none of" } else { "one of" };
    Unmet { field: path, found, wanted: format!("{quantity} {}", list(entries)) }
}

fn out_of_sight(field: String) -> Unmet {
    Unmet { field, found: "a connection that is not parsed as HTTP".to_owned(), wanted: "an HTTP request".to_owned() }
}

/// Lists of a document can be long, and a line of text should not be.
const MOST_ENTRIES: usize = 16;

fn list(entries: &[String]) -> String {
    let shown = entries.iter().take(MOST_ENTRIES).map(String::as_str).collect::<Vec<_>>().join(", ");
    match entries.len().saturating_sub(MOST_ENTRIES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
