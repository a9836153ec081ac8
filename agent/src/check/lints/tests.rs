//! Tests of the lints: for each, a mesh in which it has something to say, and exactly what it says.

#![expect(clippy::unwrap_used, reason = "tests")]

use crate::{
    check::{Report, Severity, tests::checked},
    rules::RuleKind,
};

/// A small mesh with everything that documents refer to.
const MESH: &str = r#"
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {namespace: shop, name: web}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: web}, spec: {clusterIP: 10.1.0.1, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: web-v2}, spec: {clusterIP: 10.1.0.2, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: idle}, spec: {clusterIP: 10.1.0.3, ports: [{port: 80}, {port: 53, protocol: UDP}]}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: pods}, spec: {clusterIP: None, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: alias}, spec: {type: ExternalName, externalName: example.com}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: shop, name: web-1, labels: {kubernetes.io/service-name: web}}, addressType: IPv4, ports: [{port: 8080}], endpoints: [{addresses: [10.0.0.1]}]}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: shop, name: web-2, labels: {kubernetes.io/service-name: web-v2}}, addressType: IPv4, ports: [{port: 8080}], endpoints: [{addresses: [10.0.0.1]}]}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: web, labels: {app: web}}, spec: {nodeName: a, serviceAccountName: web}, status: {podIPs: [{ip: 10.0.0.1}]}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: db, labels: {app: db}, annotations: {heddle.io/opaque-ports: "5432"}}, spec: {nodeName: a}, status: {podIPs: [{ip: 10.0.0.2}]}}
---
"#;

/// What is warned of, as `line: message`, where the document is in `shop` and its `spec` begins in line 1.
fn warnings(report: &Report) -> Vec<String> {
    let warnings = report.findings.iter().filter(|finding| finding.severity == Severity::Warning);
    warnings.map(|finding| finding.message.clone()).collect()
}

fn document(kind: RuleKind, name: &str, spec: &str) -> String {
    let version = kind.api_versions()[0];
    format!("---\n{{apiVersion: {version}, kind: {kind}, metadata: {{namespace: shop, name: {name}}}, spec: {spec}}}\n")
}

fn said_in_mesh(kind: RuleKind, spec: &str) -> Vec<String> {
    warnings(&checked(&(MESH.to_owned() + &document(kind, "x", spec))))
}

/// Each row is a spec and all that is said about it.
fn assert_said(kind: RuleKind, table: &[(&str, &[&str])]) {
    for (spec, expected) in table {
        assert_eq!(said_in_mesh(kind, spec), *expected, "{kind} {spec}");
    }
}

const WEB: &str = r#"parentRefs: [{group: "", kind: Service, name: web, port: 80}]"#;

#[test]
fn services_that_routes_name_have_to_be_there() {
    let parents =
        |parents: &str| format!("{{parentRefs: [{parents}], rules: [{{backendRefs: [{{name: web, port: 80}}]}}]}}");
    let parent = |rest: &str| parents(&format!("{{group: \"\", kind: Service, {rest}}}"));
    let backends = |refs: &str| format!("{{{WEB}, rules: [{{backendRefs: [{refs}]}}]}}");
    let cases: &[(String, &[&str])] = &[
        (parent("name: web"), &[]),
        (parent("name: web, port: 80"), &[]),
        (
            parent("name: wep"),
            &["spec.parentRefs[0]: there is no Service shop/wep; did you mean web?, so the route is for nothing"],
        ),
        (
            parent("name: web, namespace: elsewhere"),
            &["spec.parentRefs[0]: there is no Service elsewhere/web, so the route is for nothing"],
        ),
        (
            parent("name: web, port: 8080"),
            &["spec.parentRefs[0]: Service shop/web has no TCP port 8080 (it has 80), so the route is for nothing"],
        ),
        (
            parent("name: pods"),
            &[
                "spec.parentRefs[0]: Service shop/pods has no clusterIP: if it is headless it cannot be a parent, since clients dial \
               its pods",
            ],
        ),
        (
            parent("name: alias"),
            &[
                "spec.parentRefs[0]: Service shop/alias is of type ExternalName and cannot be a parent: it has no address",
            ],
        ),
        (backends("{name: web, port: 80}, {name: web-v2, port: 80, weight: 0}"), &[]),
        (
            backends("{name: web, port: 80}, {name: nowhere, port: 80}"),
            &["spec.rules[0].backendRefs[1]: there is no Service shop/nowhere, so its share @"],
        ),
        (
            backends("{name: web, port: 80}, {name: nowhere, port: 80, weight: 0}"),
            &[
                "spec.rules[0].backendRefs[1]: there is no Service shop/nowhere, which is harmless as long as its weight is 0",
            ],
        ),
        (
            backends("{name: idle, port: 53}"),
            &["spec.rules[0].backendRefs[0]: Service shop/idle has no TCP port 53 (it has 80), so its share @"],
        ),
        (
            backends("{name: alias, port: 80}"),
            &[
                "spec.rules[0].backendRefs[0]: Service shop/alias is of type ExternalName and has no endpoints, so its share @",
            ],
        ),
        (
            backends("{name: idle, port: 80}"),
            &["spec.rules[0].backendRefs[0]: Service shop/idle has no endpoints, so nobody answers there"],
        ),
        (
            backends("{name: web, port: 80, weight: 0}, {name: web-v2, port: 80, weight: 0}"),
            &["spec.rules[0].backendRefs: all weights are 0, so everything @; give one backend a weight"],
        ),
    ];
    let kinds = [
        (RuleKind::HttpRoute, "is answered with 500"),
        (RuleKind::GrpcRoute, "is answered with UNAVAILABLE"),
        (RuleKind::TlsRoute, "is refused"),
        (RuleKind::TcpRoute, "is refused"),
    ];
    for (kind, failure) in kinds {
        for (spec, expected) in cases {
            let spec = match kind {
                RuleKind::TlsRoute => spec.replacen('{', "{hostnames: [a.example], ", 1),
                _ => spec.clone(),
            };
            let expected: Vec<String> = expected.iter().map(|text| text.replace('@', failure)).collect();
            assert_eq!(said_in_mesh(kind, &spec), expected, "{kind} {spec}");
        }
    }
}

#[test]
fn copies_and_filters_have_to_lead_somewhere() {
    let route =
        |filter: &str| format!("{{{WEB}, rules: [{{filters: [{filter}], backendRefs: [{{name: web, port: 80}}]}}]}}");
    let mirror = |name: &str| {
        route(&format!("{{type: RequestMirror, requestMirror: {{backendRef: {{name: {name}, port: 80}}}}}}"))
    };
    for kind in [RuleKind::HttpRoute, RuleKind::GrpcRoute] {
        assert_eq!(said_in_mesh(kind, &mirror("web-v2")), [""; 0]);
        let said = said_in_mesh(kind, &mirror("nowhere"));
        assert_eq!(
            said,
            [
                "spec.rules[0].filters[0].requestMirror.backendRef: there is no Service shop/nowhere, so copies are dropped"
            ]
        );
        let reference =
            route("{type: ExtensionRef, extensionRef: {group: heddle.io, kind: FaultInjection, name: slow}}");
        let fault = |name: &str| document(RuleKind::FaultInjection, name, "{delay: {fixedDelay: 1s}}");
        let said = |fault: &str| {
            let report = checked(&(MESH.to_owned() + &document(kind, "x", &reference) + fault));
            (warnings(&report), report.unchecked)
        };
        let missing = "spec.rules[0].filters[0].extensionRef: there is no FaultInjection shop/slow".to_owned();
        assert_eq!(said(&fault("slow")), (vec![], vec![]));
        assert_eq!(said(&fault("fast")), (vec![missing], vec![]));
        assert_eq!(said(""), (vec![], vec!["FaultInjection"]));
    }
}

#[test]
fn an_equal_match_later_in_a_route_is_never_reached() {
    let http = |matches: &[&str]| {
        let rules: Vec<String> = matches
            .iter()
            .map(|matches| format!("{{matches: [{matches}], backendRefs: [{{name: web, port: 80}}]}}"))
            .collect();
        format!("{{{WEB}, rules: [{}]}}", rules.join(", "))
    };
    let never = |later: usize, index: usize, earlier: usize| {
        format!(
            "spec.rules[{later}].matches[{index}]: never reached: spec.rules[{earlier}] matches the same and comes first"
        )
    };
    let cases = [
        (RuleKind::HttpRoute, vec!["{path: {value: /a}}", "{path: {value: /ab}}"], vec![]),
        (RuleKind::HttpRoute, vec!["{path: {value: /a}}", "{path: {type: Exact, value: /a}}"], vec![]),
        (RuleKind::HttpRoute, vec!["{path: {value: /a}}", "{method: GET}, {path: {value: /a/}}"], vec![never(1, 1, 0)]),
        (RuleKind::HttpRoute, vec!["{}", "{method: GET}", "{path: {value: /}}"], vec![never(2, 0, 0)]),
        (
            RuleKind::HttpRoute,
            vec![
                "{headers: [{name: a, value: x}, {name: b, value: y}]}",
                "{headers: [{name: B, value: y}, {name: a, value: x}]}",
            ],
            vec![never(1, 0, 0)],
        ),
        (
            RuleKind::HttpRoute,
            vec!["{queryParams: [{name: a, value: x}]}", "{queryParams: [{name: A, value: x}]}"],
            vec![],
        ),
        (RuleKind::GrpcRoute, vec!["{method: {service: a}}", "{method: {service: a, method: b}}"], vec![]),
        (RuleKind::GrpcRoute, vec!["{method: {service: a}}", "{method: {service: a}}"], vec![never(1, 0, 0)]),
    ];
    for (kind, matches, expected) in cases {
        assert_eq!(said_in_mesh(kind, &http(&matches)), expected, "{kind} {matches:?}");
    }
}

#[test]
fn an_expression_is_never_reached_beside_a_prefix_of_every_path() {
    let route = |first: &str, second: &str| {
        let rule = |one: &str| format!("{{matches: [{one}], backendRefs: [{{name: web, port: 80}}]}}");
        format!("{{{WEB}, rules: [{}, {}]}}", rule(first), rule(second))
    };
    let never = "spec.rules[0].matches[0]: never reached: spec.rules[1] takes every path by the prefix /, and a prefix comes \
                 before an expression; write the path out as a prefix, or give the prefix less";
    let expression = "{path: {type: RegularExpression, value: '/a.*'}, method: GET}";
    for (second, expected) in [
        ("{}", vec![never]),
        ("{method: GET}", vec![never]),
        ("{method: PUT}", vec![]),
        ("{headers: [{name: a, value: x}]}", vec![]),
        ("{path: {value: /b}}", vec![]),
        ("{path: {type: RegularExpression, value: '/b.*'}}", vec![]),
    ] {
        assert_eq!(said_in_mesh(RuleKind::HttpRoute, &route(expression, second)), expected, "{second}");
    }
}

#[test]
fn a_route_beside_one_of_a_kind_that_comes_first_is_told() {
    let route = format!("{{{WEB}, rules: [{{backendRefs: [{{name: web, port: 80}}]}}]}}");
    let both = document(RuleKind::HttpRoute, "http", &route) + &document(RuleKind::GrpcRoute, "grpc", &route);
    assert_eq!(
        warnings(&checked(&(MESH.to_owned() + &both))),
        [
            "spec.parentRefs[0]: GRPCRoute shop/grpc decides over port 80 of Service shop/web, where no HTTPRoute counts beside \
             it; remove one of the two"
        ]
    );
}

#[test]
fn expressions_that_match_everything_are_told() {
    let route = |one: &str| format!("{{{WEB}, rules: [{{matches: [{one}], backendRefs: [{{name: web, port: 80}}]}}]}}");
    let path = |pattern: &str| route(&format!("{{path: {{type: RegularExpression, value: '{pattern}'}}}}"));
    for pattern in [".*", "/.*", ".+", "^/.*$", "(.*)", "^(?:/.*?)$", "((.*))"] {
        let expected = format!(
            "spec.rules[0].matches[0].path.value: {pattern:?} matches every path; say so with type: PathPrefix and value: /, \
             or leave it out"
        );
        assert_eq!(said_in_mesh(RuleKind::HttpRoute, &path(pattern)), [expected], "{pattern}");
    }
    for pattern in ["/.+", "/a.*", "(.*)|(/a)", ".*a", r".*\$", "."] {
        assert_eq!(said_in_mesh(RuleKind::HttpRoute, &path(pattern)), [""; 0], "{pattern}");
    }
    // That a header is there cannot be said in another way.
    let header = route("{headers: [{name: a, type: RegularExpression, value: '.*'}]}");
    assert_eq!(said_in_mesh(RuleKind::HttpRoute, &header), [""; 0]);
    let method = route("{method: {type: RegularExpression, service: 'shop[.].*', method: '.+'}}");
    assert_eq!(
        said_in_mesh(RuleKind::GrpcRoute, &method),
        ["spec.rules[0].matches[0].method.method: \".+\" matches every method; leave it out"]
    );
}

#[test]
fn selectors_and_targets_have_to_select_something() {
    let kinds = [
        (RuleKind::AuthorizationPolicy, ""),
        (RuleKind::PeerAuthentication, "mtls: {mode: STRICT}"),
        (RuleKind::RequestAuthentication, ""),
        (RuleKind::Capture, ""),
        (RuleKind::Telemetry, "accessLog: {}"),
        (RuleKind::RateLimit, "limits: [{requests: 1, interval: 1s}]"),
    ];
    for (kind, rest) in kinds {
        let of = |selector: &str| format!("{{selector: {{matchLabels: {selector}}}, {rest}}}");
        assert_eq!(said_in_mesh(kind, &of("{app: web}")), [""; 0], "{kind}");
        assert_eq!(said_in_mesh(kind, &of("{}")), [""; 0], "{kind}");
        assert_eq!(
            said_in_mesh(kind, &of("{app: wep, tier: a}")),
            ["spec.selector: no pod of namespace shop has the labels app=wep, tier=a"],
            "{kind}"
        );
        let in_root = document(kind, "x", &of("{app: web}")).replace("namespace: shop", "namespace: heddle-system");
        assert_eq!(warnings(&checked(&(MESH.to_owned() + &in_root))), [""; 0], "{kind}");
        let elsewhere = document(kind, "x", &of("{app: web}")).replace("namespace: shop", "namespace: bank");
        assert_eq!(
            warnings(&checked(&(MESH.to_owned() + &elsewhere))),
            ["spec.selector: no pod of namespace bank has the labels app=web"],
            "{kind}"
        );
    }
    let targets = "targetRefs: [{group: \"\", kind: Service, name: web}, {group: \"\", kind: Service, name: wep}]";
    let expected = ["spec.targetRefs[1]: there is no Service shop/wep; did you mean web?"];
    assert_eq!(said_in_mesh(RuleKind::BackendTrafficPolicy, &format!("{{{targets}}}")), expected);
    let limit = format!("{{{targets}, limits: [{{requests: 1, interval: 1s}}]}}");
    assert_eq!(said_in_mesh(RuleKind::RateLimit, &limit), expected);
    let fallback = format!("{{{targets}, backendRef: {{name: web-v2, port: 80}}}}");
    assert_eq!(said_in_mesh(RuleKind::Fallback, &fallback), expected);
}

#[test]
fn of_two_telemetries_for_the_same_pods_each_part_counts_once() {
    let web = "selector: {matchLabels: {app: web}}";
    let documents = [
        ("a", format!("{{{web}, accessLog: {{}}}}")),
        ("b", format!("{{{web}, accessLog: {{}}, tracing: {{samplingPercentage: 1}}}}")),
        ("c", "{accessLog: {}, tracing: {samplingPercentage: 1}}".to_owned()),
        ("d", format!("{{{web}, tracing: {{samplingPercentage: 1}}}}")),
    ];
    let documents: String = documents.iter().map(|(name, spec)| document(RuleKind::Telemetry, name, spec)).collect();
    assert_eq!(
        warnings(&checked(&(MESH.to_owned() + &documents))),
        [
            "spec.accessLog: has no effect: Telemetry shop/a is for the same pods and comes first; make one of the two",
            "spec.tracing: has no effect: Telemetry shop/b is for the same pods and comes first; make one of the two",
        ]
    );
    assert_eq!(
        said_in_mesh(RuleKind::Telemetry, &format!("{{{web}, accessLog: {{enabled: false, samplingPercentage: 5}}}}")),
        ["spec.accessLog.samplingPercentage: has no effect: there are no lines with enabled: false"]
    );
}

#[test]
fn who_takes_over_has_to_be_there() {
    let of =
        |target: &str, backend: &str| format!("{{targetRefs: [{{name: {target}}}], backendRef: {{name: {backend}}}}}");
    let cases: &[(String, &[&str])] = &[
        (of("web", "web-v2, port: 80"), &[]),
        (
            of("web, port: 80", "pods, port: 80"),
            &["spec.backendRef: Service shop/pods has no endpoints, so nobody takes over"],
        ),
        (
            of("web, port: 81", "web-v2, port: 80"),
            &["spec.targetRefs[0]: Service shop/web has no TCP port 81 (it has 80), so the document is for nothing"],
        ),
        (
            of("web", "web-v3, port: 80"),
            &["spec.backendRef: there is no Service shop/web-v3; did you mean web-v2?, so nobody takes over"],
        ),
        (
            of("web", "web, namespace: elsewhere, port: 80"),
            &["spec.backendRef: there is no Service elsewhere/web, so nobody takes over"],
        ),
        (
            of("web", "idle, port: 53"),
            &["spec.backendRef: Service shop/idle has no TCP port 53 (it has 80), so nobody takes over"],
        ),
        (of("web", "idle, port: 80"), &["spec.backendRef: Service shop/idle has no endpoints, so nobody takes over"]),
        (
            of("web", "alias, port: 80"),
            &["spec.backendRef: Service shop/alias is of type ExternalName and has no endpoints, so nobody takes over"],
        ),
    ];
    for (spec, expected) in cases {
        assert_eq!(said_in_mesh(RuleKind::Fallback, spec), *expected, "{spec}");
    }
}

#[test]
fn keys_of_tokens_have_to_be_found_and_not_to_be_forged() {
    let place = "spec.jwtRules[0]";
    let plain = "keys that are fetched without TLS can be replaced by anyone on the way, and tokens forged; use https";
    let never = "is of the node itself or a cloud's metadata service, and never asked for keys";
    for (rule, expected) in [
        ("issuer: https://login.example.com", None),
        ("issuer: me@example.com, jwksUri: https://login.example.com/keys", None),
        ("issuer: me@example.com, jwksUri: https://10.1.2.3/keys", None),
        (
            "issuer: me@example.com",
            Some(format!("{place}.issuer: \"me@example.com\" is no URL to find keys at; give jwksUri or jwks")),
        ),
        ("issuer: login", Some(format!("{place}.issuer: \"login\" is no URL to find keys at; give jwksUri or jwks"))),
        ("issuer: http://login.example.com", Some(format!("{place}.issuer: {plain}"))),
        ("issuer: a, jwksUri: http://login.shop/keys", Some(format!("{place}.jwksUri: {plain}"))),
        ("issuer: a, jwksUri: https://127.0.0.1/keys", Some(format!("{place}.jwksUri: 127.0.0.1 {never}"))),
        ("issuer: a, jwksUri: 'http://169.254.169.254/'", Some(format!("{place}.jwksUri: 169.254.169.254 {never}"))),
    ] {
        let said = said_in_mesh(RuleKind::RequestAuthentication, &format!("{{jwtRules: [{{{rule}}}]}}"));
        assert_eq!(said, Vec::from_iter(expected), "{rule}");
    }
}

#[test]
fn policies_have_to_name_identities_and_ports_that_exist() {
    assert_said(
        RuleKind::AuthorizationPolicy,
        &[
            (
                "{rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/web, '*', cluster.local/ns/*]}}]}]}",
                &[],
            ),
            ("{rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/default]}}]}]}", &[]),
            (
                "{rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/wep]}}]}]}",
                &["spec.rules[0].from[0].source.principals[0]: there is no ServiceAccount shop/wep"],
            ),
            (
                "{rules: [{from: [{source: {notPrincipals: [cluster.local/ns/bank/sa/web]}}]}]}",
                &["spec.rules[0].from[0].source.notPrincipals[0]: there is no Namespace bank"],
            ),
            (
                "{rules: [{from: [{source: {principals: [example.com/ns/shop/sa/web, shop/web]}}]}]}",
                &[
                    "spec.rules[0].from[0].source.principals[0]: nobody has an identity of \"example.com\", since this mesh's \
                     trust domain is \"cluster.local\", unless agent.yaml has it among trustDomainAliases",
                    "spec.rules[0].from[0].source.principals[1]: \"shop/web\" is no identity of a mesh: \
                     DOMAIN/ns/NAMESPACE/sa/ACCOUNT",
                ],
            ),
            (
                "{rules: [{from: [{source: {namespaces: [shop, bank, ba*]}}]}]}",
                &["spec.rules[0].from[0].source.namespaces[1]: there is no Namespace bank"],
            ),
            (
                "{rules: [{from: [{source: {serviceAccounts: [web, shop/web, shop/wep]}}]}]}",
                &["spec.rules[0].from[0].source.serviceAccounts[2]: there is no ServiceAccount shop/wep"],
            ),
            (
                "{rules: [{when: [{key: source.namespace, values: [bank]}, {key: source.serviceAccount, notValues: [wep]}]}]}",
                &[
                    "spec.rules[0].when[0].values[0]: there is no Namespace bank",
                    "spec.rules[0].when[1].notValues[0]: there is no ServiceAccount shop/wep",
                ],
            ),
            ("{selector: {matchLabels: {app: web}}, rules: [{to: [{operation: {ports: ['8080']}}]}]}", &[]),
            // Nothing is known of ports that no Service leads to.
            ("{selector: {matchLabels: {app: db}}, rules: [{to: [{operation: {ports: ['80']}}]}]}", &[]),
            (
                "{selector: {matchLabels: {app: web}}, rules: [{to: [{operation: {ports: ['8080', '80']}}]}]}",
                &[
                    "spec.rules[0].to[0].operation.ports[1]: no Service leads to port 80 of the selected pods, but to 8080; a \
                   pod's port is meant",
                ],
            ),
        ],
    );
}

#[test]
fn a_mode_has_to_come_first_somewhere_and_to_hold_everywhere() {
    const KIND: RuleKind = RuleKind::PeerAuthentication;
    let web = "selector: {matchLabels: {app: web}}";
    let no_effect = |of: &str, namespace: &str| {
        format!(
            "spec: has no effect: PeerAuthentication {namespace}/{of} is for the same pods and comes first; make one of the two"
        )
    };
    let two =
        |a: &str, b: &str| warnings(&checked(&(MESH.to_owned() + &document(KIND, "a", a) + &document(KIND, "b", b))));
    assert_eq!(two("{mtls: {mode: STRICT}}", "{mtls: {mode: DISABLE}}"), [no_effect("a", "shop")]);
    assert_eq!(two(&format!("{{{web}}}"), &format!("{{{web}, mtls: {{mode: STRICT}}}}")), [no_effect("a", "shop")]);
    assert_eq!(two("{mtls: {mode: STRICT}}", &format!("{{{web}, mtls: {{mode: DISABLE}}}}")), [""; 0]);
    let elsewhere = document(KIND, "b", "{}").replace("namespace: shop", "namespace: heddle-system");
    assert_eq!(warnings(&checked(&(MESH.to_owned() + &document(KIND, "a", "{}") + &elsewhere))), [""; 0]);

    let port =
        "spec.portLevelMtls.80: no Service leads to port 80 of the selected pods, but to 8080; a pod's port is meant";
    let ports = |ports: &str| said_in_mesh(KIND, &format!("{{{web}, portLevelMtls: {{{ports}}}}}"));
    assert_eq!(ports("8080: {mode: STRICT}"), [""; 0]);
    assert_eq!(ports("8080: {mode: STRICT}, 80: {mode: STRICT}"), [port]);

    let excluded =
        document(RuleKind::Capture, "x", "{selector: {matchLabels: {app: web}}, excludeInboundPorts: [8080, 9090]}");
    let said = |spec: &str| warnings(&checked(&(MESH.to_owned() + &excluded + &document(KIND, "a", spec))));
    let hole = "spec.portLevelMtls.8080: does not hold: an exclusion lets clients reach port 8080 of pod shop/web past the agent";
    assert_eq!(said(&format!("{{{web}, portLevelMtls: {{8080: {{mode: STRICT}}}}}}")), [hole]);
    assert_eq!(said(&format!("{{{web}, portLevelMtls: {{8080: {{mode: PERMISSIVE}}}}}}")), [""; 0]);
    // Whoever excludes a port means it, also where the others are strict.
    assert_eq!(said("{mtls: {mode: STRICT}}"), [""; 0]);
}

#[test]
fn attributes_of_requests_on_opaque_ports_are_told_with_their_effect() {
    let db = "selector: {matchLabels: {app: db}}";
    let asks = "spec.rules[0]: asks for what only HTTP has, and port 5432 of Pod shop/db is opaque";
    let denies = format!("{asks}: DENY refuses every connection there that the rest of the rule matches");
    let allows = format!("{asks}: ALLOW matches no connection there");
    let l7 = [
        "{to: [{operation: {methods: [GET]}}]}",
        "{to: [{operation: {notPaths: [/a]}}]}",
        "{to: [{operation: {hosts: [a], ports: ['5432']}}]}",
        "{from: [{source: {requestPrincipals: ['*']}}]}",
        "{from: [{source: {notRequestPrincipals: ['*']}}]}",
        "{when: [{key: 'request.headers[a]', values: [b]}]}",
        "{when: [{key: 'request.auth.claims[a][b]', notValues: [c]}]}",
    ];
    for rule in l7 {
        let of = |action: &str| {
            said_in_mesh(RuleKind::AuthorizationPolicy, &format!("{{{db}, action: {action}, rules: [{rule}]}}"))
        };
        assert_eq!(of("DENY"), [denies.as_str()], "{rule}");
        assert_eq!(of("ALLOW"), [allows.as_str()], "{rule}");
        assert_eq!(of("AUDIT"), [""; 0], "{rule}");
    }
    let others = [
        "{to: [{operation: {methods: [GET], ports: ['80']}}]}",
        "{to: [{operation: {methods: [GET], notPorts: ['5432']}}]}",
        "{to: [{operation: {ports: ['5432']}}]}",
        "{from: [{source: {namespaces: [shop]}}], when: [{key: connection.sni, values: [a]}]}",
        "{from: [{source: {remoteIpBlocks: [10.0.0.0/8]}}], when: [{key: remote.ip, values: [10.0.0.0/8]}]}",
    ];
    for rule in others {
        let said = said_in_mesh(RuleKind::AuthorizationPolicy, &format!("{{{db}, action: DENY, rules: [{rule}]}}"));
        assert_eq!(said, [""; 0], "{rule}");
    }
    let policy = document(
        RuleKind::AuthorizationPolicy,
        "x",
        &format!("{{selector: {{matchLabels: {{app: web}}}}, rules: [{}]}}", l7[0]),
    );
    let capture = document(RuleKind::Capture, "x", "{selector: {matchLabels: {app: web}}, opaquePorts: [8080]}");
    assert_eq!(warnings(&checked(&(MESH.to_owned() + &policy))), [""; 0]);
    assert_eq!(
        warnings(&checked(&(MESH.to_owned() + &policy + &capture))),
        [
            "spec.rules[0]: asks for what only HTTP has, and port 8080 of Pod shop/web is opaque: ALLOW matches no connection there"
        ]
    );
}

#[test]
fn hosts_of_destination_rules_have_to_be_known() {
    let known = [
        "web",
        "web.shop",
        "web.shop.svc",
        "web.shop.svc.cluster.local",
        "web.shop.svc.example.org",
        "'*.shop.svc.cluster.local'",
        "api.example.com",
        "'*.example.com'",
    ];
    let entry = document(
        RuleKind::ServiceEntry,
        "out",
        "{hosts: [api.example.com, '*.data.example.com'], addresses: [240.0.0.1], ports: [{number: 443, name: tls}]}",
    );
    let said = |host: &str| {
        let rule = document(RuleKind::DestinationRule, "x", &format!("{{host: {host}}}"));
        warnings(&checked(&(MESH.to_owned() + &entry + &rule)))
    };
    for host in known {
        assert_eq!(said(host), [""; 0], "{host}");
    }
    for host in ["wep", "web.bank", "web.shop.com", "api.example.org", "data.example.com", "'*.bank'", "'*.shop'"] {
        let name = host.trim_matches('\'');
        assert_eq!(said(host), [format!("spec.host: {name} is no Service and no host of a ServiceEntry")], "{host}");
    }
    for host in ["eu.data.example.com", "'*.eu.data.example.com'"] {
        let first = "spec.host: the mesh knows what ServiceEntry shop/out stands for by its first host alone; write api.example.com";
        assert_eq!(said(host), [first], "{host}");
    }
}

#[test]
fn of_documents_for_one_destination_those_that_do_not_count_are_told() {
    let rule = |name: &str, host: &str| document(RuleKind::DestinationRule, name, &format!("{{host: {host}}}"));
    let policy = |name: &str| {
        document(RuleKind::BackendTrafficPolicy, name, "{targetRefs: [{group: \"\", kind: Service, name: web}]}")
    };
    let fallback = |name: &str, port: &str| {
        let spec = format!("{{targetRefs: [{{name: web{port}}}], backendRef: {{name: web-v2, port: 80}}}}");
        document(RuleKind::Fallback, name, &spec)
    };
    let text = MESH.to_owned() + &rule("b", "web.shop") + &rule("a", "web") + &policy("d") + &policy("c");
    let text = text + &fallback("f", "") + &fallback("e", "") + &fallback("g", ", port: 80");
    assert_eq!(
        warnings(&checked(&text)),
        [
            "spec.host: DestinationRule shop/a comes first and counts alone for the same; remove one of the two",
            "spec.targetRefs[0]: XBackendTrafficPolicy shop/c comes first and counts alone for the same; remove one of the two",
            "spec.targetRefs[0]: Fallback shop/e comes first and counts alone for the same; remove one of the two",
        ]
    );
}

#[test]
fn addresses_of_entries_have_to_be_free() {
    let spec = |addresses: &str, port: u16| {
        format!("{{hosts: [a.example.com], addresses: [{addresses}], ports: [{{number: {port}, name: a}}]}}")
    };
    let said = |addresses: &str, port: u16| {
        let other = document(RuleKind::ServiceEntry, "other", &spec("240.0.0.1, 240.1.0.0/16", 443));
        let text = MESH.to_owned() + &other + &document(RuleKind::ServiceEntry, "x", &spec(addresses, port));
        warnings(&checked(&text))
    };
    assert_eq!(said("240.0.0.2, 10.0.0.0/8, 240.1.2.0/24", 443), [""; 0]);
    assert_eq!(said("240.0.0.1, 240.1.0.0/16", 80), [""; 0]);
    assert_eq!(
        said("10.1.0.1, 10.0.0.2, 240.1.0.0/16, 240.0.0.1", 443),
        [
            "spec.addresses[0]: 10.1.0.1 is the address of Service shop/web, which gets the connections",
            "spec.addresses[1]: 10.0.0.2 is the address of Pod shop/db, which gets the connections",
            "spec.addresses[2]: ServiceEntry shop/other has 240.1.0.0/16 and port 443 too, and gets the connections",
            "spec.addresses[3]: ServiceEntry shop/other has 240.0.0.1 and port 443 too, and gets the connections",
        ]
    );
    let dns = "{hosts: [a.example.com], resolution: DNS, ports: [{number: 443, name: a}]}";
    let twice = document(RuleKind::ServiceEntry, "a", dns) + &document(RuleKind::ServiceEntry, "b", dns);
    assert_eq!(
        warnings(&checked(&(MESH.to_owned() + &twice))),
        ["spec.hosts[0]: ServiceEntry shop/a has a.example.com and port 443 too, and gets the connections"]
    );
}

#[test]
fn the_agents_ports_are_not_to_be_captured_otherwise() {
    assert_said(
        RuleKind::Capture,
        &[
            ("{excludeInboundPorts: [15021], excludeOutboundPorts: [443], opaquePorts: [3306]}", &[]),
            (
                "{excludeInboundPorts: [15006, 80], excludeOutboundPorts: [15008], opaquePorts: [15001]}",
                &[
                    "spec.excludeInboundPorts: port 15006 is the agent's own, which is no application's; remove it",
                    "spec.excludeOutboundPorts: port 15008 is the agent's own, which is no application's; remove it",
                    "spec.opaquePorts: port 15001 is the agent's own, which is no application's; remove it",
                ],
            ),
        ],
    );
}

#[test]
fn nothing_is_missing_from_what_was_not_given_and_that_is_told_once() {
    let route = |name| {
        document(RuleKind::HttpRoute, name, &format!("{{{WEB}, rules: [{{backendRefs: [{{name: b, port: 1}}]}}]}}"))
    };
    let policy = document(
        RuleKind::AuthorizationPolicy,
        "p",
        "{selector: {matchLabels: {a: b}}, rules: [{from: [{source: {principals: [cluster.local/ns/a/sa/b]}}]}]}",
    );
    let host = document(RuleKind::DestinationRule, "d", "{host: nowhere}");
    let report = checked(&(route("a") + &route("b") + &policy + &host));
    assert_eq!(warnings(&report), [""; 0]);
    assert_eq!(report.unchecked, ["Namespace", "Pod", "Service", "ServiceAccount"]);
    assert!(checked(MESH).unchecked.is_empty());
}

#[test]
fn a_warning_points_at_its_line() {
    let text = MESH.to_owned()
        + "apiVersion: heddle.io/v1alpha1\nkind: Capture\nmetadata: {name: c, namespace: shop}\nspec:\n  excludeOutboundPorts:\n  - 80\n";
    let route = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: TCPRoute\nmetadata: {name: t, namespace: shop}\nspec:\n  \
                 parentRefs:\n  - {group: \"\", kind: Service, name: web}\n  rules:\n  - backendRefs:\n    - name: web\n      \
                 port: 80\n    - name: nowhere\n      port: 80\n";
    let report = checked(&(text.clone() + route));
    let warning = report.findings.iter().find(|finding| finding.severity == Severity::Warning).unwrap();
    let line = text.lines().count() + 12;
    assert_eq!((warning.line, warning.column), (Some(line), Some(7)));
    assert_eq!(warning.snippet.as_deref(), Some("    - name: nowhere"));
    assert_eq!(warning.object.as_deref(), Some("TCPRoute shop/t"));
}
