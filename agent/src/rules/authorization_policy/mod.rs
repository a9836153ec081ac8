//! AuthorizationPolicy: who may do what with a workload.

mod condition;
mod dry_run;
mod fields;
mod operation;
mod path;
mod source;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;

use super::value::{Selector, Word as _, selector, word, words};
use crate::config::yaml::{MapReader, Value};

pub use condition::{AddressAttribute, Condition, TextAttribute, Values};
pub use dry_run::is_dry_run;
pub use fields::{OperationField, SourceField};
pub use operation::{Operation, RuleTo};
pub use path::{PathMatch, PathSegment, PathTemplate};
pub use source::{OWN_DOMAIN, RuleFrom, ServiceAccountMatch, Source};

pub(super) use dry_run::check_dry_run;

/// `security.istio.io/v1` AuthorizationPolicy.
///
/// It is evaluated at the server's node, on the pod that a connection reaches. So `targetRefs` are refused: Istio evaluates
/// them at gateways and waypoints, where the Service that was dialled is known. `CUSTOM`, and `provider` with it, is refused:
/// no outside authorizer is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuthorizationPolicy {
    /// Which pods it protects.
    #[serde(skip_serializing_if = "Selector::is_everything")]
    pub selector: Selector,
    /// What a match means.
    pub action: Action,
    /// A request matches if one of these does. Without any, nothing matches: `ALLOW` then allows nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<AccessRule>,
}

words! {
    /// What it means that a request matches an AuthorizationPolicy.
    #[derive(Default)]
    Action {
        /// It is allowed, and what matches no such policy is refused.
        #[default]
        Allow = "ALLOW",
        /// It is refused, whatever allows it.
        Deny = "DENY",
        /// It is counted and logged.
        Audit = "AUDIT",
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One rule. All three parts must match; a part that is absent matches everything, so `{}` matches every request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AccessRule {
    /// Who asks: one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<RuleFrom>,
    /// What for: one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<RuleTo>,
    /// Under which conditions: all of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<Condition>,
}

/// Reads the spec.
pub(super) fn read(spec: MapReader<'_>) -> Option<AuthorizationPolicy> {
    let selector = selector(&spec).unwrap_or_default();
    refuse_targets(&spec);
    let action = match word(&spec, "action", &["CUSTOM"]) {
        None if spec.has("action") => None,
        action => Some(action.unwrap_or_default()),
    };
    let rules: Vec<AccessRule> = spec.maps("rules").into_iter().filter_map(rule).collect();
    spec.not_enforced(&["provider"]);
    if action == Some(Action::Deny) && (!spec.has("rules") || spec.has_empty("rules")) {
        spec.complain("rules", "has no entries, and DENY denies nothing without; use {} as a rule to deny everything");
    }
    refuse_nothing(&spec);
    spec.finish();
    Some(AuthorizationPolicy { selector, action: action?, rules })
}

/// For the policies that Istio can attach to a gateway or waypoint.
pub(super) fn refuse_targets(spec: &MapReader<'_>) {
    spec.tolerate(&["targetRef", "targetRefs"]);
    for key in ["targetRef", "targetRefs"].into_iter().filter(|key| spec.has(key)) {
        spec.complain(key, "is for gateways and waypoints, and this mesh has none; use selector to choose pods");
    }
}

fn rule(map: MapReader<'_>) -> Option<AccessRule> {
    let from = map.maps("from").into_iter().filter_map(source::read).collect();
    let to = map.maps("to").into_iter().filter_map(operation::read).collect();
    let when = map.maps("when").into_iter().filter_map(condition::read).collect();
    refuse_empty(&map);
    map.finish();
    Some(AccessRule { from, to, when })
}

/// A rule that matches everything is written `{}`. One that is left over (`-` with nothing after it) was not meant so.
fn refuse_nothing(spec: &MapReader<'_>) {
    let rules = spec.values().find(|(key, _)| *key == "rules");
    let Some((_, Value::List(rules))) = rules else { return };
    for (index, _) in rules.iter().enumerate().filter(|(_, rule)| rule.value == Value::Null) {
        spec.complain("rules", format!("entry {index} is nothing; remove it, or use {{}} to match everything"));
    }
}

/// A key without entries would match everything, like one that is absent; one whose entries were taken out was not meant
/// so.
fn refuse_empty(map: &MapReader<'_>) {
    for (key, _) in map.values().filter(|(key, value)| **value == Value::Null || map.has_empty(key)) {
        map.complain(key, "is empty; remove it to match everything");
    }
}

/// The same for a source or operation, which must ask for something.
fn check_fields(map: &MapReader<'_>) {
    if map.values().next().is_none() {
        map.complain_here("has no fields, and needs at least one");
    }
    refuse_empty(map);
}
