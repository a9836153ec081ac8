//! What makes the node's own endpoints contradict each other or the capture ports.

use std::net::SocketAddr;

use super::{Position, defaults, yaml::Report};

/// An endpoint's key in the file, its place there, and its address if it is served at all.
pub(super) type NamedEndpoint = (&'static str, Position, Option<SocketAddr>);

/// Reports ports that are reserved, and endpoints that would bind the same port.
pub(super) fn report(report: &Report<'_>, endpoints: &[NamedEndpoint]) {
    for &(key, position, address) in endpoints {
        let Some(address) = address else { continue };
        if defaults::CAPTURE_PORTS.contains(&address.port()) {
            let [outbound, plaintext, hbone] = defaults::CAPTURE_PORTS;
            report.add(
                position,
                format!(
                    "{key}: found port {}, allowed: any but {outbound}, {plaintext} and {hbone}, which capture uses",
                    address.port()
                ),
            );
        }
    }
    report_overlaps(report, endpoints);
}

/// Reports endpoints that would bind the same port.
pub(super) fn report_overlaps(report: &Report<'_>, endpoints: &[NamedEndpoint]) {
    for (index, &(key, position, address)) in endpoints.iter().enumerate() {
        let Some(address) = address else { continue };
        let earlier = endpoints[..index].iter().filter_map(|&(other, _, taken)| Some((other, taken?)));
        for (other, taken) in earlier.filter(|(_, taken)| overlap(*taken, address)) {
            report.add(position, format!("{key}: {address} collides with {other} ({taken}), choose another port"));
        }
    }
}

/// Port 0 lets the kernel choose a free one, so it collides with nothing.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let same_port = a.port() == b.port() && a.port() != 0;
    same_port && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}
