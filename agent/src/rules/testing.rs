//! What the tests of all kinds share: one spec in a document around it, read as if every kind were enforced.

#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::{prelude::*, test_runner::TestCaseResult};

use serde_json::Value;

use super::{Enforced, Reading, RuleKind, Spec, read};
use crate::config::yaml::split;

/// The document that a spec is put into; its first line is line 5 of it, indented by two.
pub(super) fn document(kind: RuleKind, spec: &str) -> String {
    let lines: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!("apiVersion: {}\nkind: {kind}\nmetadata: {{name: x}}\nspec:\n{lines}", kind.api_versions()[0])
}

/// The spec of a document that must be accepted.
pub(super) fn accepted(kind: RuleKind, spec: &str) -> Spec {
    read_spec(kind, spec).unwrap_or_else(|problems| panic!("refused: {problems:#?}\n{spec}"))
}

/// The problems of a document that must be refused, as `line:column: message`.
pub(super) fn refused(kind: RuleKind, spec: &str) -> Vec<String> {
    read_spec(kind, spec).map(|spec| format!("{spec:?}")).unwrap_err()
}

/// Each row is a spec and its problems, all of them, in order.
pub(super) fn all_refused(kind: RuleKind, table: &[(&str, &[&str])]) {
    for (spec, problems) in table {
        assert_eq!(refused(kind, spec), *problems, "{spec}");
    }
}

/// What a spec serializes to is read as the same spec, from YAML and from JSON.
pub(super) fn comes_back(kind: RuleKind, spec: &Spec) -> TestCaseResult {
    let json = serde_json::to_string(spec).unwrap();
    let yaml = serde_saphyr::to_string(spec).unwrap();
    for text in [json, yaml] {
        let again = read_spec(kind, &text);
        prop_assert_eq!(again.as_ref(), Ok(spec), "{}", text);
    }
    Ok(())
}

/// A spec with one value in it replaced or removed is read, or refused with a reason: never a panic, never in silence.
pub(super) fn damage_is_told(kind: RuleKind, spec: &Spec, damage: &Damage) -> TestCaseResult {
    let mut tree = serde_json::to_value(spec).unwrap();
    let mut countdown = damage.place % size(&tree);
    strike(&mut tree, &mut countdown, damage);
    let outcome = read_spec(kind, &tree.to_string());
    prop_assert_ne!(outcome, Err(Vec::new()), "{}", tree);
    Ok(())
}

/// What is put in the place of which value.
#[derive(Clone, Debug)]
pub(super) struct Damage {
    place: usize,
    /// `None` renames the key in a map, and removes the entry of a list.
    value: Option<Value>,
}

fn size(tree: &Value) -> usize {
    1 + match tree {
        Value::Array(items) => items.iter().map(size).sum::<usize>(),
        Value::Object(entries) => entries.values().map(size).sum(),
        _ => 0,
    }
}

/// Counts values down in order and strikes the one at zero.
fn strike(tree: &mut Value, countdown: &mut usize, damage: &Damage) -> bool {
    if *countdown == 0 {
        match (tree, &damage.value) {
            (tree, Some(value)) => *tree = value.clone(),
            (Value::Array(items), None) => drop(items.pop()),
            (Value::Object(entries), None) => {
                if let Some(key) = entries.keys().next().cloned() {
                    let value = entries.remove(&key).unwrap();
                    entries.insert(format!("{key}x"), value);
                }
            }
            _ => {}
        }
        return true;
    }
    *countdown -= 1;
    match tree {
        Value::Array(items) => items.iter_mut().any(|item| strike(item, countdown, damage)),
        Value::Object(entries) => entries.values_mut().any(|value| strike(value, countdown, damage)),
        _ => false,
    }
}

fn read_spec(kind: RuleKind, spec: &str) -> Result<Spec, Vec<String>> {
    let text = document(kind, spec);
    let node = split(&text)[0].parse("f", &text).unwrap();
    match read("f", &text, &node, "shop", Enforced::EVERYTHING) {
        Reading::Rule(rule, _) => Ok(rule.spec),
        Reading::Refused(_, problems) => Err(problems.iter().map(|problem| first_line(&problem.to_string())).collect()),
        Reading::Other => panic!("no mesh document"),
    }
}

fn first_line(problem: &str) -> String {
    problem.lines().next().unwrap_or_default().trim_start_matches("f:").to_owned()
}

/// Strategies for the parts that kinds share.
pub(super) mod any {
    use std::{net::IpAddr, num::NonZeroU16, num::NonZeroU32, time::Duration};

    use http::HeaderName;
    use ipnet::IpNet;
    use proptest::{collection::btree_map, option, prelude::*};

    use serde_json::json;

    use crate::rules::value::{Host, Percentage, Selector, StringMatch, WholePercentage};

    pub(in crate::rules) fn damage() -> impl Strategy<Value = super::Damage> {
        let values = [
            json!(null),
            json!(true),
            json!(0),
            json!(-1.5),
            json!(1e300),
            json!(""),
            json!("*"),
            json!("x"),
            json!("/"),
            json!("1s"),
            json!("10.0.0.0/8"),
            json!([]),
            json!([null]),
            json!({}),
            json!({"": null}),
            json!({"x": 1}),
        ];
        let value = option::of(prop::sample::select(values.to_vec()));
        (0usize..10_000, value).prop_map(|(place, value)| super::Damage { place, value })
    }

    /// Printable text, also of the kinds that YAML would take for something else.
    pub(in crate::rules) fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-zA-Z0-9._/-]{1,12}",
            "\\PC{1,12}",
            prop::sample::select(vec![
                "true", "null", "~", "1", "1e3", "0x1", "- a", "a: b", "#", "'", "\"", "yes", " a "
            ])
            .prop_map(str::to_owned),
        ]
    }

    pub(in crate::rules) fn texts() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec(text(), 0..3)
    }

    pub(in crate::rules) fn selector() -> impl Strategy<Value = Selector> {
        let labels = btree_map("([a-z]{1,5}/)?[a-zA-Z0-9]{1,5}", "([a-z0-9]([a-z0-9._-]{0,5}[a-z0-9])?)?", 0..3);
        labels.prop_map(|match_labels| Selector { match_labels })
    }

    pub(in crate::rules) fn name() -> impl Strategy<Value = String> {
        "[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?"
    }

    pub(in crate::rules) fn host() -> impl Strategy<Value = Host> {
        prop_oneof![
            "[a-z]{1,5}(\\.[a-z0-9]{1,5}){0,3}".prop_map(Host::Exact),
            "[a-z]{1,5}(\\.[a-z0-9]{1,5}){0,3}".prop_map(Host::Below)
        ]
    }

    pub(in crate::rules) fn address() -> impl Strategy<Value = IpAddr> {
        any::<IpAddr>()
    }

    pub(in crate::rules) fn network() -> impl Strategy<Value = IpNet> {
        (any::<IpAddr>(), 0u8..=128).prop_map(|(address, length)| {
            let most = if address.is_ipv4() { 32 } else { 128 };
            IpNet::new(address, length.min(most)).unwrap().trunc()
        })
    }

    pub(in crate::rules) fn networks() -> impl Strategy<Value = Vec<IpNet>> {
        prop::collection::vec(network(), 0..3)
    }

    pub(in crate::rules) fn port() -> impl Strategy<Value = NonZeroU16> {
        any::<NonZeroU16>()
    }

    pub(in crate::rules) fn count() -> impl Strategy<Value = NonZeroU32> {
        (1u32..=i32::MAX as u32).prop_map(|count| NonZeroU32::new(count).unwrap())
    }

    pub(in crate::rules) fn duration() -> impl Strategy<Value = Duration> {
        prop_oneof![
            (1u64..=31_536_000).prop_map(Duration::from_secs),
            (1u64..=100_000).prop_map(Duration::from_millis),
            (1_000_000u64..=10_000_000_000).prop_map(Duration::from_nanos),
        ]
    }

    pub(in crate::rules) fn duration_or_zero() -> impl Strategy<Value = Duration> {
        option::of(duration()).prop_map(Option::unwrap_or_default)
    }

    pub(in crate::rules) fn percentage() -> impl Strategy<Value = Percentage> {
        prop_oneof![(0u32..=100).prop_map(|whole| whole * 10_000), 0u32..=1_000_000]
            .prop_map(|parts| Percentage::from_parts_per_million(parts).unwrap())
    }

    pub(in crate::rules) fn whole_percentage() -> impl Strategy<Value = WholePercentage> {
        (0u8..=100).prop_map(|value| WholePercentage::new(value).unwrap())
    }

    pub(in crate::rules) fn header_name() -> impl Strategy<Value = HeaderName> {
        "[a-z]{1,5}(-[a-z0-9]{1,5})?".prop_map(|name| name.parse().unwrap())
    }

    /// Texts to match whose literal part comes from a pattern.
    pub(in crate::rules) fn matching(literal: &'static str) -> impl Strategy<Value = StringMatch> {
        prop_oneof![
            literal.prop_map(StringMatch::Exact),
            literal.prop_map(StringMatch::Prefix),
            literal.prop_map(StringMatch::Suffix),
            Just(StringMatch::Present),
        ]
    }
}
