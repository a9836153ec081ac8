//! AuthorizationPolicy: attributes of requests on ports that are never parsed as HTTP.

use std::num::NonZeroU16;

use super::{Found, Input, pods};
use crate::rules::{
    Spec,
    authorization_policy::{AccessRule, Action, AddressAttribute, Condition, Operation, Source, TextAttribute},
};

pub(super) fn check(input: &Input<'_>, found: &mut Found) {
    for rule in input.rules() {
        let Spec::AuthorizationPolicy(policy) = &rule.spec else { continue };
        let Some(effect) = effect(policy.action) else { continue };
        let pods = pods::selected(input, rule);
        for (index, access) in policy.rules.iter().enumerate().filter(|(_, access)| asks_of_requests(access)) {
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

/// Whether a rule needs more than a connection tells.
fn asks_of_requests(access: &AccessRule) -> bool {
    let of_source = |source: &Source| {
        let texts = [&source.request_principals, &source.not_request_principals];
        let networks = [&source.remote_ip_blocks, &source.not_remote_ip_blocks];
        texts.iter().any(|list| !list.is_empty()) || networks.iter().any(|list| !list.is_empty())
    };
    let of_operation = |operation: &Operation| {
        let Operation { hosts, not_hosts, ports: _, not_ports: _, methods, not_methods, paths, not_paths } = operation;
        let texts = [hosts, not_hosts, methods, not_methods];
        texts.iter().any(|list| !list.is_empty()) || [paths, not_paths].iter().any(|list| !list.is_empty())
    };
    access.from.iter().any(|from| of_source(&from.source))
        || access.to.iter().any(|to| of_operation(&to.operation))
        || access.when.iter().any(is_of_requests)
}

fn is_of_requests(condition: &Condition) -> bool {
    match condition {
        Condition::Text(attribute, _) => match attribute {
            TextAttribute::RequestHeader(_)
            | TextAttribute::RequestPrincipal
            | TextAttribute::RequestAudiences
            | TextAttribute::RequestPresenter
            | TextAttribute::RequestClaim(_) => true,
            TextAttribute::SourceNamespace | TextAttribute::SourcePrincipal | TextAttribute::ConnectionSni => false,
        },
        Condition::Address(attribute, _) => *attribute == AddressAttribute::Remote,
        Condition::ServiceAccount(_) | Condition::Port(_) => false,
    }
}
