//! The nodes, by what their kubelets say about them: kernel, operating system, processor, container runtime, version.
//!
//! One line for each check, and one more for each value that is not as it must be, with the nodes that have it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, NodeSystemInfo};

use crate::check::{
    Outcome,
    kernel::{self, Verdict},
    version::Version,
};

/// Nodes that a line names.
const NAMED: usize = 5;
/// Minor versions that a kubelet may be behind its API server.
const SKEW: u32 = 3;
/// Agents are built for these.
const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];
/// Container runtimes whose cgroups and processes an agent knows.
const RUNTIMES: [&str; 2] = ["containerd", "cri-o"];

/// Judges all nodes, under an API server of this version.
pub(super) fn judge(nodes: &[Node], server: Option<Version>) -> Vec<Outcome> {
    if nodes.is_empty() {
        return vec![Outcome::warning("nodes", "the cluster has no node", "check again when it has")];
    }
    // Agents are for Linux: the rest is not asked of other nodes.
    let linux: Vec<&Node> = nodes.iter().filter(|node| info(node, |info| &info.operating_system) == "linux").collect();
    let all: Vec<&Node> = nodes.iter().collect();
    [
        each_value("operating system", &all, |info| &info.operating_system, operating_system),
        each_value("kernel", &linux, |info| &info.kernel_version, kernel::judge),
        each_value("architecture", &linux, |info| &info.architecture, architecture),
        each_value("container runtime", &linux, |info| &info.container_runtime_version, runtime),
        each_value("kubelet", &linux, |info| &info.kubelet_version, |version| kubelet(version, server)),
    ]
    .concat()
}

fn operating_system(system: &str) -> Verdict {
    match system {
        "linux" => Verdict::Fine,
        _ => Verdict::Lacking("pods there are not in the mesh: do not enrol what may run there".to_owned()),
    }
}

fn architecture(architecture: &str) -> Verdict {
    match ARCHITECTURES.contains(&architecture) {
        true => Verdict::Fine,
        false => Verdict::Unusable(format!(
            "there is no agent for it, only for {}: keep the DaemonSet and enrolled pods off these nodes",
            ARCHITECTURES.join(" and ")
        )),
    }
}

fn runtime(runtime: &str) -> Verdict {
    let name = runtime.split("://").next().unwrap_or_default();
    match RUNTIMES.contains(&name) {
        true => Verdict::Fine,
        false => Verdict::Lacking(format!("use one that was tried with Heddle: {}", RUNTIMES.join(", "))),
    }
}

fn kubelet(text: &str, server: Option<Version>) -> Verdict {
    let (Some(kubelet), Some(server)) = (Version::parse(text), server) else {
        return Verdict::Lacking("compare it with the API server's version yourself".to_owned());
    };
    if kubelet > server {
        return Verdict::Lacking(format!("upgrade the API server, which is {server}: kubelets may not be newer"));
    }
    if kubelet.major == server.major && server.minor - kubelet.minor > SKEW {
        return Verdict::Lacking(format!(
            "upgrade it: it may be {SKEW} minor versions behind the API server, {server}"
        ));
    }
    Verdict::Fine
}

fn each_value(
    check: &str,
    nodes: &[&Node],
    value: fn(&NodeSystemInfo) -> &String,
    judge: impl Fn(&str) -> Verdict,
) -> Vec<Outcome> {
    let mut nodes_by_value: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for node in nodes {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        nodes_by_value.entry(info(node, value)).or_default().push(name);
    }
    let (mut fine, mut outcomes) = (Vec::new(), Vec::new());
    for (value, names) in nodes_by_value {
        let seen = format!("{value:?} on {}", named(&names));
        match judge(value) {
            Verdict::Fine => fine.push(format!("{value} on {}", counted(names.len()))),
            Verdict::Lacking(remedy) => outcomes.push(Outcome::warning(check, seen, remedy)),
            Verdict::Unusable(remedy) => outcomes.push(Outcome::error(check, seen, remedy)),
        }
    }
    if !fine.is_empty() {
        outcomes.insert(0, Outcome::ok(check, fine.join(", ")));
    }
    outcomes
}

fn info(node: &Node, value: fn(&NodeSystemInfo) -> &String) -> &str {
    node.status.as_ref().and_then(|status| status.node_info.as_ref()).map_or("", |info| value(info))
}

fn named(names: &[&str]) -> String {
    match names.len().saturating_sub(NAMED) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names[..NAMED].join(", ")),
    }
}

fn counted(nodes: usize) -> String {
    if nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;
    use crate::check::Standing;

    fn node(name: &str, changes: &[(&str, &str)]) -> Node {
        let mut info = json!({
            "architecture": "amd64", "operatingSystem": "linux", "kernelVersion": "6.8.0-31-generic",
            "containerRuntimeVersion": "containerd://1.7.12", "kubeletVersion": "v1.33.1",
            "bootID": "", "kubeProxyVersion": "", "machineID": "", "osImage": "", "systemUUID": "",
        });
        for (key, value) in changes {
            info[*key] = json!(value);
        }
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": {"nodeInfo": info},
        }))
        .unwrap()
    }

    fn judged(nodes: &[Node]) -> Vec<Outcome> {
        judge(nodes, Some(Version { major: 1, minor: 34 }))
    }

    #[test]
    fn nodes_that_are_alike_have_one_line_for_each_check() {
        let outcomes = judged(&[node("a", &[]), node("b", &[])]);
        assert_eq!(outcomes.len(), 5);
        assert!(outcomes.iter().all(|outcome| outcome.standing == Standing::Ok), "{outcomes:?}");
        assert_eq!(outcomes[1].to_string(), "kernel: 6.8.0-31-generic on 2 nodes");
    }

    #[test]
    fn a_node_that_differs_is_named_with_the_remedy() {
        for (key, value, check, standing, remedy) in [
            ("kernelVersion", "5.10.0", "kernel", Standing::Error, "upgrade to 5.15"),
            ("kernelVersion", "5.15.0", "kernel", Standing::Warning, "6.6"),
            ("architecture", "s390x", "architecture", Standing::Error, "no agent"),
            ("containerRuntimeVersion", "docker://24.0", "container runtime", Standing::Warning, "containerd"),
            ("kubeletVersion", "v1.30.2", "kubelet", Standing::Warning, "behind"),
            ("kubeletVersion", "v1.35.0", "kubelet", Standing::Warning, "newer"),
            ("operatingSystem", "windows", "operating system", Standing::Warning, "do not enrol"),
        ] {
            let outcomes = judged(&[node("a", &[]), node("odd", &[(key, value)])]);
            let bad: Vec<_> = outcomes.iter().filter(|outcome| outcome.standing != Standing::Ok).collect();
            let [outcome] = bad[..] else { panic!("{value}: {outcomes:?}") };
            assert_eq!((outcome.check.as_str(), outcome.standing), (check, standing), "{value}");
            assert!(outcome.seen.ends_with("on odd") && outcome.seen.contains(value), "{outcome}");
            assert!(outcome.remedy.as_ref().unwrap().contains(remedy), "{outcome}");
        }
        assert!(judged(&[node("a", &[("kubeletVersion", "v1.31.0")])])[4].standing == Standing::Ok, "three behind");
    }

    #[test]
    fn many_nodes_are_counted_and_some_named() {
        let nodes: Vec<Node> = (0..8).map(|n| node(&format!("n{n}"), &[("kernelVersion", "5.4.0")])).collect();
        assert_eq!(judged(&nodes)[1].seen, "\"5.4.0\" on n0, n1, n2, n3, n4 and 3 more");
        assert_eq!(judged(&[])[0].standing, Standing::Warning);
    }
}
