//! Routes: filters of Heddle's own that they refer to.

use std::sync::Arc;

use super::{Found, Input, route_view::view};
use crate::{
    objects::ObjectName,
    rules::{RuleKey, RuleKind, gateway::ExtensionKind},
};

pub(super) fn check(input: &Input<'_>, found: &mut Found) {
    for (rule, route) in input.rules().filter_map(|rule| Some((rule, view(rule)?))) {
        for (path, reference) in route.rules.iter().flat_map(|part| &part.extensions) {
            let kind = match reference.kind {
                ExtensionKind::FaultInjection => RuleKind::FaultInjection,
                ExtensionKind::RateLimit => RuleKind::RateLimit,
            };
            let namespace = Arc::clone(&rule.key.name.namespace);
            let key = RuleKey { kind, name: ObjectName { namespace, name: reference.name.as_str().into() } };
            if !input.rules.keys().any(|other| other.kind == kind) {
                found.unchecked.insert(kind.as_str());
            } else if !input.rules.contains_key(&key) {
                input.warn(found, &rule.key, path, format!("there is no {key}"));
            }
        }
    }
}
