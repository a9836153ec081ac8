//! Which pods a document is for, and what is known of their ports.

use std::{collections::BTreeSet, num::NonZeroU16, sync::Arc};

use super::Input;
use crate::{
    objects::{Pod, Protocol, Service, TargetPort},
    rules::{Rule, Spec, capture::Capture, rate_limit::LimitScope, value::Selector},
};

/// The selector of a document that has one.
pub(super) fn selector(rule: &Rule) -> Option<&Selector> {
    match &rule.spec {
        Spec::AuthorizationPolicy(policy) => Some(&policy.selector),
        Spec::PeerAuthentication(authentication) => Some(&authentication.selector),
        Spec::RequestAuthentication(authentication) => Some(&authentication.selector),
        Spec::Telemetry(telemetry) => Some(&telemetry.selector),
        Spec::Capture(capture) => Some(&capture.selector),
        Spec::RateLimit(limit) => match &limit.scope {
            LimitScope::Workloads(selector) => Some(selector),
            LimitScope::Routes | LimitScope::Services(_) => None,
        },
        _ => None,
    }
}

/// Whether a document is for pods of every namespace.
pub(super) fn is_for_the_mesh(input: &Input<'_>, rule: &Rule) -> bool {
    rule.key.name.namespace == input.settings.root_namespace
}

/// The pods that a document selects.
pub(super) fn selected<'a>(input: &Input<'a>, rule: &Rule) -> Vec<&'a Arc<Pod>> {
    let Some(selector) = selector(rule) else { return Vec::new() };
    let everywhere = is_for_the_mesh(input, rule);
    let is_near = |pod: &Pod| everywhere || pod.name.namespace == rule.key.name.namespace;
    input.objects.pods.values().filter(|pod| is_near(pod) && selector.selects(&pod.labels)).collect()
}

/// The Services of a pod.
pub(super) fn services_of<'a>(input: &Input<'a>, pod: &Pod) -> impl Iterator<Item = &'a Arc<Service>> {
    let is_its = move |service: &&Arc<Service>| {
        let selector = Selector { match_labels: service.selector.clone() };
        service.name.namespace == pod.name.namespace && !selector.is_everything() && selector.selects(&pod.labels)
    };
    input.objects.services.values().filter(is_its)
}

/// The pods' ports that their Services lead to. `None` where that cannot be told: no Service, or a port by a name that
/// only containers give a number.
pub(super) fn served_ports(input: &Input<'_>, pods: &[&Arc<Pod>]) -> Option<BTreeSet<u16>> {
    let mut ports = BTreeSet::new();
    for pod in pods {
        let mut services = services_of(input, pod).peekable();
        services.peek()?;
        for service in services {
            for port in service.ports.iter().filter(|port| port.protocol == Protocol::Tcp) {
                match &port.target {
                    None => drop(ports.insert(port.port)),
                    Some(TargetPort::Number(number)) => drop(ports.insert(*number)),
                    Some(TargetPort::Name(_)) => return None,
                }
            }
        }
    }
    Some(ports)
}

/// Ports of a pod that are never parsed as HTTP, by its annotation or by a Capture document.
pub(super) fn opaque_ports(input: &Input<'_>, pod: &Arc<Pod>) -> BTreeSet<NonZeroU16> {
    ports(input, pod, "heddle.io/opaque-ports", |capture| &capture.opaque_ports)
}

/// Ports of a pod that clients reach past the agent, said in the same two ways.
pub(super) fn excluded_inbound_ports(input: &Input<'_>, pod: &Arc<Pod>) -> BTreeSet<NonZeroU16> {
    ports(input, pod, "heddle.io/exclude-inbound-ports", |capture| &capture.exclude_inbound_ports)
}

fn ports(
    input: &Input<'_>,
    pod: &Arc<Pod>,
    annotation: &str,
    of: fn(&Capture) -> &BTreeSet<NonZeroU16>,
) -> BTreeSet<NonZeroU16> {
    let annotation = pod.annotations.get(annotation).map(String::as_str).unwrap_or_default();
    let mut ports: BTreeSet<NonZeroU16> = annotation.split(',').filter_map(|port| port.trim().parse().ok()).collect();
    for rule in input.rules() {
        let Spec::Capture(capture) = &rule.spec else { continue };
        let is_near = is_for_the_mesh(input, rule) || rule.key.name.namespace == pod.name.namespace;
        if is_near && capture.selector.selects(&pod.labels) {
            ports.extend(of(capture));
        }
    }
    ports
}
