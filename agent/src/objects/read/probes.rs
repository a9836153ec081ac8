//! Reads which ports of a Pod the kubelet connects to: for its probes, and for lifecycle hooks.
//!
//! What is run inside a container needs no connection, and what has a host of its own goes elsewhere: neither is among them.

use std::{collections::BTreeSet, net::IpAddr};

use crate::config::yaml::{MapReader, Node, Value};

const PORT: &str = "a port number from 1 to 65535, or the name of a port of the container";

/// Sorted, each once. A name that no port of its container has is nobody's, as it is for the kubelet.
pub(super) fn probed_ports(spec: &MapReader<'_>, addresses: &[IpAddr]) -> Vec<u16> {
    let mut ports = BTreeSet::new();
    for container in spec.maps("containers") {
        add(&container, addresses, &mut ports);
    }
    // Of these only sidecars, which run on, have any.
    for container in spec.maps("initContainers") {
        if container.text("restartPolicy") == Some("Always") {
            add(&container, addresses, &mut ports);
        }
    }
    ports.into_iter().collect()
}

fn add(container: &MapReader<'_>, addresses: &[IpAddr], ports: &mut BTreeSet<u16>) {
    let probes = ["livenessProbe", "readinessProbe", "startupProbe"].map(|key| container.map(key));
    let lifecycle = container.map("lifecycle");
    let hooks = ["postStart", "preStop"].map(|key| lifecycle.as_ref().and_then(|lifecycle| lifecycle.map(key)));
    for handler in probes.iter().chain(&hooks).flatten() {
        for action in ["httpGet", "tcpSocket", "grpc"].into_iter().filter_map(|key| handler.map(key)) {
            let is_here = |host: &str| host.is_empty() || host.parse().is_ok_and(|host| addresses.contains(&host));
            if action.text("host").is_none_or(is_here) {
                ports.extend(action.scalar("port", PORT, written).and_then(|port| port.number(container)));
            }
        }
    }
}

/// A port as it is written.
enum Written<'a> {
    Number(u16),
    Text(&'a str),
}

fn written(node: &Node) -> Option<Written<'_>> {
    match node.value {
        Value::Integer(number) => u16::try_from(number).ok().filter(|port| *port > 0).map(Written::Number),
        _ => node.text().map(Written::Text),
    }
}

impl Written<'_> {
    /// A text is a name first, and digits after that.
    fn number(&self, container: &MapReader<'_>) -> Option<u16> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => {
                let ports = container.maps("ports");
                let named = ports.iter().find(|port| port.text("name") == Some(text));
                let number = named.map(|port| port.integer("containerPort", PORT, |port| *port > 0));
                number.unwrap_or_else(|| text.parse().ok().filter(|port| *port > 0))
            }
        }
    }
}
