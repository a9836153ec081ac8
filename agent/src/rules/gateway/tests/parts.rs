//! Parents, names and limits, which are the same for every kind of route.

use super::{accepted, assert_refused, document, refused};
use crate::rules::{RuleKind, Spec};

/// A document of a kind of route with these parents.
fn route(kind: RuleKind, parents: &str) -> String {
    let names = if kind == RuleKind::TlsRoute { "hostnames: [a.example], " } else { "" };
    document(
        kind,
        &format!("spec: {{{names}rules: [{{backendRefs: [{{name: a, port: 1}}]}}], parentRefs: [{parents}]}}\n"),
    )
}

const ROUTES: [RuleKind; 4] = [RuleKind::HttpRoute, RuleKind::GrpcRoute, RuleKind::TlsRoute, RuleKind::TcpRoute];

#[test]
fn no_kind_of_route_has_a_gateway_as_its_parent() {
    for kind in ROUTES {
        accepted(&route(kind, "{group: \"\", kind: Service, name: web}"));
        let told = refused(&route(kind, "{name: web}"));
        let reason = "spec.parentRefs[0].kind: found a Gateway, but this build serves routes whose parent is a Service; \
                      write group: \"\" and kind: Service";
        assert!(told.len() == 1 && told[0].ends_with(reason), "{kind}: {told:?}");
    }
}

#[test]
fn a_route_has_32_parents_at_most_and_they_may_be_ports_of_one_service() {
    let parents = |count: usize| -> String {
        (1..=count).map(|port| format!("{{group: \"\", kind: Service, name: web, port: {port}}},")).collect()
    };
    for kind in ROUTES {
        accepted(&route(kind, &parents(32)));
        let told = refused(&route(kind, &parents(33)));
        assert!(told[0].ends_with("spec.parentRefs: found 33 entries, allowed: 1 to 32"), "{kind}: {told:?}");
    }
}

#[test]
fn hostnames_are_for_server_names_only() {
    accepted(&route(RuleKind::TlsRoute, "{group: \"\", kind: Service, name: web}"));
    for kind in [RuleKind::HttpRoute, RuleKind::GrpcRoute] {
        let text = route(kind, "{group: \"\", kind: Service, name: web}");
        accepted(&text);
        let told = refused(&text.replace("rules:", "hostnames: [a.example], rules:"));
        assert!(told[0].contains("spec.hostnames: has no meaning for a route of a Service"), "{told:?}");
    }
}

#[test]
fn the_same_service_name_in_two_namespaces_is_two_parents() {
    let parents = "{group: \"\", kind: Service, name: web}, {group: \"\", kind: Service, name: web, namespace: other}";
    let Spec::TcpRoute(route) = accepted(&route(RuleKind::TcpRoute, parents)) else { panic!("another kind") };
    assert_eq!(route.parent_refs.len(), 2);
}

#[test]
fn routes_that_a_mesh_cannot_serve_are_refused_with_the_reason() {
    assert_refused(
        |spec| document(RuleKind::HttpRoute, &format!("spec: {spec}\n")),
        &[
            ("{}", &["f:4:7: spec.parentRefs: missing, must be a list of the Services that the route is for"]),
            ("{parentRefs: []}", &["f:4:20: spec.parentRefs: found 0 entries, allowed: 1 to 32"]),
            (
                "{parentRefs: [{name: web}]}",
                &[
                    r#"f:4:21: spec.parentRefs[0].kind: found a Gateway, but this build serves routes whose parent is a Service; write group: "" and kind: Service"#,
                ],
            ),
            (
                "{parentRefs: [{kind: Gateway, name: web, sectionName: https}]}",
                &[
                    r#"f:4:28: spec.parentRefs[0].kind: found a Gateway, but this build serves routes whose parent is a Service; write group: "" and kind: Service"#,
                ],
            ),
            (
                "{parentRefs: [{kind: Service, name: web}]}",
                &[
                    r#"f:4:21: spec.parentRefs[0].group: missing, must be "" for a Service, since without it the group is gateway.networking.k8s.io"#,
                ],
            ),
            (
                "{parentRefs: [{group: core, kind: Service, name: web}]}",
                &[r#"f:4:29: spec.parentRefs[0].group: found Service of group "core", allowed: Service of group """#],
            ),
            (
                r#"{parentRefs: [{group: "", kind: Gateway, name: web}]}"#,
                &[r#"f:4:39: spec.parentRefs[0].kind: found Gateway of group "", allowed: Service of group """#],
            ),
            (
                "{parentRefs: [{group: networking.istio.io, kind: ServiceEntry, name: web}]}",
                &[
                    r#"f:4:56: spec.parentRefs[0].kind: found ServiceEntry of group "networking.istio.io", allowed: Service of group """#,
                ],
            ),
            (
                r#"{parentRefs: [{group: "", kind: Service, name: web, sectionName: http}]}"#,
                &[
                    "f:4:72: spec.parentRefs[0].sectionName: is not served for a Service; give the port's number in port",
                ],
            ),
            (
                r#"{parentRefs: [{group: "", kind: Service, name: web, port: 80}, {group: "", kind: Service, name: web}]}"#,
                &["f:4:70: spec.parentRefs[1]: is the same Service and port as one before it, allowed: each once"],
            ),
            (
                r#"{parentRefs: [{group: "", kind: Service, name: web, port: 80}, {group: "", kind: Service, name: web, port: 80}]}"#,
                &["f:4:70: spec.parentRefs[1]: is the same Service and port as one before it, allowed: each once"],
            ),
            (
                r#"{parentRefs: [{group: "", kind: Service, port: 0, namespace: a.b}]}"#,
                &[
                    "f:4:21: spec.parentRefs[0].name: missing, must be the name of a Service, of 1 to 253 characters",
                    "f:4:54: spec.parentRefs[0].port: found the number 0, allowed: a port number from 1 to 65535",
                    r#"f:4:68: spec.parentRefs[0].namespace: found "a.b", allowed: a namespace: at most 63 of the characters a-z, 0-9 and '-'"#,
                ],
            ),
            ("{parentRefs: web}", &[r#"f:4:20: spec.parentRefs: found "web", allowed: a list of maps"#]),
            (
                "{parentRefs: [{group: 1, kind: 2, name: web}]}",
                &[
                    "f:4:29: spec.parentRefs[0].group: found the number 1, allowed: text (quote numbers and booleans)",
                    "f:4:38: spec.parentRefs[0].kind: found the number 2, allowed: text (quote numbers and booleans)",
                ],
            ),
            (
                r#"{parentRefs: [{group: "", kind: Service, name: web}], hostnames: [a.example], useDefaultGateways: All}"#,
                &[
                    "f:4:72: spec.hostnames: has no meaning for a route of a Service, which matches by the dialled address; remove it, and match the header Host if you need to",
                    "f:4:105: spec.useDefaultGateways: is not enforced by this build; remove it, since a document is accepted only whole",
                ],
            ),
            (
                r#"{parentRefs: [{group: "", kind: Service, name: web}], rules: []}"#,
                &["f:4:68: spec.rules: found 0 entries, allowed: 1 to 16"],
            ),
            (
                r#"{parentRefs: [{group: "", kind: Service, name: web}], rules: [{name: a}, {name: a}]}"#,
                &[r#"f:4:87: spec.rules[1].name: a rule before this one is named "a" too, allowed: each name once"#],
            ),
            (
                r#"{parentRef: [{group: "", kind: Service, name: web}]}"#,
                &[
                    "f:4:7: spec.parentRefs: missing, must be a list of the Services that the route is for",
                    r#"f:4:8: unknown key "parentRef" in spec; did you mean "parentRefs"?"#,
                ],
            ),
        ],
    );
}
