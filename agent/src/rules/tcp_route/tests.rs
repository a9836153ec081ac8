//! TCPRoute documents, accepted and refused.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::rules::{
    RuleKind, Spec,
    gateway::{
        BackendRef, ServiceRef,
        tests::{accepted, assert_refused, document},
    },
};

#[test]
fn every_version_of_a_route_is_read() {
    let text = document(
        RuleKind::TcpRoute,
        "spec:
  parentRefs: [{group: \"\", kind: Service, name: db, port: 5432}]
  rules:
  - name: all
    backendRefs: [{name: db-old, port: 5432, weight: 9}, {name: db-new, namespace: data, port: 5433}]
",
    );
    let backend = |name: &str, namespace: Option<&str>, port: u16, weight| BackendRef {
        service: ServiceRef {
            name: name.to_owned(),
            namespace: namespace.map(str::to_owned),
            port: port.try_into().unwrap(),
        },
        weight,
    };
    let expected = TcpRoute {
        parent_refs: vec![ParentRef { name: "db".to_owned(), namespace: None, port: 5432.try_into().ok() }],
        rules: vec![StreamRule {
            name: Some("all".to_owned()),
            backend_refs: vec![backend("db-old", None, 5432, 9), backend("db-new", Some("data"), 5433, 1)],
        }],
    };
    for version in ["v1", "v1alpha2"] {
        let text = text.replace("k8s.io/v1", &format!("k8s.io/{version}"));
        assert_eq!(accepted(&text), Spec::TcpRoute(expected.clone()), "{version}");
    }
}

#[test]
fn bad_routes_are_refused() {
    assert_refused(
        |spec| document(RuleKind::TcpRoute, &format!("spec: {spec}\n")),
        &[
            (
                r#"{parentRefs: [{group: "", kind: Service, name: web}]}"#,
                &["f:4:7: spec.rules: missing, must be a list of one rule, which takes every connection of the route"],
            ),
            (
                r#"{parentRefs: [{group: "", kind: Service, name: web}], rules: []}"#,
                &["f:4:68: spec.rules: found 0 entries, allowed: 1"],
            ),
            (
                r#"{parentRefs: [{group: "", kind: Service, name: web}], rules: [{backendRefs: [{name: a, port: 1}]}, {backendRefs: [{name: b, port: 1}]}]}"#,
                &["f:4:68: spec.rules: found 2 entries, allowed: 1"],
            ),
            (
                r#"{parentRefs: [{group: "", kind: Service, name: web}], rules: [{}]}"#,
                &["f:4:69: spec.rules[0].backendRefs: missing, must be a list of the Services that connections go to"],
            ),
            (
                r#"{parentRefs: [{group: "", kind: Service, name: web}], rules: [{name: "", backendRefs: []}]}"#,
                &[
                    r#"f:4:76: spec.rules[0].name: found "", allowed: a name of at most 253 of the characters a-z, 0-9, '-' and '.'"#,
                    "f:4:93: spec.rules[0].backendRefs: found 0 entries, allowed: 1 to 16",
                ],
            ),
            (
                r#"{parentRefs: [{group: "", kind: Service, name: web}], rules: [{backendRefs: [{name: a, port: 1, filters: []}]}], hostnames: []}"#,
                &[
                    r#"f:4:103: unknown key "filters" in spec.rules[0].backendRefs[0], allowed: group, kind, name, namespace, port, weight"#,
                    r#"f:4:120: unknown key "hostnames" in spec, allowed: parentRefs, useDefaultGateways, rules"#,
                ],
            ),
        ],
    );
}
