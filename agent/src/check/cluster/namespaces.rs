//! Namespaces: whether agents may run in theirs, and whether tunnels reach the pods of those that are enrolled.

use k8s_openapi::{
    api::{
        core::v1::Namespace,
        networking::v1::{NetworkPolicy, NetworkPolicyPort, NetworkPolicySpec},
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::{meshes::is_enrolled, rights::NAMESPACE};
use crate::check::Outcome;

/// The port of tunnels, on every enrolled pod.
const TUNNELS: i32 = 15008;
const LEVEL: &str = "pod-security.kubernetes.io/enforce";

/// Judges the Pod Security level of the agents' namespace.
pub(super) fn judge_pod_security(namespaces: &[Namespace]) -> Outcome {
    let check = "pod security";
    let own = namespaces.iter().find(|namespace| namespace.metadata.name.as_deref() == Some(NAMESPACE));
    let Some(own) = own else {
        return Outcome::ok(check, format!("namespace {NAMESPACE} is not there yet"));
    };
    match own.metadata.labels.as_ref().and_then(|labels| labels.get(LEVEL)).map(String::as_str) {
        Some("privileged") => Outcome::ok(check, format!("namespace {NAMESPACE} takes privileged pods")),
        None => Outcome::ok(
            check,
            format!("namespace {NAMESPACE} has the cluster's own level, which is privileged by default"),
        ),
        Some(level) => Outcome::error(
            check,
            format!("namespace {NAMESPACE} has the level {level}, which refuses the agents' pods"),
            format!("kubectl label --overwrite namespace {NAMESPACE} {LEVEL}=privileged"),
        ),
    }
}

/// Judges the policies of each enrolled namespace: who is isolated must let tunnels in.
pub(super) fn judge_policies(namespaces: &[Namespace], policies: &[NetworkPolicy]) -> Vec<Outcome> {
    let enrolled = namespaces.iter().filter(|namespace| is_enrolled(namespace));
    let names: Vec<&str> = enrolled.filter_map(|namespace| namespace.metadata.name.as_deref()).collect();
    let outcomes: Vec<Outcome> = names.iter().filter_map(|name| judge_namespace(name, policies)).collect();
    match (outcomes.is_empty(), names.len()) {
        (false, _) => outcomes,
        (true, 0) => vec![Outcome::ok("network policies", "no namespace is enrolled yet")],
        (true, _) => vec![Outcome::ok("network policies", "none keeps tunnels from pods of an enrolled namespace")],
    }
}

fn judge_namespace(name: &str, policies: &[NetworkPolicy]) -> Option<Outcome> {
    let here = policies.iter().filter(|policy| policy.metadata.namespace.as_deref() == Some(name));
    let isolating: Vec<(&str, &NetworkPolicySpec)> = here
        .filter_map(|policy| Some((policy.metadata.name.as_deref()?, policy.spec.as_ref()?)))
        .filter(|(_, spec)| isolates(spec))
        .collect();
    // Policies add up: one that opens the port for all pods, or for the same ones, makes up for another that does not.
    let is_open = |pods: &LabelSelector| {
        isolating
            .iter()
            .any(|(_, spec)| opens(spec) && (pods_of(spec) == *pods || pods_of(spec) == LabelSelector::default()))
    };
    let closing: Vec<&str> =
        isolating.iter().filter(|(_, spec)| !is_open(&pods_of(spec))).map(|(name, _)| *name).collect();
    (!closing.is_empty()).then(|| {
        Outcome::warning(
            "network policies",
            format!("in namespace {name}, {} keep tunnels (TCP port {TUNNELS}) from pods", closing.join(", ")),
            format!(
                "add a NetworkPolicy there that allows ingress to TCP port {TUNNELS}; who may call whom is then a matter of \
                 AuthorizationPolicies"
            ),
        )
    })
}

/// An absent selector and an empty one both mean all pods.
fn pods_of(spec: &NetworkPolicySpec) -> LabelSelector {
    spec.pod_selector.clone().unwrap_or_default()
}

fn isolates(spec: &NetworkPolicySpec) -> bool {
    spec.policy_types.as_ref().is_none_or(|types| types.is_empty() || types.iter().any(|kind| kind == "Ingress"))
}

fn opens(spec: &NetworkPolicySpec) -> bool {
    let mut rules = spec.ingress.iter().flatten();
    rules.any(|rule| {
        rule.ports.as_deref().unwrap_or_default().is_empty() || rule.ports.iter().flatten().any(has_tunnels)
    })
}

fn has_tunnels(port: &NetworkPolicyPort) -> bool {
    let is_tcp = port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
    is_tcp
        && match &port.port {
            None => true,
            Some(IntOrString::Int(first)) => (*first..=port.end_port.unwrap_or(*first)).contains(&TUNNELS),
            // A name is that of a container's port, which the agent's is not.
            Some(IntOrString::String(_)) => false,
        }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use serde_json::{Value, json};

    use super::*;
    use crate::check::Standing;

    fn namespace(name: &str, labels: &Value) -> Namespace {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        serde_json::from_value(object).unwrap()
    }

    fn policy(name: &str, spec: &Value) -> NetworkPolicy {
        serde_json::from_value(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": "shop"}, "spec": spec,
        }))
        .unwrap()
    }

    fn judged(specs: &[Value]) -> Outcome {
        let enrolled = namespace("shop", &json!({"heddle.io/mesh": "enabled"}));
        let policies: Vec<_> = specs.iter().enumerate().map(|(n, spec)| policy(&format!("p{n}"), spec)).collect();
        judge_policies(&[enrolled], &policies).remove(0)
    }

    #[test]
    fn isolated_pods_must_let_tunnels_in() {
        let deny = json!({"podSelector": {}, "policyTypes": ["Ingress"]});
        let web = json!({"matchLabels": {"app": "web"}});
        let open = |ports: Value| json!({"podSelector": {}, "ingress": [{"ports": ports}]});
        for (what, specs, standing) in [
            ("none", vec![], Standing::Ok),
            ("deny all", vec![deny.clone()], Standing::Warning),
            ("deny all, and tunnels open", vec![deny.clone(), open(json!([{"port": 15008}]))], Standing::Ok),
            ("another port", vec![open(json!([{"port": 80, "protocol": "TCP"}]))], Standing::Warning),
            ("a range", vec![open(json!([{"port": 15000, "endPort": 15010}]))], Standing::Ok),
            ("the port by UDP", vec![open(json!([{"port": 15008, "protocol": "UDP"}]))], Standing::Warning),
            ("a named port", vec![open(json!([{"port": "http"}]))], Standing::Warning),
            ("all ports from somewhere", vec![json!({"podSelector": {}, "ingress": [{"from": []}]})], Standing::Ok),
            ("egress only", vec![json!({"podSelector": {}, "policyTypes": ["Egress"]})], Standing::Ok),
            ("some pods closed", vec![json!({"podSelector": web})], Standing::Warning),
            (
                "the same pods open",
                vec![json!({"podSelector": web}), json!({"podSelector": web, "ingress": [{}]})],
                Standing::Ok,
            ),
            ("all closed, some open", vec![deny, json!({"podSelector": web, "ingress": [{}]})], Standing::Warning),
        ] {
            assert_eq!(judged(&specs).standing, standing, "{what}");
        }
        let other = judge_policies(&[namespace("shop", &json!({}))], &[policy("p", &json!({"podSelector": {}}))]);
        assert_eq!(other[0].seen, "no namespace is enrolled yet");
    }

    #[test]
    fn the_agents_namespace_must_take_privileged_pods() {
        for (labels, standing) in [
            (json!({}), Standing::Ok),
            (json!({LEVEL: "privileged"}), Standing::Ok),
            (json!({LEVEL: "baseline"}), Standing::Error),
        ] {
            let outcome = judge_pod_security(&[namespace("heddle-system", &labels)]);
            assert_eq!(outcome.standing, standing, "{labels}");
        }
        assert_eq!(judge_pod_security(&[]).standing, Standing::Ok);
    }
}
