//! Tests of reading PeerAuthentication documents.

#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::{collection::btree_map, prelude::*};

use super::*;
use crate::rules::{RuleKind, Spec, testing::*, value::Word as _};

const KIND: RuleKind = RuleKind::PeerAuthentication;

fn authentication(spec: &str) -> PeerAuthentication {
    match accepted(KIND, spec) {
        Spec::PeerAuthentication(authentication) => authentication,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_field_is_read() {
    let found = authentication(
        "selector: {matchLabels: {app: web}}\nmtls: {mode: STRICT}\n\
         portLevelMtls: {80: {mode: DISABLE}, \"81\": {mode: PERMISSIVE}, 82: {}}",
    );
    let port = |number, mode| (NonZeroU16::new(number).unwrap(), Mtls { mode });
    let expected = PeerAuthentication {
        selector: Selector { match_labels: [("app".to_owned(), "web".to_owned())].into() },
        mtls: Mtls { mode: PeerMtlsMode::Strict },
        port_level_mtls: [
            port(80, PeerMtlsMode::Disable),
            port(81, PeerMtlsMode::Permissive),
            port(82, PeerMtlsMode::Unset),
        ]
        .into(),
    };
    assert_eq!(found, expected);
}

#[test]
fn what_is_not_said_is_inherited() {
    for spec in ["{}", "mtls: {}", "mtls: {mode: UNSET}"] {
        assert_eq!(authentication(spec), PeerAuthentication::default(), "{spec}");
    }
}

#[test]
fn every_problem_of_a_document_is_told_with_its_place() {
    let table: &[(&str, &[&str])] = &[
        (
            "mtls: {mode: strict}",
            &[
                r#"5:16: spec.mtls.mode: found "strict", allowed: UNSET, DISABLE, PERMISSIVE, STRICT; did you mean STRICT?"#,
            ],
        ),
        (
            "mtls: {mode: MUTUAL, modes: 1}",
            &[
                r#"5:16: spec.mtls.mode: found "MUTUAL", allowed: UNSET, DISABLE, PERMISSIVE, STRICT"#,
                r#"5:24: unknown key "modes" in spec.mtls; did you mean "mode"?"#,
            ],
        ),
        (
            "portLevelMtls: {80: {mode: STRICT}}",
            &["5:18: spec.portLevelMtls: needs a selector with labels: ports differ between workloads"],
        ),
        (
            "selector: {matchLabels: {a: b}}
portLevelMtls: {}",
            &["6:18: spec.portLevelMtls: has no ports; remove it"],
        ),
        (
            r#"selector: {matchLabels: {a: b}}
portLevelMtls:
  0: {mode: STRICT}
  65536: {mode: STRICT}
  http: {mode: STRICT}
  80: STRICT
  81: {mode: STRCT}
  "080": {}
  8080: {}
  "08080": {}"#,
            &[
                r#"7:8: spec.portLevelMtls.0: found the key "0", allowed: a port from 1 to 65535"#,
                r#"8:12: spec.portLevelMtls.65536: found the key "65536", allowed: a port from 1 to 65535"#,
                r#"9:11: spec.portLevelMtls.http: found the key "http", allowed: a port from 1 to 65535"#,
                r#"10:9: spec.portLevelMtls.80: found "STRICT", allowed: a map of keys and values"#,
                r#"11:16: spec.portLevelMtls.81.mode: found "STRCT", allowed: UNSET, DISABLE, PERMISSIVE, STRICT; did you mean STRICT?"#,
                "14:14: spec.portLevelMtls.08080: is the number of an earlier port too",
            ],
        ),
    ];
    all_refused(KIND, table);
}

fn mtls() -> impl Strategy<Value = Mtls> {
    prop::sample::select(PeerMtlsMode::ALL).prop_map(|mode| Mtls { mode })
}

prop_compose! {
    fn authentications()(
        selector in any::selector(),
        mtls in mtls(),
        ports in btree_map(any::port(), mtls(), 0..4),
    ) -> PeerAuthentication {
        let port_level_mtls = if selector.is_everything() { BTreeMap::new() } else { ports };
        PeerAuthentication { selector, mtls, port_level_mtls }
    }
}

proptest! {
    #[test]
    fn what_it_serializes_to_is_read_again(authentication in authentications()) {
        comes_back(KIND, &Spec::PeerAuthentication(authentication))?;
    }

    #[test]
    fn damage_is_read_or_refused_with_a_reason(authentication in authentications(), damage in any::damage()) {
        damage_is_told(KIND, &Spec::PeerAuthentication(authentication), &damage)?;
    }
}
