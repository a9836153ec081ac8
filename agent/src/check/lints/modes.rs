//! PeerAuthentication: documents that another one of the same place takes everything from, STRICT at ports that
//! are excluded, and ports where nobody listens.

use super::{Found, Input, pods};
use crate::{
    objects::Kind,
    rules::{
        Rule, Spec,
        peer_authentication::{PeerAuthentication, PeerMtlsMode},
    },
};

pub(super) fn check(input: &Input<'_>, found: &mut Found) {
    for (rule, authentication) in authentications(input) {
        younger(input, found, rule, authentication);
        exclusions(input, found, rule, authentication);
        ports(input, found, rule, authentication);
    }
}

fn authentications<'a>(input: &Input<'a>) -> impl Iterator<Item = (&'a Rule, &'a PeerAuthentication)> + use<'a> {
    input.rules().filter_map(|rule| match &rule.spec {
        Spec::PeerAuthentication(authentication) => Some((rule, authentication)),
        _ => None,
    })
}

/// Of two for the same pods only the older counts, and the other is not added to it.
fn younger(input: &Input<'_>, found: &mut Found, rule: &Rule, authentication: &PeerAuthentication) {
    let namespace = &rule.key.name.namespace;
    let age = |rule: &Rule| (rule.created.is_none(), rule.created, rule.key.name.clone());
    let same = authentications(input).filter(|(other, of_other)| {
        other.key.name.namespace == *namespace && of_other.selector == authentication.selector
    });
    let oldest = same.map(|(other, _)| other).min_by_key(|other| age(other));
    if let Some(oldest) = oldest.filter(|oldest| oldest.key != rule.key) {
        let message =
            format!("has no effect: {} is for the same pods and comes first; make one of the two", oldest.key);
        input.warn(found, &rule.key, "spec", message);
    }
}

/// A port that is named for STRICT and excluded too: the agent never sees its connections.
fn exclusions(input: &Input<'_>, found: &mut Found, rule: &Rule, authentication: &PeerAuthentication) {
    let strict = authentication.port_level_mtls.iter().filter(|(_, mtls)| mtls.mode == PeerMtlsMode::Strict);
    let pods = pods::selected(input, rule);
    for port in strict.map(|(port, _)| port) {
        let holes = pods.iter().find(|pod| pods::excluded_inbound_ports(input, pod).contains(port));
        if let Some(pod) = holes {
            let message = format!(
                "does not hold: an exclusion lets clients reach port {port} of pod {} past the agent",
                pod.name
            );
            input.warn(found, &rule.key, &format!("spec.portLevelMtls.{port}"), message);
        }
    }
}

/// Ports are those of the pods, and often confused with those of their Services.
fn ports(input: &Input<'_>, found: &mut Found, rule: &Rule, authentication: &PeerAuthentication) {
    let named = &authentication.port_level_mtls;
    if named.is_empty() || !input.has(Kind::Pod, found) || !input.has(Kind::Service, found) {
        return;
    }
    let pods = pods::selected(input, rule);
    let Some(served) = pods::served_ports(input, &pods).filter(|_| !pods.is_empty()) else { return };
    for port in named.keys().filter(|port| !served.contains(&port.get())) {
        let all: Vec<String> = served.iter().map(ToString::to_string).collect();
        let message = format!(
            "no Service leads to port {port} of the selected pods, but to {}; a pod's port is meant",
            all.join(", ")
        );
        input.warn(found, &rule.key, &format!("spec.portLevelMtls.{port}"), message);
    }
}
