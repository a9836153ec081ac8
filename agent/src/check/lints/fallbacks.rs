//! Fallback: ports that the Services it is for do not have, and a Service that cannot take over.

use super::{
    Found, Input,
    routes::{has_no_endpoint, has_port, name_of, no_port, unfit},
};
use crate::{
    objects::Kind,
    rules::{Rule, Spec, fallback::Fallback},
};

pub(super) fn check(input: &Input<'_>, found: &mut Found) {
    for rule in input.rules() {
        if let Spec::Fallback(fallback) = &rule.spec
            && input.has(Kind::Service, found)
        {
            ports(input, found, rule, fallback);
            takes_over(input, found, rule, fallback);
        }
    }
}

fn ports(input: &Input<'_>, found: &mut Found, rule: &Rule, fallback: &Fallback) {
    for (index, target) in fallback.target_refs.iter().enumerate() {
        let Some(service) = input.objects.services.get(&name_of(rule, None, &target.name)) else { continue };
        if let Some(port) = target.port.filter(|port| !has_port(service, port.get())) {
            let message = format!("{}, so the document is for nothing", no_port(service, port.get()));
            input.warn(found, &rule.key, &format!("spec.targetRefs[{index}]"), message);
        }
    }
}

fn takes_over(input: &Input<'_>, found: &mut Found, rule: &Rule, fallback: &Fallback) {
    let reference = &fallback.backend_ref;
    let name = name_of(rule, reference.namespace.as_ref(), &reference.name);
    let cause = unfit(input, &name, reference.port.get());
    let cause =
        cause.or_else(|| has_no_endpoint(input, found, &name).then(|| format!("Service {name} has no endpoints")));
    if let Some(cause) = cause {
        input.warn(found, &rule.key, "spec.backendRef", format!("{cause}, so nobody takes over"));
    }
}
