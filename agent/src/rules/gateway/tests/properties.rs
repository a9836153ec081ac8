//! Properties of all kinds of the Gateway API: what is written is read again, and nothing panics.

use proptest::{prelude::*, sample::select};
use serde_json::{Value, json};

use super::{accepted, document, strategies::specs};
use crate::{
    config::yaml::split,
    rules::{Enforced, Reading, RuleKind, Spec, read::read},
};

/// The document of a spec, as YAML in its long form.
fn written(spec: &Spec) -> String {
    let yaml = serde_saphyr::to_string(&std::collections::BTreeMap::from([("spec", spec)])).unwrap();
    document(kind_of(spec), &yaml)
}

fn kind_of(spec: &Spec) -> RuleKind {
    match spec {
        Spec::HttpRoute(_) => RuleKind::HttpRoute,
        Spec::GrpcRoute(_) => RuleKind::GrpcRoute,
        Spec::TlsRoute(_) => RuleKind::TlsRoute,
        Spec::TcpRoute(_) => RuleKind::TcpRoute,
        Spec::BackendTrafficPolicy(_) => RuleKind::BackendTrafficPolicy,
        other => panic!("of no Gateway API kind: {other:?}"),
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_again_as_the_same_rule(spec in specs()) {
        let text = written(&spec);
        prop_assert_eq!(accepted(&text), spec, "{}", text);
    }
}

// Half as many: each case makes, writes and reads a whole document, which takes milliseconds.
proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_document_in_json_is_read_too(spec in specs()) {
        let json = json!({ "spec": spec }).to_string();
        let text = document(kind_of(&spec), &format!("spec: {}\n", &json["{\"spec\":".len()..json.len() - 1]));
        prop_assert_eq!(accepted(&text), spec, "{}", text);
    }

    #[test]
    fn a_damaged_document_is_read_or_refused_with_places(
        spec in specs(),
        at in any::<prop::sample::Index>(),
        length in 0..12_usize,
        by in "[a-z0-9:{}\\[\\],\"'/*. #-]{0,6}|\\PC{0,3}",
    ) {
        let mut text = written(&spec);
        let boundaries: Vec<usize> = text.char_indices().map(|(i, _)| i).collect();
        let start = at.index(boundaries.len());
        let end = boundaries.get(start + length).copied().unwrap_or(text.len());
        text.replace_range(boundaries[start]..end, &by);
        check(&text);
    }

    #[test]
    fn a_spec_with_a_foreign_value_is_read_or_refused_with_places(
        spec in specs(),
        at in any::<prop::sample::Index>(),
        by in foreign_values(),
    ) {
        let mut value = serde_json::to_value(&spec).unwrap();
        let places = places(&value, String::new());
        *value.pointer_mut(&places[at.index(places.len())]).unwrap() = by;
        check(&document(kind_of(&spec), &format!("spec: {value}\n")));
    }

    #[test]
    fn no_bytes_panic(bytes in any::<Vec<u8>>(), kind in select(&KINDS[..])) {
        let text = String::from_utf8_lossy(&bytes);
        check(&text);
        check(&document(kind, &text));
    }
}

const KINDS: [RuleKind; 5] =
    [RuleKind::HttpRoute, RuleKind::GrpcRoute, RuleKind::TlsRoute, RuleKind::TcpRoute, RuleKind::BackendTrafficPolicy];

fn foreign_values() -> impl Strategy<Value = Value> {
    prop_oneof![
        select(vec![
            json!(null),
            json!([]),
            json!({}),
            json!([{}]),
            json!({"": [null]}),
            json!(0),
            json!(-1),
            json!(1e99)
        ]),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        "\\PC{0,8}|[/%.*()\\[\\]0-9hms]{0,8}".prop_map(Value::from),
    ]
}

/// JSON pointers to a value and to all in it.
fn places(value: &Value, path: String) -> Vec<String> {
    let below: Vec<String> = match value {
        Value::Array(items) => {
            items.iter().enumerate().flat_map(|(i, item)| places(item, format!("{path}/{i}"))).collect()
        }
        Value::Object(map) => map.iter().flat_map(|(key, item)| places(item, format!("{path}/{key}"))).collect(),
        _ => Vec::new(),
    };
    std::iter::once(path).chain(below).collect()
}

/// Reads every document of a text. A refusal has problems, and each has a place in the text.
fn check(text: &str) {
    for part in split(text) {
        let Ok(node) = part.parse("f", text) else { continue };
        match read("f", text, &node, "shop", Enforced::EVERYTHING) {
            Reading::Rule(..) | Reading::Other => {}
            Reading::Refused(_, problems) => {
                assert!(!problems.is_empty(), "{text}");
                assert!(problems.iter().all(|problem| problem.position.is_some()), "{problems:?}");
            }
        }
    }
}
