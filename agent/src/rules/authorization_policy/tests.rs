//! Tests of reading AuthorizationPolicy documents.

#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    config::yaml::split,
    objects::Map,
    rules::{
        Enforced, Reading, RuleKind, Spec,
        testing::*,
        value::{StringMatch, Word as _},
    },
};

const KIND: RuleKind = RuleKind::AuthorizationPolicy;

fn policy(spec: &str) -> AuthorizationPolicy {
    match accepted(KIND, spec) {
        Spec::AuthorizationPolicy(policy) => (*policy).clone(),
        other => panic!("{other:?}"),
    }
}

fn exact(text: &str) -> StringMatch {
    StringMatch::Exact(text.to_owned())
}

fn account(text: &str) -> ServiceAccountMatch {
    text.parse().unwrap()
}

fn texts<T: std::str::FromStr<Err: fmt::Debug>>(texts: &[&str]) -> Vec<T> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn every_field_of_a_source_is_read() {
    let found = policy(
        "selector: {matchLabels: {app: web}}
action: DENY
rules:
- from:
  - source:
      principals: [cluster.local/ns/a/sa/b, cluster.local/*]
      notPrincipals: ['*/sa/c']
      requestPrincipals: ['*']
      notRequestPrincipals: [iss/sub]
      namespaces: [a]
      notNamespaces: [b*]
      ipBlocks: [10.0.0.1, 10.1.0.0/16]
      notIpBlocks: ['2001:db8::/32']
      remoteIpBlocks: [192.0.2.0/24]
      notRemoteIpBlocks: [192.0.2.7]
  - source: {serviceAccounts: [a/b, c], notServiceAccounts: [d]}",
    );
    let first = Source {
        principals: vec![exact("cluster.local/ns/a/sa/b"), StringMatch::Prefix("cluster.local/".to_owned())],
        not_principals: vec![StringMatch::Suffix("/sa/c".to_owned())],
        request_principals: vec![StringMatch::Present],
        not_request_principals: vec![exact("iss/sub")],
        namespaces: vec![exact("a")],
        not_namespaces: vec![StringMatch::Prefix("b".to_owned())],
        ip_blocks: texts(&["10.0.0.1/32", "10.1.0.0/16"]),
        not_ip_blocks: texts(&["2001:db8::/32"]),
        remote_ip_blocks: texts(&["192.0.2.0/24"]),
        not_remote_ip_blocks: texts(&["192.0.2.7/32"]),
        ..Source::default()
    };
    let second = Source {
        service_accounts: vec![account("a/b"), account("c")],
        not_service_accounts: vec![account("d")],
        ..Source::default()
    };
    let from = [first, second].into_iter().map(|source| RuleFrom { source }).collect();
    let expected = AuthorizationPolicy {
        selector: Selector { match_labels: [("app".to_owned(), "web".to_owned())].into() },
        action: Action::Deny,
        rules: vec![AccessRule { from, ..AccessRule::default() }],
    };
    assert_eq!(found, expected);
    assert_eq!(account("a/b").namespace.as_deref(), Some("a"));
    assert_eq!(account("c").namespace, None);
}

#[test]
fn every_field_of_an_operation_is_read() {
    let found = policy(
        "rules:
- to:
  - operation:
      hosts: [Api.Example.com, '*.example.com']
      notHosts: [x.*]
      ports: ['80', '8080']
      notPorts: ['1']
      methods: [GET, P*]
      notMethods: [PUT]
      paths: [/a, /b/*, '*.html', '/c/{*}/d/{**}']
      notPaths: ['*']",
    );
    let template = PathTemplate::from_segments(vec![
        PathSegment::Literal("c".to_owned()),
        PathSegment::One,
        PathSegment::Literal("d".to_owned()),
        PathSegment::Many,
    ]);
    let operation = Operation {
        hosts: vec![exact("api.example.com"), StringMatch::Suffix(".example.com".to_owned())],
        not_hosts: vec![StringMatch::Prefix("x.".to_owned())],
        ports: texts(&["80", "8080"]),
        not_ports: texts(&["1"]),
        methods: vec![exact("GET"), StringMatch::Prefix("P".to_owned())],
        not_methods: vec![exact("PUT")],
        paths: vec![
            PathMatch::Text(exact("/a")),
            PathMatch::Text(StringMatch::Prefix("/b/".to_owned())),
            PathMatch::Text(StringMatch::Suffix(".html".to_owned())),
            PathMatch::Template(template),
        ],
        not_paths: vec![PathMatch::Text(StringMatch::Present)],
    };
    assert_eq!(found.action, Action::Allow, "which is the default");
    assert_eq!(found.rules, [AccessRule { to: vec![RuleTo { operation }], ..AccessRule::default() }]);
}

#[test]
fn every_attribute_has_values_of_its_kind() {
    use TextAttribute::*;
    let text = |attribute| Condition::Text(attribute, Values { values: texts(&["a*"]), not_values: texts(&["*b"]) });
    let address = |attribute| {
        Condition::Address(attribute, Values { values: texts(&["10.0.0.0/8"]), not_values: texts(&["10.0.0.1/32"]) })
    };
    let cases = [
        ("request.headers[X-User]", text(RequestHeader("x-user".parse().unwrap()))),
        ("source.namespace", text(SourceNamespace)),
        ("source.principal", text(SourcePrincipal)),
        ("request.auth.principal", text(RequestPrincipal)),
        ("request.auth.audiences", text(RequestAudiences)),
        ("request.auth.presenter", text(RequestPresenter)),
        ("request.auth.claims[iss]", text(RequestClaim(vec!["iss".to_owned()]))),
        ("request.auth.claims[a][b.c]", text(RequestClaim(vec!["a".to_owned(), "b.c".to_owned()]))),
        ("connection.sni", text(ConnectionSni)),
        ("source.ip", address(AddressAttribute::Source)),
        ("remote.ip", address(AddressAttribute::Remote)),
        ("destination.ip", address(AddressAttribute::Destination)),
        (
            "source.serviceAccount",
            Condition::ServiceAccount(Values { values: texts(&["ns/sa"]), not_values: texts(&["sa"]) }),
        ),
        ("destination.port", Condition::Port(Values { values: texts(&["80"]), not_values: texts(&["81"]) })),
    ];
    for (key, expected) in cases {
        let (value, not_value) = match &expected {
            Condition::Text(..) => ("a*", "*b"),
            Condition::Address(..) => ("10.0.0.0/8", "10.0.0.1"),
            Condition::ServiceAccount(..) => ("ns/sa", "sa"),
            Condition::Port(..) => ("80", "81"),
        };
        let spec = format!("rules: [{{when: [{{key: '{key}', values: ['{value}'], notValues: ['{not_value}']}}]}}]");
        assert_eq!(policy(&spec).rules[0].when, [expected], "{key}");
    }
}

#[test]
fn a_policy_without_rules_matches_nothing_and_an_empty_rule_everything() {
    assert_eq!(policy("{}").rules, []);
    assert_eq!(policy("rules: [{}]").rules, [AccessRule::default()]);
    assert_eq!(policy("{action: AUDIT, rules: [{}]}").action, Action::Audit);
}

#[test]
fn templates_match_whole_segments() {
    let cases = [
        ("/a/{*}", "/a/b", true),
        ("/a/{*}", "/a/", false),
        ("/a/{*}", "/a", false),
        ("/a/{*}", "/a/b/c", false),
        ("/a/{*}/c", "/a/b/c", true),
        ("/a/{**}", "/a", false),
        ("/a/{**}", "/a/", true),
        ("/a/{**}", "/a/b/c", true),
        ("/a/{**}", "/ab", false),
        ("/{**}/c", "/c", false),
        ("/{**}/c", "/b/c", true),
        ("/{**}/c", "/a/b/c", true),
        ("/{**}/c", "/a/b/d", false),
        ("/{*}/{**}/z", "/a/z", false),
        ("/{*}/{**}/z", "/a/b/c/z", true),
        ("/{*}/{**}/z", "/z", false),
        ("/{*}", "a", false),
    ];
    for (template, path, expected) in cases {
        assert_eq!(template.parse::<PathMatch>().unwrap().matches(path), expected, "{template} {path}");
    }
}

#[test]
fn what_can_never_match_is_no_path() {
    for text in [
        "",
        "a",
        "a*",
        "/a?b",
        "/a#b",
        "/a*b",
        "/{a}",
        "/a{*}",
        "/{*}*",
        "/{**}/{*}",
        "/{**}/{**}",
        "{*}",
        "/{",
        "*{*}",
    ] {
        assert_eq!(text.parse::<PathMatch>(), Err(()), "{text}");
    }
}

fn with_annotations(annotations: &str) -> Reading {
    let text = document(KIND, "rules: [{}]").replace("{name: x}", &format!("{{name: x, annotations: {annotations}}}"));
    let node = split(&text)[0].parse("f", &text).unwrap();
    crate::rules::read("f", &text, &node, "shop", Enforced::EVERYTHING)
}

#[test]
fn a_dry_run_is_asked_for_by_annotation_and_our_name_wins() {
    let cases = [
        ("{}", false),
        ("{heddle.io/dry-run: 'true'}", true),
        ("{istio.io/dry-run: 'true'}", true),
        ("{heddle.io/dry-run: 'false', istio.io/dry-run: 'true'}", false),
        ("{heddle.io/dry-run: 'true', istio.io/dry-run: 'false'}", true),
    ];
    for (annotations, expected) in cases {
        let Reading::Rule(rule, _) = with_annotations(annotations) else { panic!("refused: {annotations}") };
        assert_eq!(is_dry_run(&rule.annotations), expected, "{annotations}");
    }
    assert!(!is_dry_run(&Map::new()));
}

#[test]
fn another_value_of_the_annotation_is_refused_at_its_place() {
    let Reading::Refused(_, problems) = with_annotations("{istio.io/dry-run: 'yes'}") else { panic!("accepted") };
    let told: Vec<_> = problems.iter().map(|problem| (problem.position.unwrap(), problem.message.as_str())).collect();
    let [(position, message)] = told[..] else { panic!("{told:?}") };
    assert_eq!((position.line, position.column), (3, 53));
    assert_eq!(message, "metadata.annotations.istio.io/dry-run: found \"yes\", allowed: \"true\" or \"false\"");
}

#[test]
fn every_problem_of_a_document_is_told_with_its_place() {
    let table: &[(&str, &[&str])] = &[
        (
            "action: CUSTOM
provider: {name: x}
rules: [{}]",
            &[
                r#"5:11: spec.action: found "CUSTOM", which is not enforced by this build, allowed: ALLOW, DENY, AUDIT"#,
                "6:13: spec.provider: is not enforced by this build; remove it, since a document is accepted only whole",
            ],
        ),
        ("action: Deny", &[r#"5:11: spec.action: found "Deny", allowed: ALLOW, DENY, AUDIT; did you mean DENY?"#]),
        (
            "action: DENY",
            &["5:3: spec.rules: has no entries, and DENY denies nothing without; use {} as a rule to deny everything"],
        ),
        (
            "action: DENY
rules: []",
            &["6:10: spec.rules: has no entries, and DENY denies nothing without; use {} as a rule to deny everything"],
        ),
        (
            r#"targetRefs: [{group: "", kind: Service, name: a}]
targetRef: {}"#,
            &[
                "5:15: spec.targetRefs: is for gateways and waypoints, and this mesh has none; use selector to choose pods",
                "6:14: spec.targetRef: is for gateways and waypoints, and this mesh has none; use selector to choose pods",
            ],
        ),
        (
            "rules:
-
- from:
- from: [{source: {principals: }}]
  to: [{operation: {paths: }}]",
            &[
                "6:4: spec.rules: entry 0 is nothing; remove it, or use {} to match everything",
                "7:9: spec.rules[1].from: is empty; remove it to match everything",
                "8:32: spec.rules[2].from[0].source.principals: is empty; remove it to match everything",
                "9:28: spec.rules[2].to[0].operation.paths: is empty; remove it to match everything",
            ],
        ),
        (
            "rules:
- from: []
  to: []
  when: []
- form: []",
            &[
                "6:11: spec.rules[0].from: is empty; remove it to match everything",
                "7:9: spec.rules[0].to: is empty; remove it to match everything",
                "8:11: spec.rules[0].when: is empty; remove it to match everything",
                r#"9:5: unknown key "form" in spec.rules[1]; did you mean "from"?"#,
                "9:11: spec.rules[1].form: is empty; remove it to match everything",
            ],
        ),
        (
            "rules:
- from: [{}, {source: {}}, {source: {principals: []}}]
  to: [{}, {operation: {}}, {operation: {paths: []}}]",
            &[
                "6:12: spec.rules[0].from[0].source: missing, must be a map with at least one field",
                "6:25: spec.rules[0].from[1].source: has no fields, and needs at least one",
                "6:52: spec.rules[0].from[2].source.principals: is empty; remove it to match everything",
                "7:10: spec.rules[0].to[0].operation: missing, must be a map with at least one field",
                "7:26: spec.rules[0].to[1].operation: has no fields, and needs at least one",
                "7:51: spec.rules[0].to[2].operation.paths: is empty; remove it to match everything",
            ],
        ),
        (
            "rules:
- from:
  - source:
      principals: [spiffe://a/b]
      namespaces: [1]
      ipBlocks: [10.0.0.0/33, a]
      requestPrincipals: x
      trustDomains: [a]",
            &[
                r#"8:22: spec.rules[0].from[0].source.principals[0]: found "spiffe://a/b", allowed: an identity without spiffe:// such as cluster.local/ns/shop/sa/web, with * in front, at the end, or alone"#,
                "9:22: spec.rules[0].from[0].source.namespaces[0]: found the number 1, allowed: a namespace, with * in front, at the end, or alone",
                r#"10:20: spec.rules[0].from[0].source.ipBlocks[0]: found "10.0.0.0/33", allowed: an address or network such as 192.0.2.1 or 10.0.0.0/8"#,
                r#"10:33: spec.rules[0].from[0].source.ipBlocks[1]: found "a", allowed: an address or network such as 192.0.2.1 or 10.0.0.0/8"#,
                r#"11:28: spec.rules[0].from[0].source.requestPrincipals: found "x", allowed: text with * in front, at the end, or alone"#,
                "12:23: spec.rules[0].from[0].source.trustDomains: is not enforced by this build; remove it, since a document is accepted only whole",
            ],
        ),
        (
            r#"rules:
- from:
  - source: {serviceAccounts: [a/b/c, "a/*"], principals: [x], notNamespaces: [y]}
  - source: {notServiceAccounts: [a], notPrincipals: [x]}"#,
            &[
                "7:33: spec.rules[0].from[0].source.serviceAccounts: cannot be there together with principals: both name identities; use two sources",
                "7:33: spec.rules[0].from[0].source.serviceAccounts: cannot be there together with notNamespaces: both name identities; use two sources",
                r#"7:34: spec.rules[0].from[0].source.serviceAccounts[0]: found "a/b/c", allowed: a service account as namespace/name or name, without *"#,
                r#"7:41: spec.rules[0].from[0].source.serviceAccounts[1]: found "a/*", allowed: a service account as namespace/name or name, without *"#,
                "8:36: spec.rules[0].from[1].source.notServiceAccounts: cannot be there together with notPrincipals: both name identities; use two sources",
            ],
        ),
        (
            "rules: [{from: [{source: {serviceAccounts: [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q]}}]}]",
            &["5:46: spec.rules[0].from[0].source.serviceAccounts: has 17 entries, allowed: up to 16"],
        ),
        (
            r#"rules:
- to:
  - operation:
      ports: [80, "0", "+1", http]
      methods: [get]
      paths: [a]
      hosts: [a*b]
      path: [/]"#,
            &[
                r#"8:17: spec.rules[0].to[0].operation.ports[0]: found the number 80, allowed: a port from 1 to 65535 in quotes, such as "8080""#,
                r#"8:21: spec.rules[0].to[0].operation.ports[1]: found "0", allowed: a port from 1 to 65535 in quotes, such as "8080""#,
                r#"8:26: spec.rules[0].to[0].operation.ports[2]: found "+1", allowed: a port from 1 to 65535 in quotes, such as "8080""#,
                r#"8:32: spec.rules[0].to[0].operation.ports[3]: found "http", allowed: a port from 1 to 65535 in quotes, such as "8080""#,
                r#"9:19: spec.rules[0].to[0].operation.methods[0]: found "get", allowed: a method in upper case, with * in front, at the end, or alone"#,
                r#"10:17: spec.rules[0].to[0].operation.paths[0]: found "a", allowed: a path that begins with / and has no ? or #, with * in front, at the end, or alone; or a template in whose segments {*} is one and {**} any number, {**} being the last of these"#,
                r#"11:17: spec.rules[0].to[0].operation.hosts[0]: found "a*b", allowed: a host, with * in front, at the end, or alone"#,
                r#"12:9: unknown key "path" in spec.rules[0].to[0].operation; did you mean "paths"?"#,
            ],
        ),
        (
            r#"rules:
- when:
  - key: source.ip
    values: [a]
  - key: destination.port
    notValues: ["0"]
  - key: source.serviceAccount
    values: ["*"]
  - key: source.principal
    values: [spiffe://x]"#,
            &[
                r#"8:16: spec.rules[0].when[0].values[0]: found "a", allowed: an address or network such as 192.0.2.1 or 10.0.0.0/8"#,
                r#"10:19: spec.rules[0].when[1].notValues[0]: found "0", allowed: a port from 1 to 65535 in quotes, such as "8080""#,
                r#"12:16: spec.rules[0].when[2].values[0]: found "*", allowed: a service account as namespace/name or name, without *"#,
                r#"14:16: spec.rules[0].when[3].values[0]: found "spiffe://x", allowed: an identity without spiffe:// such as cluster.local/ns/shop/sa/web, with * in front, at the end, or alone"#,
            ],
        ),
        (
            r#"rules:
- when:
  - {values: [a]}
  - {key: source.ip}
  - {key: source.ip, values: []}
  - {key: "experimental.envoy.filters.a[b]", values: [a]}
  - {key: source.namespace, values: [a], value: a}"#,
            &[
                "7:7: spec.rules[0].when[0].key: missing, must be request.headers[NAME], source.ip, remote.ip, source.namespace, source.principal, source.serviceAccount, request.auth.principal, request.auth.audiences, request.auth.presenter, request.auth.claims[NAME], destination.ip, destination.port, connection.sni",
                "8:7: spec.rules[0].when[1]: has neither values nor notValues, and needs one of them",
                "9:7: spec.rules[0].when[2]: has neither values nor notValues, and needs one of them",
                r#"10:13: spec.rules[0].when[3].key: found "experimental.envoy.filters.a[b]", which only Envoy could evaluate, allowed: request.headers[NAME], source.ip, remote.ip, source.namespace, source.principal, source.serviceAccount, request.auth.principal, request.auth.audiences, request.auth.presenter, request.auth.claims[NAME], destination.ip, destination.port, connection.sni"#,
                r#"11:44: unknown key "value" in spec.rules[0].when[4]; did you mean "values"?"#,
            ],
        ),
    ];
    all_refused(KIND, table);
}

#[test]
fn an_attribute_that_nobody_reads_is_refused() {
    for key in [
        "",
        "request.headers",
        "request.headers[a b]",
        "request.headers[]",
        "request.auth.claims[a]b[c]",
        "request.auth.claims[]",
        "source.ips",
    ] {
        let told = refused(KIND, &format!("rules: [{{when: [{{key: '{key}', values: [a]}}]}}]"));
        assert!(told[0].starts_with(&format!("5:25: spec.rules[0].when[0].key: found {key:?}, allowed: ")), "{told:?}");
        assert_eq!(told.len(), 1, "{told:?}");
    }
}

fn matches(literal: &'static str) -> impl Strategy<Value = Vec<StringMatch>> {
    vec(any::matching(literal), 0..3)
}

fn accounts() -> impl Strategy<Value = Vec<ServiceAccountMatch>> {
    let account = (proptest::option::of(any::name()), any::name());
    vec(account.prop_map(|(namespace, name)| ServiceAccountMatch { namespace, name }), 1..3)
}

fn identities() -> impl Strategy<Value = Source> {
    let names = "[a-z0-9/.:-]{1,8}".prop_filter("no scheme", |text| !text.contains("://"));
    let principals = move || vec(names.clone().prop_map(StringMatch::Exact), 0..3);
    prop_oneof![
        (principals(), principals(), matches("[a-z-]{1,5}"), matches("[a-z-]{1,5}")).prop_map(|(a, b, c, d)| Source {
            principals: a,
            not_principals: b,
            namespaces: c,
            not_namespaces: d,
            ..Source::default()
        }),
        (accounts(), accounts()).prop_map(|(a, b)| Source {
            service_accounts: a,
            not_service_accounts: b,
            ..Source::default()
        }),
    ]
}

prop_compose! {
    fn sources()(
        identities in identities(),
        request in matches("[a-zA-Z:/.]{1,8}"),
        not_request in matches("[a-zA-Z:/.]{1,8}"),
        first in vec(any::network(), 1..3),
        networks in vec(any::networks(), 3),
    ) -> RuleFrom {
        let [not_ip, remote, not_remote]: [_; 3] = networks.try_into().unwrap();
        let source = Source {
            request_principals: request,
            not_request_principals: not_request,
            ip_blocks: first,
            not_ip_blocks: not_ip,
            remote_ip_blocks: remote,
            not_remote_ip_blocks: not_remote,
            ..identities
        };
        RuleFrom { source }
    }
}

fn paths() -> impl Strategy<Value = Vec<PathMatch>> {
    let literal = || "[a-z0-9.%-]{0,4}".prop_map(PathSegment::Literal);
    let plain = prop_oneof![literal(), Just(PathSegment::One)];
    let template = (vec(plain, 0..4), vec(literal(), 0..2)).prop_map(|(before, after)| {
        let segments = before.into_iter().chain([PathSegment::Many]).chain(after).collect();
        PathMatch::Template(PathTemplate::from_segments(segments))
    });
    let text = "/[a-z/.%-]{0,6}".prop_map(|text| PathMatch::Text(StringMatch::Prefix(text)));
    let suffix = "[a-z/.]{1,6}".prop_map(|text| PathMatch::Text(StringMatch::Suffix(text)));
    vec(prop_oneof![template, text, suffix, Just(PathMatch::Text(StringMatch::Present))], 0..4)
}

prop_compose! {
    fn operations()(
        hosts in matches("[a-z.:0-9]{1,6}"),
        not_hosts in matches("[a-z.:0-9]{1,6}"),
        ports in vec(any::port(), 1..3),
        not_ports in vec(any::port(), 0..3),
        methods in matches("[A-Z]{1,4}"),
        not_methods in matches("[A-Z]{1,4}"),
        paths in paths(),
        not_paths in paths(),
    ) -> RuleTo {
        RuleTo { operation: Operation { hosts, not_hosts, ports, not_ports, methods, not_methods, paths, not_paths } }
    }
}

fn values<T: Clone + fmt::Debug>(one: impl Strategy<Value = T> + Clone) -> impl Strategy<Value = Values<T>> {
    (vec(one.clone(), 1..3), vec(one, 0..3), proptest::bool::ANY).prop_map(|(a, b, swap)| match swap {
        true => Values { values: b, not_values: a },
        false => Values { values: a, not_values: b },
    })
}

fn conditions() -> impl Strategy<Value = Condition> {
    use TextAttribute::*;
    let attribute = prop_oneof![
        any::header_name().prop_map(RequestHeader),
        vec("[a-z.]{1,4}", 1..4).prop_map(RequestClaim),
        prop::sample::select(vec![
            SourceNamespace,
            SourcePrincipal,
            RequestPrincipal,
            RequestAudiences,
            RequestPresenter,
            ConnectionSni,
        ]),
    ];
    let address =
        prop::sample::select(vec![AddressAttribute::Source, AddressAttribute::Remote, AddressAttribute::Destination]);
    let text = "[a-z. 0-9\"'{}]{1,6}".prop_map(StringMatch::Exact);
    let network = any::networks().prop_map(|networks| networks.first().copied().unwrap_or_default());
    let account = accounts().prop_map(|accounts| accounts[0].clone());
    let ports = (1u16..).prop_map(|port| std::num::NonZeroU16::new(port).unwrap());
    prop_oneof![
        (attribute, values(text.boxed())).prop_map(|(attribute, values)| Condition::Text(attribute, values)),
        (address, values(network.boxed())).prop_map(|(attribute, values)| Condition::Address(attribute, values)),
        values(account.boxed()).prop_map(Condition::ServiceAccount),
        values(ports.boxed()).prop_map(Condition::Port),
    ]
}

prop_compose! {
    fn policies()(
        selector in any::selector(),
        action in prop::sample::select(Action::ALL),
        rules in vec((vec(sources(), 0..2), vec(operations(), 0..2), vec(conditions(), 0..3)), 1..3),
    ) -> AuthorizationPolicy {
        let rules = rules.into_iter().map(|(from, to, when)| AccessRule { from, to, when }).collect();
        AuthorizationPolicy { selector, action, rules }
    }
}

proptest! {
    #[test]
    fn what_it_serializes_to_is_read_again(policy in policies()) {
        comes_back(KIND, &Spec::AuthorizationPolicy(policy.into()))?;
    }

    #[test]
    fn damage_is_read_or_refused_with_a_reason(policy in policies(), damage in any::damage()) {
        damage_is_told(KIND, &Spec::AuthorizationPolicy(policy.into()), &damage)?;
    }

    #[test]
    fn any_text_is_a_path_that_displays_as_written_or_none(text in "\\PC*|/[a/{}*]{0,8}|(/(\\{\\*\\}|\\{\\*\\*\\}|a)){0,4}", path in "/[a-c/]{0,8}") {
        if let Ok(found) = text.parse::<PathMatch>() {
            prop_assert_eq!(found.to_string(), text);
            found.matches(&path);
        }
    }
}
