//! What breaks a promise is noticed.

#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;

#[test]
fn a_rule_that_does_not_come_back_is_an_error() {
    let text = "{apiVersion: heddle.io/v1alpha1, kind: Capture, metadata: {name: c}, spec: {opaquePorts: [1]}}";
    let node = split(text)[0].parse("f", text).unwrap();
    let Reading::Rule(rule, _) = read("f", text, &node, "shop", Enforced::EVERYTHING) else { panic!("refused") };
    assert_eq!(comes_back(&rule), Ok(()));
    let mut other = (*rule).clone();
    other.key.kind = crate::rules::RuleKind::Telemetry;
    assert!(comes_back(&other).unwrap_err().starts_with("Telemetry shop/c does not come back"));
}
