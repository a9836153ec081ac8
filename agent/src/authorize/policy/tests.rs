//! Tests of what decisions and explanations say, apart from the table of truth.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use super::{
    testing::{OwnedFacts, OwnedRequest, headers, identity},
    *,
};
use crate::{
    objects::ObjectName,
    rules::authorization_policy::{
        AccessRule, Action, AuthorizationPolicy, Condition, Operation, RuleFrom, RuleTo, Source, TextAttribute, Values,
    },
};

fn domains() -> TrustDomains {
    TrustDomains::new("cluster.local".parse().unwrap(), [])
}

fn policy(name: &str, action: Action, rules: Vec<AccessRule>) -> Policy {
    let spec = Arc::new(AuthorizationPolicy { selector: Default::default(), action, rules });
    Policy { name: ObjectName::new("shop", name), is_dry_run: false, spec }
}

fn from(sources: Vec<Source>) -> AccessRule {
    AccessRule { from: sources.into_iter().map(|source| RuleFrom { source }).collect(), ..AccessRule::default() }
}

fn of_namespace(namespace: &str) -> Source {
    Source { namespaces: vec![namespace.parse().unwrap()], ..Source::default() }
}

fn get() -> AccessRule {
    let operation = Operation { methods: vec!["GET".parse().unwrap()], ..Operation::default() };
    AccessRule { to: vec![RuleTo { operation }], ..AccessRule::default() }
}

fn when(attribute: TextAttribute, value: &str) -> AccessRule {
    let values = Values { values: vec![value.parse().unwrap()], not_values: vec![] };
    AccessRule { when: vec![Condition::Text(attribute, values)], ..AccessRule::default() }
}

fn connection() -> OwnedFacts {
    OwnedFacts {
        identity: Some(identity("shop/web")),
        source: [10, 0, 0, 9].into(),
        remote: [10, 0, 0, 9].into(),
        destination: ([10, 0, 1, 1], 8080).into(),
        sni: None,
        request: None,
    }
}

fn request(lines: &[&str]) -> OwnedFacts {
    let request = OwnedRequest {
        method: "PUT".to_owned(),
        path: "/a?b".to_owned(),
        host: "cart:80".to_owned(),
        headers: headers(lines),
        claims: None,
        space_delimited: vec![],
    };
    OwnedFacts { request: Some(request), ..connection() }
}

fn told(policies: &[Policy], facts: &OwnedFacts) -> Vec<String> {
    let policies: Vec<&Policy> = policies.iter().collect();
    let why = facts.ask(|facts| explain(&policies, &domains(), facts));
    why.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn an_explanation_names_the_first_field_that_is_not_met_of_each_rule() {
    let not_db = Source { not_principals: vec!["*/sa/web".parse().unwrap()], ..of_namespace("shop") };
    let policies = [
        policy("none", Action::Allow, vec![]),
        policy(
            "some",
            Action::Allow,
            vec![from(vec![of_namespace("bank"), not_db]), get(), from(vec![of_namespace("shop")])],
        ),
        policy("tenants", Action::Deny, vec![when(TextAttribute::RequestHeader("x-tenant".parse().unwrap()), "blue")]),
    ];
    assert_eq!(
        told(&policies, &request(&["x-tenant: red", "x-tenant: green"])),
        [
            "allowed by rules[2] of shop/some",
            "ALLOW shop/none: has no rules, so nothing matches",
            "ALLOW shop/some: rules[2] matches",
            "  rules[0]: ",
            "    from[0].source.namespaces: found shop, wanted one of bank",
            "    from[1].source.notPrincipals: found cluster.local/ns/shop/sa/web, wanted none of */sa/web",
            "  rules[1]: to[0].operation.methods: found \"PUT\", wanted one of GET",
            "  rules[2]: matches",
            "DENY shop/tenants: no rule matches",
            "  rules[0]: when[0].values of request.headers[x-tenant]: found \"red\", \"green\", wanted one of blue",
        ]
    );
}

#[test]
fn an_explanation_of_an_opaque_connection_says_what_could_not_be_looked_at() {
    let policies = [policy("allow", Action::Allow, vec![get()]), policy("deny", Action::Deny, vec![get()])];
    assert_eq!(
        told(&policies, &connection()),
        [
            "denied by rules[0] of shop/deny",
            "ALLOW shop/allow: no rule matches",
            "  rules[0]: to[0].operation.methods: found a connection that is not parsed as HTTP, wanted an HTTP request",
            "DENY shop/deny: rules[0] matches",
            "  rules[0]: matches, without a look at to[0].operation.methods",
        ]
    );
}

#[test]
fn credentials_are_not_shown_and_long_values_are_cut() {
    let header = |name: &str| TextAttribute::RequestHeader(name.parse().unwrap());
    let policies =
        [policy("p", Action::Allow, vec![when(header("authorization"), "Bearer*"), when(header("x-long"), "a")])];
    let long = format!("x-long: {}", "é".repeat(300));
    let told = told(&policies, &request(&["authorization: Basic c2VjcmV0", &long])).join("\n");
    assert!(told.contains("found 1 of it, not shown, wanted one of Bearer*"), "{told}");
    assert!(!told.contains("c2VjcmV0") && told.contains("é...") && told.chars().count() < 800, "{told}");
}

#[test]
fn an_explanation_is_json() {
    let policies = [Policy { is_dry_run: true, ..policy("p", Action::Deny, vec![from(vec![of_namespace("bank")])]) }];
    let policies: Vec<&Policy> = policies.iter().collect();
    let why = connection().ask(|facts| explain(&policies, &domains(), facts));
    let unrestricted = "allowed, since no ALLOW policy selects the workload and no DENY rule matches";
    let expected = serde_json::json!({
        "verdict": "allowed",
        "decision": unrestricted,
        "onTrial": unrestricted,
        "policies": [{
            "namespace": "shop",
            "name": "p",
            "action": "DENY",
            "dryRun": true,
            "rules": [{
                "matches": false,
                "unmet": [{"field": "from[0].source.namespaces", "found": "shop", "wanted": "one of bank"}],
            }],
        }],
    });
    assert_eq!(serde_json::to_value(&why).unwrap(), expected);
}

#[test]
fn a_decision_names_the_policy_for_the_log() {
    let policies =
        [policy("a", Action::Allow, vec![]), policy("d", Action::Deny, vec![from(vec![of_namespace("bank")])])];
    let policies: Vec<&Policy> = policies.iter().collect();
    let name = |facts: &OwnedFacts| {
        let decision = facts.ask(|facts| decide(&policies, &domains(), facts));
        (decision.verdict(), decision.by().map(|rule| rule.rule), decision.ruling.policy().unwrap().to_string())
    };
    assert_eq!(name(&connection()), (Verdict::Denied, None, "shop/a".to_owned()));
    let bank = OwnedFacts { identity: Some(identity("bank/web")), ..connection() };
    assert_eq!(name(&bank), (Verdict::Denied, Some(0), "shop/d".to_owned()));
}
