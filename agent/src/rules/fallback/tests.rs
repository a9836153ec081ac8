//! Tests of reading Fallback documents.

#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::{collection::btree_map, option, prelude::*};

use super::*;
use crate::rules::{RuleKind, Spec, testing::*};

const KIND: RuleKind = RuleKind::Fallback;

fn fallback(spec: &str) -> Fallback {
    match accepted(KIND, spec) {
        Spec::Fallback(fallback) => fallback,
        other => panic!("{other:?}"),
    }
}

fn target(name: &str, port: Option<u16>) -> Target {
    Target { name: name.to_owned(), port: port.and_then(NonZeroU16::new) }
}

fn backend(name: &str, namespace: Option<&str>, port: u16) -> ServiceRef {
    ServiceRef {
        name: name.to_owned(),
        namespace: namespace.map(ToOwned::to_owned),
        port: NonZeroU16::new(port).unwrap(),
    }
}

#[test]
fn every_field_is_read_and_what_says_service_may_be_left_out() {
    let whole = fallback(
        "targetRefs: [{group: '', kind: Service, name: web}, {kind: Service, name: api, port: 80}, {name: db, port: 81}]
backendRef: {group: '', kind: Service, name: static, namespace: cdn, port: 8080}",
    );
    let targets = vec![target("web", None), target("api", Some(80)), target("db", Some(81))];
    assert_eq!(whole, Fallback { target_refs: targets, backend_ref: backend("static", Some("cdn"), 8080) });
    let least = fallback("targetRefs: [{name: web}]\nbackendRef: {name: static, port: 80}");
    assert_eq!(least.backend_ref, backend("static", None, 80));
}

#[test]
fn another_port_or_namespace_of_the_same_name_may_take_over() {
    for spec in [
        "targetRefs: [{name: web, port: 80}, {name: web, port: 81}]\nbackendRef: {name: web, port: 82}",
        "targetRefs: [{name: web}]\nbackendRef: {name: web, namespace: cdn, port: 80}",
    ] {
        assert_eq!(fallback(spec).backend_ref.name, "web", "{spec}");
    }
}

#[test]
fn every_problem_of_a_document_is_told_with_its_place() {
    const ITSELF: &str = "spec.backendRef: is one of its own targetRefs, and a Service port cannot take over from itself; name another, or give the targetRef its port";
    let itself = |place: &str| format!("{place}: {ITSELF}");
    let table: &[(&str, &[&str])] = &[
        (
            "{}",
            &[
                "5:3: spec.targetRefs: missing, must be a list of the Services that are not to fail",
                "5:3: spec.backendRef: missing, must be the Service that takes over, with name and port",
            ],
        ),
        (
            "targetRefs: []\nbackendRef: {}",
            &[
                "5:15: spec.targetRefs: found 0 entries, allowed: 1 to 16",
                "6:15: spec.backendRef.name: missing, must be the name of a Service, of 1 to 253 characters",
                "6:15: spec.backendRef.port: missing, must be a port number of the Service",
            ],
        ),
        (
            "targetRefs: [{kind: Deployment, name: web}, {port: 0, name: ''}, {name: a, prot: 80}]
backendRef: {kind: Gateway, name: static, port: 80, weight: 1}
backendRefs: []",
            &[
                r#"5:23: spec.targetRefs[0].kind: found Deployment of group "", allowed: Service of group """#,
                "5:54: spec.targetRefs[1].port: found the number 0, allowed: a port number from 1 to 65535",
                "5:63: spec.targetRefs[1].name: found \"\", allowed: the name of a Service, of 1 to 253 characters",
                r#"5:78: unknown key "prot" in spec.targetRefs[2]; did you mean "port"?"#,
                r#"6:22: spec.backendRef.kind: found Gateway of group "", allowed: Service of group """#,
                r#"6:55: unknown key "weight" in spec.backendRef, allowed: group, kind, name, namespace, port"#,
                r#"7:3: unknown key "backendRefs" in spec; did you mean "backendRef"?"#,
            ],
        ),
        (
            "targetRefs: [{name: web}, {name: web, port: 80}]\nbackendRef: {name: static, port: 80}",
            &["5:29: spec.targetRefs[1]: is the same Service and port as one before it, allowed: each once"],
        ),
        ("targetRefs: [{name: web}]\nbackendRef: {name: web, port: 80}", &[&itself("6:15")]),
        ("targetRefs: [{name: a}, {name: web, port: 80}]\nbackendRef: {name: web, port: 80}", &[&itself("6:15")]),
        ("targetRefs: [{name: web}]\nbackendRef: {name: web, namespace: shop, port: 80}", &[&itself("6:15")]),
    ];
    all_refused(KIND, table);
}

prop_compose! {
    /// `t` begins the names of targets and no name of a backend.
    fn fallbacks()(
        targets in btree_map("t[a-z0-9]{0,8}", option::of(any::port()), 1..4),
        name in "[a-s][a-z0-9]{0,8}",
        namespace in option::of(any::name()),
        port in any::port(),
    ) -> Fallback {
        let target_refs = targets.into_iter().map(|(name, port)| Target { name, port }).collect();
        Fallback { target_refs, backend_ref: ServiceRef { name, namespace, port } }
    }
}

proptest! {
    #[test]
    fn what_it_serializes_to_is_read_again(fallback in fallbacks()) {
        comes_back(KIND, &Spec::Fallback(fallback))?;
    }

    #[test]
    fn damage_is_read_or_refused_with_a_reason(fallback in fallbacks(), damage in any::damage()) {
        damage_is_told(KIND, &Spec::Fallback(fallback), &damage)?;
    }
}
