//! DestinationRule: hosts that no Service and no ServiceEntry has. And documents of its sort that do not count, since an
//! older one is for the same.

use super::{Found, Input};
use crate::{
    mesh::means,
    objects::Kind,
    rules::{Rule, RuleKey, Spec, value::Host},
};

pub(super) fn check(input: &Input<'_>, found: &mut Found) {
    for rule in input.rules() {
        for overlap in input.snapshot.overlaps_of(rule) {
            input.warn(found, &rule.key, &overlap.path, overlap.reason());
        }
        if let Spec::DestinationRule(destination) = &rule.spec {
            check_host(input, found, rule, &destination.host);
        }
    }
}

fn check_host(input: &Input<'_>, found: &mut Found, rule: &Rule, host: &Host) {
    let entries = input.snapshot.entries().iter().map(|entry| &entry.name);
    let mut destinations = input.snapshot.services().map(|service| &service.name).chain(entries);
    if destinations.any(|destination| means(host, &rule.key.name.namespace, destination)) {
        return;
    }
    if let Some((entry, first)) = entry_with(input, host) {
        let message = format!("the mesh knows what {entry} stands for by its first host alone; write {first}");
        return input.warn(found, &rule.key, "spec.host", message);
    }
    if input.has(Kind::Service, found) {
        input.warn(found, &rule.key, "spec.host", format!("{host} is no Service and no host of a ServiceEntry"));
    }
}

/// The entry that has the host, or one that the host is among, with its first host.
fn entry_with<'a>(input: &Input<'a>, host: &Host) -> Option<(&'a RuleKey, &'a Host)> {
    input.rules().find_map(|rule| {
        let Spec::ServiceEntry(entry) = &rule.spec else { return None };
        let has = entry.hosts.iter().any(|of_entry| meet(host, of_entry));
        Some((&rule.key, entry.hosts.first()?)).filter(|_| has)
    })
}

fn meet(one: &Host, other: &Host) -> bool {
    match (one, other) {
        (Host::Exact(name), Host::Below(above)) | (Host::Below(above), Host::Exact(name)) => is_below(name, above),
        (Host::Below(one), Host::Below(other)) => one == other || is_below(one, other) || is_below(other, one),
        (Host::Exact(one), Host::Exact(other)) => one == other,
    }
}

fn is_below(name: &str, above: &str) -> bool {
    name.strip_suffix(above).is_some_and(|rest| rest.ends_with('.'))
}
