//! Ports of the nodes that agents listen on: whether a DaemonSet takes one of them.

use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::Container};

use super::{
    network_plugin::name_of,
    rights::{AGENT, NAMESPACE},
};
use crate::check::Outcome;

/// What agent.yaml says by default, and the key that says so.
const PORTS: [(i32, &str); 3] = [(15000, "admin.address"), (15020, "metrics.address"), (15021, "health.address")];

/// Judges all DaemonSets but the agents' own.
pub(super) fn judge(daemon_sets: &[DaemonSet]) -> Vec<Outcome> {
    let own = format!("{NAMESPACE}/{}", AGENT.name);
    let others = daemon_sets.iter().map(|set| (set, name_of(set))).filter(|(_, name)| *name != own);
    let mut outcomes = Vec::new();
    for (set, name) in others {
        let taken = taken(set);
        let conflicts = PORTS.iter().filter(|(port, _)| taken.contains(port));
        outcomes.extend(conflicts.map(|(port, key)| {
            Outcome::error(
                "ports of the nodes",
                format!("DaemonSet {name} takes port {port} of its nodes, which the agent listens on"),
                format!("give the agent another: {key} of agent.yaml, and the probes and ports of the DaemonSet"),
            )
        }));
    }
    if outcomes.is_empty() {
        let ports = PORTS.map(|(port, _)| port.to_string()).join(", ");
        outcomes.push(Outcome::ok("ports of the nodes", format!("no DaemonSet declares one of {ports}")));
    }
    outcomes
}

fn taken(set: &DaemonSet) -> Vec<i32> {
    let Some(pod) = &set.spec.template.spec else { return Vec::new() };
    let containers: Vec<&Container> = pod.containers.iter().chain(pod.init_containers.iter().flatten()).collect();
    let ports = containers.into_iter().flat_map(|container| container.ports.iter().flatten());
    match pod.host_network {
        Some(true) => ports.map(|port| port.container_port).collect(),
        _ => ports.filter_map(|port| port.host_port).collect(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use serde_json::{Value, json};

    use super::*;
    use crate::check::Standing;

    fn set(namespace: &str, name: &str, host_network: bool, ports: &Value) -> DaemonSet {
        serde_json::from_value(json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": name, "namespace": namespace},
            "spec": {"selector": {}, "template": {"spec": {
                "hostNetwork": host_network, "containers": [{"name": "c", "ports": ports}],
            }}},
        }))
        .unwrap()
    }

    #[test]
    fn a_port_is_taken_on_the_node_only() {
        for (host_network, ports, standing) in [
            (true, json!([{"containerPort": 15020}]), Standing::Error),
            (false, json!([{"containerPort": 15020}]), Standing::Ok),
            (false, json!([{"containerPort": 80, "hostPort": 15021}]), Standing::Error),
            (true, json!([{"containerPort": 9100}]), Standing::Ok),
        ] {
            let outcomes = judge(&[set("monitoring", "exporter", host_network, &ports)]);
            assert_eq!((outcomes.len(), outcomes[0].standing), (1, standing), "{ports}");
        }
        let own = set("heddle-system", "heddle-agent", true, &json!([{"containerPort": 15020}]));
        assert_eq!(judge(&[own])[0].standing, Standing::Ok);
    }
}
