//! Documents for Services of their namespace that are not there.

use super::{
    Found, Input,
    routes::{missing, name_of},
};
use crate::{
    objects::Kind,
    rules::{Spec, rate_limit::LimitScope},
};

pub(super) fn check(input: &Input<'_>, found: &mut Found) {
    for rule in input.rules() {
        let names: Vec<&str> = match &rule.spec {
            Spec::BackendTrafficPolicy(policy) => {
                policy.target_refs.iter().map(|target| target.name.as_str()).collect()
            }
            Spec::RateLimit(limit) => match &limit.scope {
                LimitScope::Services(services) => services.iter().map(|service| service.name.as_str()).collect(),
                LimitScope::Routes | LimitScope::Workloads(_) => continue,
            },
            Spec::Fallback(fallback) => fallback.target_refs.iter().map(|target| target.name.as_str()).collect(),
            _ => continue,
        };
        if !input.has(Kind::Service, found) {
            continue;
        }
        for (index, name) in names.into_iter().enumerate() {
            let name = name_of(rule, None, name);
            if !input.objects.services.contains_key(&name) {
                input.warn(found, &rule.key, &format!("spec.targetRefs[{index}]"), missing(input, &name));
            }
        }
    }
}
