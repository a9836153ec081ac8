//! Capture: exclusions of the agent's own ports.

use std::{collections::BTreeSet, num::NonZeroU16};

use heddle_common::{HBONE_PORT, INBOUND_PORT, OUTBOUND_PORT};

use super::{Found, Input};
use crate::rules::{Rule, Spec};

pub(super) fn check(input: &Input<'_>, found: &mut Found) {
    for rule in input.rules() {
        let Spec::Capture(capture) = &rule.spec else { continue };
        ports(input, found, rule, "spec.excludeInboundPorts", &capture.exclude_inbound_ports);
        ports(input, found, rule, "spec.excludeOutboundPorts", &capture.exclude_outbound_ports);
        ports(input, found, rule, "spec.opaquePorts", &capture.opaque_ports);
    }
}

fn ports(input: &Input<'_>, found: &mut Found, rule: &Rule, path: &str, ports: &BTreeSet<NonZeroU16>) {
    for port in ports.iter().map(|port| port.get()) {
        if [OUTBOUND_PORT, INBOUND_PORT, HBONE_PORT].contains(&port) {
            let message = format!("port {port} is the agent's own, which is no application's; remove it");
            input.warn(found, &rule.key, path, message);
        }
    }
}
