//! AuthorizationPolicy: attributes of requests on ports that are never parsed as HTTP.

use std::num::NonZeroU16;

use super::{Found, Input, pods};
use crate::rules::{
    Spec,
    authorization_policy::{Action, Operation},
};

pub(super) fn check(input: &Input<'_>, found: &mut Found) {
    for rule in input.rules() {
        let Spec::AuthorizationPolicy(policy) = &rule.spec else { continue };
        let Some(effect) = effect(policy.action) else { continue };
        let pods = pods::selected(input, rule);
        for (index, access) in policy.rules.iter().enumerate().filter(|(_, access)| access.asks_of_requests()) {
            let meets = |port: &u16| {
                let mut operations = access.to.iter().map(|to| &to.operation).peekable();
                operations.peek().is_none() || operations.any(|operation| is_for(operation, *port))
            };
            let opaque = pods.iter().find_map(|pod| {
                let ports = pods::opaque_ports(input, pod);
                ports.into_iter().map(NonZeroU16::get).find(meets).map(|port| (pod, port))
            });
            let Some((pod, port)) = opaque else { continue };
            let message =
                format!("asks for what only HTTP has, and port {port} of Pod {} is opaque: {effect}", pod.name);
            input.warn(found, &rule.key, &format!("spec.rules[{index}]"), message);
        }
    }
}

fn effect(action: Action) -> Option<&'static str> {
    match action {
        Action::Deny => Some("DENY refuses every connection there that the rest of the rule matches"),
        Action::Allow => Some("ALLOW matches no connection there"),
        Action::Audit => None,
    }
}

fn is_for(operation: &Operation, port: u16) -> bool {
    let has = |ports: &[NonZeroU16]| ports.iter().any(|own| own.get() == port);
    (operation.ports.is_empty() || has(&operation.ports)) && !has(&operation.not_ports)
}
