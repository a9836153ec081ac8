//! GRPCRoute documents, accepted and refused.
#![expect(clippy::unwrap_used, reason = "tests")]

use http::HeaderName;

use super::*;
use crate::rules::{
    RuleKind, Spec,
    gateway::{
        BackendRef, HeaderMatch, HeaderModifier, Pattern, ServiceRef, TextMatch,
        tests::{accepted, assert_refused, document, refused},
    },
};

/// A route with one rule, which begins in line 7, column 5.
fn with_rule(rule: &str) -> String {
    let parent = "{group: \"\", kind: Service, name: cart}";
    document(RuleKind::GrpcRoute, &format!("spec:\n  parentRefs: [{parent}]\n  rules:\n  - {rule}\n"))
}

fn rule(text: &str) -> GrpcRule {
    let Spec::GrpcRoute(mut route) = accepted(&with_rule(text)) else { panic!("another kind") };
    route.rules.remove(0)
}

fn method(text: &str) -> GrpcMethodMatch {
    rule(&format!("matches: [{{method: {text}}}]")).matches.remove(0).method.unwrap()
}

#[test]
fn methods_are_matched_by_name_or_expression() {
    let text = |text: &str| Some(text.to_owned());
    let pattern = |text: &str| Pattern::new(text).ok();
    for (document, expected) in [
        (
            "{service: shop.v1.Cart, method: Get}",
            GrpcMethodMatch::Exact { service: text("shop.v1.Cart"), method: text("Get") },
        ),
        ("{type: Exact, method: Get}", GrpcMethodMatch::Exact { service: None, method: text("Get") }),
        ("{service: .shop.Cart}", GrpcMethodMatch::Exact { service: text(".shop.Cart"), method: None }),
        (
            "{type: RegularExpression, service: \"shop[.].*\", method: \"\"}",
            GrpcMethodMatch::RegularExpression { service: pattern("shop[.].*"), method: None },
        ),
        (
            "{type: RegularExpression, method: Get|Set}",
            GrpcMethodMatch::RegularExpression { service: None, method: pattern("Get|Set") },
        ),
    ] {
        assert_eq!(method(document), expected, "{document}");
    }
}

#[test]
fn a_rule_without_matches_takes_every_call() {
    let expected = GrpcRule {
        name: None,
        matches: vec![GrpcMatch::default()],
        filters: Vec::new(),
        backend_refs: Vec::new(),
        session_persistence: None,
    };
    assert_eq!(rule("{}"), expected);
    assert_eq!(rule("{matches: [{}]}"), expected);
}

#[test]
fn a_route_without_rules_has_none() {
    let text = document(RuleKind::GrpcRoute, "spec: {parentRefs: [{group: \"\", kind: Service, name: cart}]}\n");
    let Spec::GrpcRoute(route) = accepted(&text) else { panic!("another kind") };
    assert_eq!((route.parent_refs[0].name.as_str(), route.rules), ("cart", Vec::new()));
}

#[test]
fn a_whole_rule_is_read() {
    let expected = GrpcRule {
        name: Some("carts".to_owned()),
        matches: vec![GrpcMatch {
            method: None,
            headers: vec![HeaderMatch {
                name: HeaderName::from_static("env"),
                value: TextMatch::Exact("test".to_owned()),
            }],
        }],
        filters: vec![GrpcFilter::ResponseHeaderModifier(HeaderModifier {
            remove: vec![HeaderName::from_static("server")],
            ..HeaderModifier::default()
        })],
        backend_refs: vec![FilteredBackendRef {
            backend: BackendRef {
                service: ServiceRef { name: "cart-v2".to_owned(), namespace: None, port: 9000.try_into().unwrap() },
                weight: 1,
            },
            filters: Vec::new(),
        }],
        session_persistence: None,
    };
    let text = "{name: carts, matches: [{headers: [{name: Env, value: test}]}],
      filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {remove: [Server]}}],
      backendRefs: [{name: cart-v2, port: 9000}]}";
    assert_eq!(rule(text), expected);
}

#[test]
fn a_route_has_64_matches_in_a_rule_and_128_in_all_at_most() {
    let rule = |matches: usize| format!("matches: [{}]", vec!["{}"; matches].join(", "));
    accepted(&with_rule(&format!("{}\n  - {}", rule(64), rule(64))));
    let told = refused(&with_rule(&rule(65)));
    assert_eq!(told, ["f:7:14: spec.rules[0].matches: found 65 entries, allowed: 0 to 64"]);
    let told = refused(&with_rule(&format!("{}\n  - {}\n  - {}", rule(64), rule(64), rule(1))));
    assert_eq!(told, ["f:7:5: spec.rules: have 129 matches in all, allowed: at most 128 in one route"]);
}

#[test]
fn bad_rules_are_refused() {
    assert_refused(
        with_rule,
        &[
            (
                "matches: [{method: {}}]",
                &[
                    "f:7:24: spec.rules[0].matches[0].method: matches neither by service nor by method, allowed: one or both; remove it to match every call",
                ],
            ),
            (
                "matches: [{method: {service: shop/Cart}}]",
                &[
                    r#"f:7:34: spec.rules[0].matches[0].method.service: found "shop/Cart", allowed: a service with its package, such as shop.v1.Cart"#,
                ],
            ),
            (
                r#"matches: [{method: {service: "", method: Get-Cart}}]"#,
                &[
                    r#"f:7:34: spec.rules[0].matches[0].method.service: found "", allowed: a service with its package, such as shop.v1.Cart"#,
                    r#"f:7:46: spec.rules[0].matches[0].method.method: found "Get-Cart", allowed: a method, such as GetCart"#,
                ],
            ),
            (
                r#"matches: [{method: {type: RegularExpression, service: "", method: ""}}]"#,
                &[
                    "f:7:24: spec.rules[0].matches[0].method: has no text in service nor in method, allowed: one or both; remove it to match every call",
                ],
            ),
            (
                r#"matches: [{method: {type: RegularExpression, service: "(", method: "a("}}]"#,
                &[
                    r#"f:7:59: spec.rules[0].matches[0].method.service: "(" is no regular expression of this build: unclosed group"#,
                    r#"f:7:72: spec.rules[0].matches[0].method.method: "a(" is no regular expression of this build: unclosed group"#,
                ],
            ),
            (
                r#"matches: [{method: {type: Prefix, service: "any/thing"}}]"#,
                &[
                    r#"f:7:31: spec.rules[0].matches[0].method.type: found "Prefix", allowed: Exact or RegularExpression"#,
                ],
            ),
            (
                "matches: [{headers: [{name: a, value: b}, {name: a, value: c}], path: {value: /a}}]",
                &[
                    r#"f:7:54: spec.rules[0].matches[0].headers[1].name: comes a second time in this list: "a", allowed: each header once"#,
                    r#"f:7:69: unknown key "path" in spec.rules[0].matches[0], allowed: method, headers"#,
                ],
            ),
            (
                "filters: [{type: URLRewrite, urlRewrite: {}}]",
                &[
                    r#"f:7:22: spec.rules[0].filters[0].type: found "URLRewrite", allowed: RequestHeaderModifier, ResponseHeaderModifier, RequestMirror or ExtensionRef"#,
                    r#"f:7:34: unknown key "urlRewrite" in spec.rules[0].filters[0], allowed: type, requestHeaderModifier, responseHeaderModifier, requestMirror, extensionRef"#,
                ],
            ),
            (
                "filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {}}, {type: ResponseHeaderModifier, responseHeaderModifier: {}}]",
                &[
                    "f:7:82: spec.rules[0].filters[1].type: comes a second time in this list, allowed: once; put both into one filter",
                ],
            ),
            (
                "backendRefs: [{name: a, kind: Pod, port: 80}]",
                &[r#"f:7:35: spec.rules[0].backendRefs[0].kind: found Pod of group "", allowed: Service of group """#],
            ),
            (
                "{timeouts: {request: 1s}}",
                &[
                    r#"f:7:6: unknown key "timeouts" in spec.rules[0], allowed: name, matches, filters, backendRefs, sessionPersistence"#,
                ],
            ),
        ],
    );
}
