//! One YAML document to one typed rule.
//!
//! Everything that is wrong with the document is found in one pass: the reader of a kind goes on after a bad value.

use std::sync::Arc;

use super::{
    Enforced, Rule, RuleKey, RuleKind, Spec, authorization_policy, backend_traffic_policy, capture, destination_rule,
    fallback, fault_injection, grpc_route, http_route, peer_authentication, rate_limit, reference_grant,
    request_authentication, service_entry, tcp_route, telemetry, tls_route,
};
use crate::{
    config::{
        Position, Problem,
        yaml::{MapReader, Node, Report, nearest},
    },
    objects::{Map, ObjectName},
};

/// The API groups whose documents are mesh configuration.
const GROUPS: [&str; 5] = [
    "gateway.networking.k8s.io",
    "gateway.networking.x-k8s.io",
    "security.istio.io",
    "networking.istio.io",
    "heddle.io",
];

/// What the API server writes into `metadata`, and what is for other programs.
const FOREIGN_METADATA: [&str; 12] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// What a document turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reading {
    /// A rule, and where its document begins.
    Rule(Box<Rule>, Position),
    /// A mesh document that cannot be accepted; the key is known where kind and name could be read.
    Refused(Option<RuleKey>, Vec<Problem>),
    /// No mesh document.
    Other,
}

/// Whether documents of this `apiVersion` are mesh configuration.
pub(crate) fn is_rule(api_version: &str) -> bool {
    api_version.split_once('/').is_some_and(|(group, _)| GROUPS.contains(&group))
}

/// Reads a document. `text` is the whole text that it is part of; `namespace` is where it is without one of its own.
pub(crate) fn read(file: &str, text: &str, node: &Node, namespace: &str, enforced: Enforced) -> Reading {
    let report = Report::new(file, text);
    let (key, rule) = match report.root(node) {
        Some(_) if !node.get("apiVersion").and_then(Node::text).is_some_and(is_rule) => return Reading::Other,
        Some(root) => read_document(root, namespace, enforced),
        None => (None, None),
    };
    let mut problems = report.into_problems();
    match rule {
        Some(rule) if problems.is_empty() => Reading::Rule(Box::new(rule), node.position),
        _ => {
            problems.sort_by_key(|problem| problem.position);
            Reading::Refused(key, problems)
        }
    }
}

fn read_document(root: MapReader<'_>, namespace: &str, enforced: Enforced) -> (Option<RuleKey>, Option<Rule>) {
    let kind = kind_of(&root);
    let metadata = root.map("metadata");
    if !root.has("metadata") {
        root.missing("metadata", "a map with a name");
    }
    let named = metadata.and_then(|metadata| named(metadata, namespace, kind));
    let (Some(kind), Some((name, annotations))) = (kind, named) else { return (None, None) };
    if !enforced.has(kind) {
        let enforced: Vec<_> =
            RuleKind::ALL.iter().filter(|kind| enforced.has(**kind)).map(|kind| kind.as_str()).collect();
        let message = format!("{kind} is not enforced by this build, which enforces {}", enforced.join(", "));
        root.complain("kind", message);
    }
    let key = RuleKey { kind, name };
    let spec = root.map_or_empty("spec").and_then(|spec| read_spec(kind, spec, &key.name.namespace));
    // What a controller wrote about the document is not part of what it asks for.
    root.tolerate(&["status"]);
    root.finish();
    let rule = spec.map(|spec| Rule { key: key.clone(), annotations, spec, created: None });
    (Some(key), rule)
}

/// The kind, if this build reads that version of it.
fn kind_of(root: &MapReader<'_>) -> Option<RuleKind> {
    let (version, name) = (root.text("apiVersion")?, root.text("kind"));
    let names: Vec<&str> = RuleKind::ALL.iter().map(|kind| kind.as_str()).collect();
    let Some(name) = name else {
        root.missing("kind", &format!("one of {}", names.join(", ")));
        return None;
    };
    let Some(kind) = RuleKind::ALL.iter().find(|kind| kind.as_str() == name) else {
        let hint = nearest(name, &names)
            .map_or_else(|| format!("allowed: {}", names.join(", ")), |near| format!("did you mean {near}?"));
        root.complain("kind", format!("found {name:?}; {hint}"));
        return None;
    };
    if !kind.api_versions().contains(&version) {
        root.complain(
            "apiVersion",
            format!("found {version:?}, allowed for {kind}: {}", kind.api_versions().join(", ")),
        );
        return None;
    }
    Some(*kind)
}

fn named(metadata: MapReader<'_>, namespace: &str, kind: Option<RuleKind>) -> Option<(ObjectName, Map)> {
    let allowed = "the object's name";
    let name = metadata.parsed("name", allowed, |name| (!name.is_empty()).then_some(name));
    if !metadata.has("name") {
        metadata.missing("name", allowed);
    }
    let namespace = metadata.text("namespace").unwrap_or(namespace);
    let annotations = metadata.map("annotations").map_or_else(Map::new, |map| {
        if kind == Some(RuleKind::AuthorizationPolicy) {
            authorization_policy::check_dry_run(&map);
        }
        map.texts().into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    });
    metadata.tolerate(&FOREIGN_METADATA);
    metadata.finish();
    Some((ObjectName::new(namespace, name?), annotations))
}

/// `namespace` is that of the document.
fn read_spec(kind: RuleKind, spec: MapReader<'_>, namespace: &str) -> Option<Spec> {
    match kind {
        RuleKind::HttpRoute => http_route::read(spec).map(Spec::HttpRoute),
        RuleKind::GrpcRoute => grpc_route::read(spec).map(Spec::GrpcRoute),
        RuleKind::TlsRoute => tls_route::read(spec).map(Spec::TlsRoute),
        RuleKind::TcpRoute => tcp_route::read(spec).map(Spec::TcpRoute),
        RuleKind::ReferenceGrant => reference_grant::read(spec).map(Spec::ReferenceGrant),
        RuleKind::BackendTrafficPolicy => backend_traffic_policy::read(spec).map(Spec::BackendTrafficPolicy),
        RuleKind::AuthorizationPolicy => authorization_policy::read(spec).map(Arc::new).map(Spec::AuthorizationPolicy),
        RuleKind::PeerAuthentication => peer_authentication::read(spec).map(Spec::PeerAuthentication),
        RuleKind::RequestAuthentication => request_authentication::read(spec).map(Spec::RequestAuthentication),
        RuleKind::DestinationRule => destination_rule::read(spec).map(Box::new).map(Spec::DestinationRule),
        RuleKind::ServiceEntry => service_entry::read(spec).map(Spec::ServiceEntry),
        RuleKind::RateLimit => rate_limit::read(spec).map(Spec::RateLimit),
        RuleKind::FaultInjection => fault_injection::read(spec).map(Spec::FaultInjection),
        RuleKind::Fallback => fallback::read(spec, namespace).map(Spec::Fallback),
        RuleKind::Telemetry => telemetry::read(spec).map(Spec::Telemetry),
        RuleKind::Capture => capture::read(spec).map(Spec::Capture),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::config::yaml::split;

    fn reading(text: &str, enforced: Enforced) -> Reading {
        read("f", text, &split(text)[0].parse("f", text).unwrap(), "shop", enforced)
    }

    /// The messages of a refusal, without the source lines.
    fn refusal(text: &str) -> Vec<String> {
        match reading(text, Enforced::THIS_BUILD) {
            Reading::Refused(_, problems) => {
                problems.iter().map(|p| p.to_string().lines().next().unwrap().to_owned()).collect()
            }
            other => panic!("not refused: {other:?}"),
        }
    }

    const GRANT: &str = "\
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: g, creationTimestamp: \"2025-01-31T12:00:00Z\", annotations: {a: b}}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: web}]
  to: [{group: \"\", kind: Service}]
status: {conditions: []}
";

    #[test]
    fn a_document_becomes_a_rule_of_its_namespace() {
        let Reading::Rule(rule, position) = reading(GRANT, Enforced::THIS_BUILD) else { panic!("refused") };
        assert_eq!((rule.key.to_string().as_str(), position.line), ("ReferenceGrant shop/g", 1));
        assert_eq!(rule.annotations["a"], "b");
        let Spec::ReferenceGrant(grant) = rule.spec else { panic!("another kind") };
        assert_eq!((&*grant.from[0].namespace, &*grant.to[0].kind), ("web", "Service"));
    }

    #[test]
    fn other_documents_are_left_to_others() {
        assert_eq!(
            reading("{apiVersion: v1, kind: Service, metadata: {name: x}}", Enforced::THIS_BUILD),
            Reading::Other
        );
    }

    #[test]
    fn every_problem_is_told_with_its_place() {
        let text =
            GRANT.replace("namespace: web", "namespaces: web").replace("kind: Service", "kind: 7") + "extra: 1\n";
        assert_eq!(
            refusal(&text),
            [
                "f:5:10: spec.from[0].namespace: missing, must be text",
                "f:5:62: unknown key \"namespaces\" in spec.from[0]; did you mean \"namespace\"?",
                "f:6:26: spec.to[0].kind: found the number 7, allowed: text (quote numbers and booleans)",
                "f:8:1: unknown key \"extra\", allowed: apiVersion, kind, metadata, spec, status",
            ]
        );
    }

    #[test]
    fn a_kind_or_version_that_is_not_read_is_told_with_what_is() {
        let told = refusal(&GRANT.replace("kind: ReferenceGrant", "kind: ReferenceGrants"));
        assert_eq!(told, ["f:2:7: kind: found \"ReferenceGrants\"; did you mean ReferenceGrant?"]);
        let told = refusal(&GRANT.replace("v1beta1", "v9"));
        assert!(told[0].contains("allowed for ReferenceGrant: gateway.networking.k8s.io/v1, "), "{told:?}");
    }
}
