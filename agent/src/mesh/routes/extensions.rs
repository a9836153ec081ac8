//! Filters of routes that refer to a document of Heddle's own which is not in force.
//!
//! A request that such a rule matches is answered with 500: to leave a limit out would be worse than to fail loudly
//! (Gateway API, "HTTPRouteFilter.extensionRef": a filter that cannot be resolved must not be skipped).

use std::{fmt, sync::Arc};

use crate::{
    mesh::Snapshot,
    objects::ObjectName,
    rules::{
        Rule, RuleKey, RuleKind, Spec,
        gateway::{ExtensionKind, ExtensionRef},
        grpc_route::GrpcFilter,
        http_route::HttpFilter,
    },
};

/// A filter that refers to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtensionProblem {
    /// The route.
    pub route: RuleKey,
    /// Where, such as `spec.rules[0].filters[1].extensionRef`.
    pub path: String,
    /// What is not there.
    pub missing: RuleKey,
}

impl Snapshot {
    /// Filters that refer to nothing, ordered by route.
    pub fn extension_problems(&self) -> Vec<ExtensionProblem> {
        self.rules().values().flat_map(|rule| self.missing_extensions(rule)).collect()
    }

    fn missing_extensions(&self, rule: &Rule) -> Vec<ExtensionProblem> {
        let problem = |(path, reference): (String, &ExtensionRef)| {
            let missing = key_of(&rule.key.name.namespace, reference);
            let is_missing = !self.rules().contains_key(&missing);
            is_missing.then(|| ExtensionProblem { route: rule.key.clone(), path, missing })
        };
        references(rule).into_iter().filter_map(problem).collect()
    }
}

/// The document that a reference in a route of a namespace is to.
pub(crate) fn key_of(namespace: &Arc<str>, reference: &ExtensionRef) -> RuleKey {
    let kind = match reference.kind {
        ExtensionKind::FaultInjection => RuleKind::FaultInjection,
        ExtensionKind::RateLimit => RuleKind::RateLimit,
    };
    RuleKey { kind, name: ObjectName { namespace: Arc::clone(namespace), name: reference.name.as_str().into() } }
}

/// The references of a route, with their places.
fn references(rule: &Rule) -> Vec<(String, &ExtensionRef)> {
    let mut found = Vec::new();
    let mut note = |rule: usize, filter: usize, reference| {
        found.push((format!("spec.rules[{rule}].filters[{filter}].extensionRef"), reference));
    };
    match &rule.spec {
        Spec::HttpRoute(route) => {
            for (number, rule) in route.rules.iter().enumerate() {
                for (index, filter) in rule.filters.iter().enumerate() {
                    if let HttpFilter::ExtensionRef(reference) = filter {
                        note(number, index, reference);
                    }
                }
            }
        }
        Spec::GrpcRoute(route) => {
            for (number, rule) in route.rules.iter().enumerate() {
                for (index, filter) in rule.filters.iter().enumerate() {
                    if let GrpcFilter::ExtensionRef(reference) = filter {
                        note(number, index, reference);
                    }
                }
            }
        }
        _ => {}
    }
    found
}

impl fmt::Display for ExtensionProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { route, path, missing } = self;
        write!(f, "{route}: {path}: there is no {missing}, so requests that the rule matches are answered with 500")
    }
}
