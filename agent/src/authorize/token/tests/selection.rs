//! Which rules a workload has.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::objects::Map;

const SPEC: &str = "jwtRules: [{issuer: a}]";
const CART: &str = "selector: {matchLabels: {app: cart}}\njwtRules: [{issuer: b}, {issuer: c}]";
const WEB: &str = "selector: {matchLabels: {app: web}}\njwtRules: [{issuer: d}]";
const BOTH: &str = "selector: {matchLabels: {app: cart, tier: front}}\njwtRules: [{issuer: e}]";

fn issuers(labels: &[(&str, &str)], documents: &[(&str, &str, &str)]) -> Vec<String> {
    let rules = of_the_pod(&snapshot(labels, documents));
    rules.iter().map(|rule| format!("{} {}", rule.document(), rule.rule().issuer)).collect()
}

#[test]
fn rules_are_those_of_the_own_and_the_root_namespace_that_select_the_workload() {
    let documents = [
        ("shop", "all", SPEC),
        ("shop", "cart", CART),
        ("shop", "web", WEB),
        ("shop", "both", BOTH),
        ("bank", "all", SPEC),
        ("heddle-system", "all", SPEC),
        ("heddle-system", "cart", CART),
        ("heddle-system", "web", WEB),
    ];
    let all = ["heddle-system/all a", "shop/all a"];
    assert_eq!(issuers(&[], &documents), all);
    assert_eq!(issuers(&[("app", "other")], &documents), all);
    let of_cart = [
        "heddle-system/all a",
        "heddle-system/cart b",
        "heddle-system/cart c",
        "shop/all a",
        "shop/cart b",
        "shop/cart c",
    ];
    assert_eq!(issuers(&[("app", "cart")], &documents), of_cart);
    assert_eq!(issuers(&[("app", "cart"), ("tier", "back")], &documents), of_cart);
    let with_both = issuers(&[("app", "cart"), ("tier", "front"), ("more", "x")], &documents);
    assert_eq!(with_both.len(), 7);
    assert!(with_both.contains(&"shop/both e".to_owned()));
    assert_eq!(issuers(&[("app", "cart")], &[]), [""; 0]);
}

#[test]
fn a_change_of_a_document_is_a_change_of_the_snapshot() {
    let (before, after) = (snapshot(&[], &[("shop", "a", SPEC)]), snapshot(&[], &[("shop", "a", CART)]));
    assert!(!before.same_contents(&after));
    assert!(before.same_contents(&snapshot(&[], &[("shop", "a", SPEC)])));
}

fn labels() -> impl Strategy<Value = Map> {
    vec(("[abc]", "[xyz]"), 0..4).prop_map(|pairs| pairs.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_table_finds_what_looking_at_every_document_finds(
        pod in labels(),
        selectors in vec((labels(), prop_oneof![Just("shop"), Just("bank"), Just("heddle-system")]), 0..20),
    ) {
        let documents: Vec<(&str, String, String)> = selectors.iter().enumerate().map(|(index, (selector, namespace))| {
            let spec = json!({"selector": {"matchLabels": selector}, "jwtRules": [{"issuer": index.to_string()}]});
            (*namespace, format!("d{index}"), spec.to_string())
        }).collect();
        let documents: Vec<_> =
            documents.iter().map(|(namespace, name, spec)| (*namespace, name.as_str(), spec.as_str())).collect();
        let pod_labels: Vec<_> = pod.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let mut found: Vec<String> = of_the_pod(&snapshot(&pod_labels, &documents))
            .iter().map(|rule| rule.rule().issuer.clone()).collect();
        let mut expected: Vec<String> = selectors.iter().enumerate()
            .filter(|(_, (_, namespace))| *namespace != "bank")
            .filter(|(_, (selector, _))| selector.iter().all(|(key, value)| pod.get(key) == Some(value)))
            .map(|(index, _)| index.to_string()).collect();
        found.sort();
        expected.sort();
        prop_assert_eq!(found, expected);
    }
}
