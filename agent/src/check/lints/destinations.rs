//! DestinationRule: hosts that no Service and no ServiceEntry has.

use super::{Found, Input};
use crate::{
    objects::{Kind, ObjectName},
    rules::{Rule, Spec, value::Host},
};

pub(super) fn check(input: &Input<'_>, found: &mut Found) {
    for rule in input.rules() {
        let Spec::DestinationRule(destination) = &rule.spec else { continue };
        let host = &destination.host;
        if is_of_entry(input, host) || !input.has(Kind::Service, found) || is_of_service(input, rule, host) {
            continue;
        }
        input.warn(found, &rule.key, "spec.host", format!("{host} is no Service and no host of a ServiceEntry"));
    }
}

fn is_of_entry(input: &Input<'_>, host: &Host) -> bool {
    let mut hosts = input.rules().flat_map(|rule| match &rule.spec {
        Spec::ServiceEntry(entry) => entry.hosts.as_slice(),
        _ => &[],
    });
    hosts.any(|of_entry| match (host, of_entry) {
        (Host::Exact(name), Host::Below(above)) => is_below(name, above),
        (Host::Below(above), Host::Exact(name)) => is_below(name, above),
        (Host::Below(one), Host::Below(other)) => one == other || is_below(one, other) || is_below(other, one),
        (Host::Exact(one), Host::Exact(other)) => one == other,
    })
}

fn is_below(name: &str, above: &str) -> bool {
    name.strip_suffix(above).is_some_and(|rest| rest.ends_with('.'))
}

/// `web`, `web.shop`, `web.shop.svc` and `web.shop.svc.DOMAIN` are one Service.
fn is_of_service(input: &Input<'_>, rule: &Rule, host: &Host) -> bool {
    let services = &input.objects.services;
    match host {
        Host::Exact(name) => {
            let mut parts = name.splitn(4, '.');
            let (service, namespace, svc) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
            let namespace = namespace.unwrap_or(&rule.key.name.namespace);
            matches!(svc, None | Some("svc")) && services.contains_key(&ObjectName::new(namespace, service))
        }
        Host::Below(above) => services.keys().any(|name| {
            let (short, whole) = (format!("{}.{}", name.name, name.namespace), ".svc.cluster.local");
            is_below(&short, above) || is_below(&format!("{short}.svc"), above) || is_below(&(short + whole), above)
        }),
    }
}
