//! HTTPRoute documents, accepted and refused.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{num::NonZeroU32, time::Duration};

use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::*;
use crate::rules::{
    RuleKind, Spec,
    gateway::{
        BackendFilter, BackendRef, CookieLifetime, ExtensionKind, ExtensionRef, Fraction, Header, HeaderMatch,
        HeaderModifier, Pattern, RequestMirror, ServiceRef, SessionToken, TextMatch,
        tests::{accepted, assert_refused, document, refused},
    },
};

/// A route with one rule, which begins in line 7, column 5.
fn with_rule(rule: &str) -> String {
    with_rules(&[rule.to_owned()])
}

fn with_rules(rules: &[String]) -> String {
    let parent = "{group: \"\", kind: Service, name: web}";
    document(RuleKind::HttpRoute, &format!("spec:\n  parentRefs: [{parent}]\n  rules:\n  - {}\n", rules.join("\n  - ")))
}

fn accepted_route(text: &str) -> HttpRoute {
    let Spec::HttpRoute(route) = accepted(text) else { panic!("another kind") };
    route
}

fn rule(text: &str) -> HttpRule {
    accepted_route(&with_rule(text)).rules.remove(0)
}

fn matched(text: &str) -> HttpMatch {
    rule(&format!("matches: [{text}]")).matches.remove(0)
}

fn filter(text: &str) -> HttpFilter {
    rule(&format!("filters: [{text}]")).filters.remove(0)
}

fn service(name: &str, namespace: Option<&str>, port: u16) -> ServiceRef {
    ServiceRef { name: name.to_owned(), namespace: namespace.map(str::to_owned), port: port.try_into().unwrap() }
}

fn name(name: &'static str) -> HeaderName {
    HeaderName::from_static(name)
}

fn header(name: &'static str, value: &'static str) -> Header {
    Header { name: HeaderName::from_static(name), value: HeaderValue::from_static(value) }
}

fn exact(text: &str) -> TextMatch {
    TextMatch::Exact(text.to_owned())
}

fn pattern(text: &str) -> Pattern {
    Pattern::new(text).unwrap()
}

#[test]
fn a_route_without_rules_matches_everything_and_has_no_backend() {
    let route = accepted_route(&document(
        RuleKind::HttpRoute,
        "spec: {parentRefs: [{group: \"\", kind: Service, name: web, namespace: shop, port: 80}]}\n",
    ));
    let parent = ParentRef { name: "web".to_owned(), namespace: Some("shop".to_owned()), port: 80.try_into().ok() };
    assert_eq!(route, HttpRoute { parent_refs: vec![parent], rules: vec![HttpRule::of_empty_route()] });
    assert_eq!(rule("{matches: []}"), HttpRule::of_empty_route());
    assert_eq!(rule("{matches: [{}]}"), HttpRule::of_empty_route());
}

#[test]
fn matches_are_read() {
    let paths = [
        ("{}", PathMatch::PathPrefix("/".to_owned())),
        ("{path: {}}", PathMatch::PathPrefix("/".to_owned())),
        ("{path: {type: Exact}}", PathMatch::Exact("/".to_owned())),
        ("{path: {value: /v2/}}", PathMatch::PathPrefix("/v2/".to_owned())),
        ("{path: {type: Exact, value: \"/a%20b/.c/~d;e=f\"}}", PathMatch::Exact("/a%20b/.c/~d;e=f".to_owned())),
        (
            "{path: {type: RegularExpression, value: \"/(a|b)//.*\"}}",
            PathMatch::RegularExpression(pattern("/(a|b)//.*")),
        ),
    ];
    for (text, path) in paths {
        assert_eq!(matched(text), HttpMatch { path, ..HttpMatch::default() }, "{text}");
    }
    let text =
        "{method: PATCH, headers: [{name: X-Env, value: a b}, {name: version, type: RegularExpression, value: v.}],
      queryParams: [{name: Q, value: \"1\"}, {name: q, type: RegularExpression, value: \"\\\\d+\"}]}";
    let headers = vec![
        HeaderMatch { name: name("x-env"), value: exact("a b") },
        HeaderMatch { name: name("version"), value: TextMatch::RegularExpression(pattern("v.")) },
    ];
    let query_params = vec![
        QueryMatch { name: "Q".to_owned(), value: exact("1") },
        QueryMatch { name: "q".to_owned(), value: TextMatch::RegularExpression(pattern("\\d+")) },
    ];
    let expected = HttpMatch { path: PathMatch::default(), headers, query_params, method: Some(Method::PATCH) };
    assert_eq!(matched(text), expected);
}

#[test]
fn of_headers_that_differ_in_case_the_first_counts() {
    let headers = matched("{headers: [{name: Env, value: a}, {name: ENV, value: b}, {name: x, value: c}]}").headers;
    let expected = [("env", "a"), ("x", "c")].map(|(n, value)| HeaderMatch { name: name(n), value: exact(value) });
    assert_eq!(headers, expected);
}

#[test]
fn filters_are_read() {
    let table = [
        (
            "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: A, value: b}], add: [{name: c, value: \"d, e\"}], remove: [F]}}",
            HttpFilter::RequestHeaderModifier(HeaderModifier {
                set: vec![header("a", "b")],
                add: vec![header("c", "d, e")],
                remove: vec![name("f")],
            }),
        ),
        (
            "{type: ResponseHeaderModifier, responseHeaderModifier: {}}",
            HttpFilter::ResponseHeaderModifier(HeaderModifier::default()),
        ),
        (
            "{type: RequestRedirect, requestRedirect: {}}",
            HttpFilter::RequestRedirect(RequestRedirect {
                scheme: None,
                hostname: None,
                path: None,
                port: None,
                status_code: StatusCode::FOUND,
            }),
        ),
        (
            "{type: RequestRedirect, requestRedirect: {scheme: https, hostname: a.example, port: 8443, statusCode: 308,
                path: {type: ReplaceFullPath, replaceFullPath: /b}}}",
            HttpFilter::RequestRedirect(RequestRedirect {
                scheme: Some(Scheme::Https),
                hostname: Some("a.example".to_owned()),
                path: Some(PathModifier::ReplaceFullPath("/b".to_owned())),
                port: 8443.try_into().ok(),
                status_code: StatusCode::PERMANENT_REDIRECT,
            }),
        ),
        (
            "{type: URLRewrite, urlRewrite: {hostname: a, path: {type: ReplacePrefixMatch, replacePrefixMatch: \"\"}}}",
            HttpFilter::UrlRewrite(UrlRewrite {
                hostname: Some("a".to_owned()),
                path: Some(PathModifier::ReplacePrefixMatch(String::new())),
            }),
        ),
        (
            "{type: ExtensionRef, extensionRef: {group: heddle.io, kind: RateLimit, name: slow}}",
            HttpFilter::ExtensionRef(ExtensionRef { kind: ExtensionKind::RateLimit, name: "slow".to_owned() }),
        ),
    ];
    for (text, expected) in table {
        assert_eq!(filter(text), expected, "{text}");
    }
}

#[test]
fn mirrors_get_a_share() {
    for (text, numerator, denominator) in [
        ("", 100, 100),
        (", percent: 0", 0, 100),
        (", percent: 42", 42, 100),
        (", fraction: {numerator: 7}", 7, 100),
        (", fraction: {numerator: 1, denominator: 1000}", 1, 1000),
    ] {
        let text = format!(
            "{{type: RequestMirror, requestMirror: {{backendRef: {{name: copy, namespace: test, port: 81}}{text}}}}}"
        );
        let fraction = Fraction { numerator, denominator: NonZeroU32::new(denominator).unwrap() };
        let mirror = RequestMirror { backend_ref: service("copy", Some("test"), 81), fraction };
        assert_eq!(filter(&text), HttpFilter::RequestMirror(mirror), "{text}");
    }
}

#[test]
fn cors_filters_are_read() {
    let text = "{type: CORS, cors: {allowOrigins: [https://Shop.example, http://*.a.example:8080, https://*, http://192.0.2.1],
        allowCredentials: true, allowMethods: [\"*\"], allowHeaders: [X-A, b], maxAge: 60}}";
    let origin = |scheme, host, port: Option<u16>| Origin { scheme, host, port: port.map(|p| p.try_into().unwrap()) };
    let cors = CorsFilter {
        allow_origins: AllowList::Only(vec![
            origin(Scheme::Https, OriginHost::Exact("shop.example".to_owned()), None),
            origin(Scheme::Http, OriginHost::Below("a.example".to_owned()), Some(8080)),
            origin(Scheme::Https, OriginHost::Any, None),
            origin(Scheme::Http, OriginHost::Exact("192.0.2.1".to_owned()), None),
        ]),
        allow_credentials: true,
        allow_methods: AllowList::Any,
        allow_headers: AllowList::Only(vec![name("x-a"), name("b")]),
        expose_headers: AllowList::Only(Vec::new()),
        max_age: NonZeroU32::new(60).unwrap(),
    };
    assert_eq!(filter(text), HttpFilter::Cors(cors));
    let HttpFilter::Cors(defaults) = filter("{type: CORS, cors: {allowOrigins: [\"*\"]}}") else { panic!("another") };
    assert_eq!(
        (defaults.allow_origins, defaults.allow_credentials, defaults.max_age.get()),
        (AllowList::Any, false, 5)
    );
}

#[test]
fn backends_have_weights_and_headers_of_their_own() {
    let rule = rule(
        "backendRefs: [{name: a, port: 80}, {group: \"\", kind: Service, name: b, namespace: other, port: 81, weight: 0,
        filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [x]}}]}]",
    );
    let filters = vec![BackendFilter::RequestHeaderModifier(HeaderModifier {
        remove: vec![name("x")],
        ..HeaderModifier::default()
    })];
    let expected = [(service("a", None, 80), 1, Vec::new()), (service("b", Some("other"), 81), 0, filters)]
        .map(|(service, weight, filters)| FilteredBackendRef { backend: BackendRef { service, weight }, filters });
    assert_eq!(rule.backend_refs, expected);
}

#[test]
fn timeouts_retries_and_sessions_are_read() {
    let rule = rule(
        "{name: r.1, timeouts: {request: 1m30s, backendRequest: 500ms}, retry: {codes: [500, 429], attempts: 3, backoff: 1s},
        sessionPersistence: {sessionName: sid, absoluteTimeout: 24h, idleTimeout: 1h, cookieConfig: {lifetimeType: Permanent}}}",
    );
    assert_eq!(rule.name.as_deref(), Some("r.1"));
    let timeouts =
        Timeouts { request: Some(Duration::from_secs(90)), backend_request: Some(Duration::from_millis(500)) };
    assert_eq!(rule.timeouts, Some(timeouts));
    let codes = vec![StatusCode::INTERNAL_SERVER_ERROR, StatusCode::TOO_MANY_REQUESTS];
    assert_eq!(rule.retry, Some(Retry { codes, attempts: Some(3), backoff: Some(Duration::from_secs(1)) }));
    let session = SessionPersistence {
        session_name: Some("sid".to_owned()),
        absolute_timeout: Some(Duration::from_secs(86400)),
        idle_timeout: Some(Duration::from_secs(3600)),
        token: SessionToken::Cookie(CookieLifetime::Permanent),
    };
    assert_eq!(rule.session_persistence, Some(session));
}

#[test]
fn a_request_without_limit_bounds_no_try() {
    let timeouts = rule("timeouts: {request: 0s, backendRequest: 5s}").timeouts.unwrap();
    assert_eq!((timeouts.request, timeouts.backend_request), (Some(Duration::ZERO), Some(Duration::from_secs(5))));
}

#[test]
fn redirects_may_replace_the_only_prefix() {
    let filter = "filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}]";
    for matches in ["", "matches: [{path: {value: /a}}], ", "matches: [], "] {
        let text = format!("{{{matches}{filter}}}");
        assert_eq!(rule(&text).filters.len(), 1, "{text}");
    }
}

#[test]
fn mirrors_and_extensions_may_come_several_times() {
    let mirror = "{type: RequestMirror, requestMirror: {backendRef: {name: copy, port: 81}}}";
    let extension = "{type: ExtensionRef, extensionRef: {group: heddle.io, kind: FaultInjection, name: a}}";
    assert_eq!(rule(&format!("filters: [{mirror}, {extension}, {mirror}, {extension}]")).filters.len(), 4);
}

/// As many of one text as asked for, in a flow list; `#` is the number of each.
fn many(text: &str, count: usize) -> String {
    let entries: Vec<String> = (0..count).map(|i| text.replace('#', &i.to_string())).collect();
    format!("[{}]", entries.join(", "))
}

/// The text of a rule with a list in it.
type RuleWith = fn(&str) -> String;

#[test]
fn lists_may_be_as_long_as_upstream_says_and_no_longer() {
    let backend = "{name: a, port: 80}";
    let mirror = "{type: RequestMirror, requestMirror: {backendRef: {name: copy, port: 81}}}";
    let table: [(&str, &str, usize, RuleWith); 9] = [
        ("spec.rules[0].matches", "{path: {value: /#}}", 64, |list| format!("matches: {list}")),
        ("spec.rules[0].filters", mirror, 16, |list| format!("filters: {list}")),
        ("spec.rules[0].backendRefs", backend, 16, |list| format!("backendRefs: {list}")),
        ("spec.rules[0].matches[0].headers", "{name: x#, value: a}", 16, |l| format!("matches: [{{headers: {l}}}]")),
        ("spec.rules[0].matches[0].queryParams", "{name: x#, value: a}", 16, |l| {
            format!("matches: [{{queryParams: {l}}}]")
        }),
        ("spec.rules[0].filters[0].requestHeaderModifier.set", "{name: x#, value: a}", 16, |list| {
            format!("filters: [{{type: RequestHeaderModifier, requestHeaderModifier: {{set: {list}}}}}]")
        }),
        ("spec.rules[0].filters[0].requestHeaderModifier.remove", "x#", 16, |list| {
            format!("filters: [{{type: RequestHeaderModifier, requestHeaderModifier: {{remove: {list}}}}}]")
        }),
        ("spec.rules[0].filters[0].cors.allowOrigins", "https://a#", 64, |list| {
            format!("filters: [{{type: CORS, cors: {{allowOrigins: {list}}}}}]")
        }),
        ("spec.rules[0].backendRefs[0].filters", "{}", 16, |list| {
            format!("backendRefs: [{{name: a, port: 80, filters: {list}}}]")
        }),
    ];
    for (place, entry, most, rule) in table {
        let complaint = format!(": {place}: found {} entries, allowed: 0 to {most}", most + 1);
        let told = refused(&with_rule(&rule(&many(entry, most + 1))));
        assert!(told.iter().any(|problem| problem.ends_with(&complaint)), "{place}: {told:?}");
        // Empty filters have problems of their own.
        if entry != "{}" {
            accepted(&with_rule(&rule(&many(entry, most))));
        }
    }
}

#[test]
fn a_route_has_16_rules_and_128_matches_at_most() {
    let rules =
        |matches: usize, count: usize| vec![format!("matches: {}", many("{path: {value: /#}}", matches)); count];
    assert_eq!(accepted_route(&with_rules(&rules(8, 16))).rules.len(), 16);
    assert_eq!(refused(&with_rules(&rules(1, 17))), ["f:7:5: spec.rules: found 17 entries, allowed: 1 to 16"]);
    let told = refused(&with_rules(&rules(43, 3)));
    assert_eq!(told, ["f:7:5: spec.rules: have 129 matches in all, allowed: at most 128 in one route"]);
}

#[test]
fn paths_have_1024_characters_at_most() {
    let path = |length: usize| format!("matches: [{{path: {{value: /{}}}}}]", "a".repeat(length - 1));
    accepted(&with_rule(&path(1024)));
    assert!(refused(&with_rule(&path(1025)))[0].ends_with("allowed: a path of at most 1024 characters"));
}

#[test]
fn bad_paths_are_refused() {
    assert_refused(
        with_rule,
        &[
            (
                "matches: [{path: {type: Exact, value: v2}}]",
                &[r#"f:7:43: spec.rules[0].matches[0].path.value: "v2" must begin with a slash"#],
            ),
            (
                "matches: [{path: {value: /a//b}}]",
                &[
                    r#"f:7:30: spec.rules[0].matches[0].path.value: "/a//b" must not contain //, since an empty segment matches nothing"#,
                ],
            ),
            (
                "matches: [{path: {value: /a/./b}}]",
                &[
                    r#"f:7:30: spec.rules[0].matches[0].path.value: "/a/./b" must not contain the segments . and .., write the path that they lead to"#,
                ],
            ),
            (
                "matches: [{path: {value: /a/..}}]",
                &[
                    r#"f:7:30: spec.rules[0].matches[0].path.value: "/a/.." must not contain the segments . and .., write the path that they lead to"#,
                ],
            ),
            (
                "matches: [{path: {value: /a%2Fb}}]",
                &[r#"f:7:30: spec.rules[0].matches[0].path.value: "/a%2Fb" must not contain %2f, an encoded slash"#],
            ),
            (
                r#"matches: [{path: {type: Exact, value: "/a#b"}}]"#,
                &[
                    r#"f:7:43: spec.rules[0].matches[0].path.value: "/a#b" must not contain #, which no request has in its path"#,
                ],
            ),
            (
                "matches: [{path: {value: /a b}}]",
                &[
                    r#"f:7:30: spec.rules[0].matches[0].path.value: "/a b" must consist of letters, digits, -/._~!$&'()*+,;=:@ and %XX"#,
                ],
            ),
            (
                "matches: [{path: {value: /a%zz}}]",
                &[
                    r#"f:7:30: spec.rules[0].matches[0].path.value: "/a%zz" must consist of letters, digits, -/._~!$&'()*+,;=:@ and %XX"#,
                ],
            ),
            (
                "matches: [{path: {type: Prefix, value: /a}}]",
                &[
                    r#"f:7:29: spec.rules[0].matches[0].path.type: found "Prefix", allowed: Exact, PathPrefix or RegularExpression"#,
                ],
            ),
            (
                r#"matches: [{path: {type: RegularExpression, value: "/(a"}}]"#,
                &[
                    r#"f:7:55: spec.rules[0].matches[0].path.value: "/(a" is no regular expression of this build: unclosed group"#,
                ],
            ),
            (
                "matches: [{path: /a}]",
                &[r#"f:7:22: spec.rules[0].matches[0].path: found "/a", allowed: a map of keys and values"#],
            ),
            (
                "matches: [{path: {value: 7}}]",
                &[
                    "f:7:30: spec.rules[0].matches[0].path.value: found the number 7, allowed: a path of at most 1024 characters",
                ],
            ),
        ],
    );
}

#[test]
fn other_bad_matches_are_refused() {
    assert_refused(
        with_rule,
        &[
            (
                "matches: [{method: get}]",
                &[
                    r#"f:7:24: spec.rules[0].matches[0].method: found "get", allowed: GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE or PATCH"#,
                ],
            ),
            (
                "matches: [{headers: [{name: a, value: x}, {name: a, value: y}]}]",
                &[
                    r#"f:7:54: spec.rules[0].matches[0].headers[1].name: comes a second time in this list: "a", allowed: each header once"#,
                ],
            ),
            (
                r#"matches: [{headers: [{name: "a b", value: x}]}]"#,
                &[
                    r#"f:7:33: spec.rules[0].matches[0].headers[0].name: found "a b", allowed: a header name: 1 to 256 letters, digits and !#$%&'*+-.^_`|~"#,
                ],
            ),
            (
                "matches: [{headers: [{name: a}, {value: b}]}]",
                &[
                    "f:7:26: spec.rules[0].matches[0].headers[0].value: missing, must be 1 to 4096 printable ASCII characters, without blanks at the ends",
                    "f:7:37: spec.rules[0].matches[0].headers[1].name: missing, must be a header name: 1 to 256 letters, digits and !#$%&'*+-.^_`|~",
                ],
            ),
            (
                r#"matches: [{headers: [{name: a, value: " x"}]}]"#,
                &[
                    r#"f:7:43: spec.rules[0].matches[0].headers[0].value: found " x", allowed: 1 to 4096 printable ASCII characters, without blanks at the ends"#,
                ],
            ),
            (
                "matches: [{headers: [{name: a, value: b, type: Prefix}]}]",
                &[
                    r#"f:7:52: spec.rules[0].matches[0].headers[0].type: found "Prefix", allowed: Exact or RegularExpression"#,
                ],
            ),
            (
                r#"matches: [{headers: [{name: a, value: "[b", type: RegularExpression}]}]"#,
                &[
                    r#"f:7:43: spec.rules[0].matches[0].headers[0].value: "[b" is no regular expression of this build: unclosed character class"#,
                ],
            ),
            (
                r#"matches: [{queryParams: [{name: q, value: ""}]}]"#,
                &[
                    r#"f:7:47: spec.rules[0].matches[0].queryParams[0].value: found "", allowed: a text of 1 to 1024 characters"#,
                ],
            ),
            (
                "matches: [{queryParams: [{name: q, value: a}, {name: q, value: b}]}]",
                &[
                    r#"f:7:58: spec.rules[0].matches[0].queryParams[1].name: comes a second time in this list: "q", allowed: each parameter once"#,
                ],
            ),
            (
                "matches: [{paths: {value: /a}}]",
                &[r#"f:7:16: unknown key "paths" in spec.rules[0].matches[0]; did you mean "path"?"#],
            ),
            ("matches: {}", &["f:7:14: spec.rules[0].matches: found a map, allowed: a list of maps"]),
        ],
    );
}

#[test]
fn bad_mirrors_are_refused() {
    assert_refused(
        with_rule,
        &[
            (
                "filters: [{type: RequestMirror, requestMirror: {percent: 101}}]",
                &[
                    "f:7:52: spec.rules[0].filters[0].requestMirror.backendRef: missing, must be the Service that gets the copies",
                    "f:7:62: spec.rules[0].filters[0].requestMirror.percent: found the number 101, allowed: a whole number from 0 to 100",
                ],
            ),
            (
                "filters: [{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 80}, percent: 1, fraction: {numerator: 1}}}]",
                &[
                    "f:7:108: spec.rules[0].filters[0].requestMirror.fraction: is given beside percent, allowed: one of them",
                ],
            ),
            (
                "filters: [{type: RequestMirror, requestMirror: {backendRef: {name: a}, fraction: {numerator: 3, denominator: 2}}}]",
                &[
                    "f:7:65: spec.rules[0].filters[0].requestMirror.backendRef.port: missing, must be a port number of the Service",
                    "f:7:98: spec.rules[0].filters[0].requestMirror.fraction.numerator: found 3, allowed: at most the denominator 2",
                ],
            ),
            (
                "filters: [{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 80, weight: 1}, fraction: {denominator: 0}}}]",
                &[
                    r#"f:7:85: unknown key "weight" in spec.rules[0].filters[0].requestMirror.backendRef, allowed: group, kind, name, namespace, port"#,
                    "f:7:107: spec.rules[0].filters[0].requestMirror.fraction.numerator: missing, must be a whole number from 0",
                    "f:7:121: spec.rules[0].filters[0].requestMirror.fraction.denominator: found the number 0, allowed: a whole number from 1 to 2147483647",
                ],
            ),
        ],
    );
}

#[test]
fn bad_redirects_and_rewrites_are_refused() {
    assert_refused(
        with_rule,
        &[
            (
                "{matches: [{path: {type: Exact, value: /a}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}]}",
                &[
                    "f:7:61: spec.rules[0].filters[0]: replaces the prefix that matched, so the rule must have exactly one match, of type PathPrefix; split the rule",
                ],
            ),
            (
                "{matches: [{}, {}], filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}]}",
                &[
                    "f:7:35: spec.rules[0].filters[0]: replaces the prefix that matched, so the rule must have exactly one match, of type PathPrefix; split the rule",
                ],
            ),
            (
                "filters: [{type: RequestRedirect, requestRedirect: {scheme: ftp, hostname: 192.0.2.1, port: 0, statusCode: 304}}]",
                &[
                    r#"f:7:65: spec.rules[0].filters[0].requestRedirect.scheme: found "ftp", allowed: http or https"#,
                    r#"f:7:80: spec.rules[0].filters[0].requestRedirect.hostname: found "192.0.2.1", allowed: a host name of at most 253 characters: labels of a-z, 0-9 and '-' with dots between them, and no IP address"#,
                    "f:7:97: spec.rules[0].filters[0].requestRedirect.port: found the number 0, allowed: a port number from 1 to 65535",
                    "f:7:112: spec.rules[0].filters[0].requestRedirect.statusCode: found the number 304, allowed: 301, 302, 303, 307 or 308",
                ],
            ),
            (
                "filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath, replacePrefixMatch: /a}}}]",
                &[
                    "f:7:63: spec.rules[0].filters[0].requestRedirect.path.replaceFullPath: missing, must be what type ReplaceFullPath is to do",
                    "f:7:107: spec.rules[0].filters[0].requestRedirect.path.replacePrefixMatch: goes with type ReplacePrefixMatch, found type ReplaceFullPath",
                ],
            ),
            (
                r#"filters: [{type: URLRewrite, urlRewrite: {hostname: "*.example.com", path: {type: ReplaceFullPath, replaceFullPath: "/a?b"}}}]"#,
                &[
                    r#"f:7:57: spec.rules[0].filters[0].urlRewrite.hostname: found "*.example.com", allowed: a host name of at most 253 characters: labels of a-z, 0-9 and '-' with dots between them, and no IP address"#,
                    r#"f:7:121: spec.rules[0].filters[0].urlRewrite.path.replaceFullPath: found "/a?b", allowed: a path of at most 1024 characters, which begins with / and has no query"#,
                ],
            ),
            (
                "filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: a}}}]",
                &[
                    r#"f:7:100: spec.rules[0].filters[0].urlRewrite.path.replacePrefixMatch: found "a", allowed: an empty text, or a path of at most 1024 characters, which begins with / and has no query"#,
                ],
            ),
        ],
    );
}

#[test]
fn bad_cors_filters_are_refused() {
    assert_refused(
        with_rule,
        &[
            (
                r#"filters: [{type: CORS, cors: {allowOrigins: ["*", "https://a"], allowMethods: [get], allowHeaders: [a, A], exposeHeaders: ["a b"], maxAge: 0}}]"#,
                &[
                    r#"f:7:49: spec.rules[0].filters[0].cors.allowOrigins: has "*" beside other entries, allowed: "*" alone, since it means them all"#,
                    r#"f:7:84: spec.rules[0].filters[0].cors.allowMethods[0]: found "get", allowed: "*", GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE or PATCH"#,
                    "f:7:104: spec.rules[0].filters[0].cors.allowHeaders: has an entry twice, allowed: each once",
                    r#"f:7:128: spec.rules[0].filters[0].cors.exposeHeaders[0]: found "a b", allowed: "*", or a header name: 1 to 256 letters, digits and !#$%&'*+-.^_`|~"#,
                    "f:7:144: spec.rules[0].filters[0].cors.maxAge: found the number 0, allowed: a whole number of seconds from 1 to 2147483647",
                ],
            ),
            (
                r#"filters: [{type: CORS, cors: {allowOrigins: [a.example, "ftp://a", "https://a:70000", "https://*a.example", "https://a/b"]}}]"#,
                &[
                    r#"f:7:50: spec.rules[0].filters[0].cors.allowOrigins[0]: found "a.example", allowed: "*", or an origin such as https://shop.example, http://*.example:8080 or https://*"#,
                    r#"f:7:61: spec.rules[0].filters[0].cors.allowOrigins[1]: found "ftp://a", allowed: "*", or an origin such as https://shop.example, http://*.example:8080 or https://*"#,
                    r#"f:7:72: spec.rules[0].filters[0].cors.allowOrigins[2]: found "https://a:70000", allowed: "*", or an origin such as https://shop.example, http://*.example:8080 or https://*"#,
                    r#"f:7:91: spec.rules[0].filters[0].cors.allowOrigins[3]: found "https://*a.example", allowed: "*", or an origin such as https://shop.example, http://*.example:8080 or https://*"#,
                    r#"f:7:113: spec.rules[0].filters[0].cors.allowOrigins[4]: found "https://a/b", allowed: "*", or an origin such as https://shop.example, http://*.example:8080 or https://*"#,
                ],
            ),
        ],
    );
}

#[test]
fn bad_header_modifiers_are_refused() {
    assert_refused(
        with_rule,
        &[
            (
                "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}], add: [{name: A, value: c}], remove: [a]}}]",
                &[
                    "f:7:110: spec.rules[0].filters[0].requestHeaderModifier.add[0].name: a comes a second time in this filter, allowed: one action for each header",
                    "f:7:133: spec.rules[0].filters[0].requestHeaderModifier.remove: a comes a second time in this filter, allowed: one action for each header",
                ],
            ),
            (
                r#"filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: Connection, value: close}], remove: [Host, "a b"]}}]"#,
                &[
                    "f:7:84: spec.rules[0].filters[0].responseHeaderModifier.set[0].name: connection describes how one hop carries the message, and cannot be changed; remove it",
                    "f:7:120: spec.rules[0].filters[0].responseHeaderModifier.remove: host is no header to modify; use a URLRewrite filter with hostname",
                    r#"f:7:127: spec.rules[0].filters[0].responseHeaderModifier.remove[1]: found "a b", allowed: a header name: 1 to 256 letters, digits and !#$%&'*+-.^_`|~"#,
                ],
            ),
            (
                r#"filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: a, value: ""}], add: [{name: b}]}}]"#,
                &[
                    r#"f:7:94: spec.rules[0].filters[0].responseHeaderModifier.set[0].value: found "", allowed: 1 to 4096 printable ASCII characters, without blanks at the ends"#,
                    "f:7:106: spec.rules[0].filters[0].responseHeaderModifier.add[0].value: missing, must be 1 to 4096 printable ASCII characters, without blanks at the ends",
                ],
            ),
        ],
    );
}

#[test]
fn bad_backends_are_refused() {
    assert_refused(
        with_rule,
        &[
            (
                "backendRefs: [{name: a}]",
                &["f:7:19: spec.rules[0].backendRefs[0].port: missing, must be a port number of the Service"],
            ),
            (
                "backendRefs: [{name: a, group: multicluster.x-k8s.io, kind: ServiceImport}]",
                &[
                    r#"f:7:65: spec.rules[0].backendRefs[0].kind: found ServiceImport of group "multicluster.x-k8s.io", allowed: Service of group """#,
                ],
            ),
            (
                r#"backendRefs: [{name: "", namespace: Shop, port: 65536, weight: 1000001}]"#,
                &[
                    r#"f:7:26: spec.rules[0].backendRefs[0].name: found "", allowed: the name of a Service, of 1 to 253 characters"#,
                    r#"f:7:41: spec.rules[0].backendRefs[0].namespace: found "Shop", allowed: a namespace: at most 63 of the characters a-z, 0-9 and '-'"#,
                    "f:7:53: spec.rules[0].backendRefs[0].port: found the number 65536, allowed: a port number from 1 to 65535",
                    "f:7:68: spec.rules[0].backendRefs[0].weight: found the number 1000001, allowed: a weight from 0 to 1000000",
                ],
            ),
            (
                "backendRefs: [{name: a, port: 80, filters: [{type: URLRewrite, urlRewrite: {}}]}]",
                &[
                    "f:7:56: spec.rules[0].backendRefs[0].filters[0].type: URLRewrite is not enforced on a backendRef by this build; put it on the rule",
                ],
            ),
            (
                "backendRefs: [{name: a, port: 80, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {}}, {type: RequestHeaderModifier, requestHeaderModifier: {}}]}]",
                &[
                    "f:7:114: spec.rules[0].backendRefs[0].filters[1].type: comes a second time in this list, allowed: once; put both into one filter",
                ],
            ),
            (
                "backendRefs: [{name: a, port: 80, filters: [{type: ExternalAuth, externalAuth: {}}]}]",
                &[
                    "f:7:56: spec.rules[0].backendRefs[0].filters[0].type: ExternalAuth is not enforced by this build; remove it",
                ],
            ),
        ],
    );
}

#[test]
fn filters_that_contradict_are_refused() {
    assert_refused(
        with_rule,
        &[
            (
                "filters: [{requestRedirect: {}}]",
                &[
                    "f:7:15: spec.rules[0].filters[0].type: missing, must be RequestHeaderModifier, ResponseHeaderModifier, RequestMirror, RequestRedirect, URLRewrite, CORS or ExtensionRef",
                ],
            ),
            (
                "filters: [{type: Redirect}]",
                &[
                    r#"f:7:22: spec.rules[0].filters[0].type: found "Redirect", allowed: RequestHeaderModifier, ResponseHeaderModifier, RequestMirror, RequestRedirect, URLRewrite, CORS or ExtensionRef"#,
                ],
            ),
            (
                "filters: [{type: CORS}]",
                &["f:7:15: spec.rules[0].filters[0].cors: missing, must be what type CORS is to do"],
            ),
            (
                "filters: [{type: CORS, cors: {}, urlRewrite: {}}]",
                &["f:7:50: spec.rules[0].filters[0].urlRewrite: goes with type URLRewrite, found type CORS"],
            ),
            (
                "filters: [{type: ExternalAuth, externalAuth: {protocol: HTTP}}]",
                &[
                    "f:7:22: spec.rules[0].filters[0].type: ExternalAuth is not enforced by this build, which asks no other server; use AuthorizationPolicy documents",
                ],
            ),
            (
                "filters: [{type: ExtensionRef, extensionRef: {group: example.com, kind: RateLimit, name: a}}]",
                &[
                    r#"f:7:58: spec.rules[0].filters[0].extensionRef.group: found "example.com", allowed: heddle.io, whose FaultInjection and RateLimit are the only filters beside upstream's"#,
                ],
            ),
            (
                "filters: [{type: ExtensionRef, extensionRef: {group: heddle.io, kind: Telemetry}}]",
                &[
                    "f:7:50: spec.rules[0].filters[0].extensionRef.name: missing, must be the name of the document, of 1 to 253 characters",
                    r#"f:7:75: spec.rules[0].filters[0].extensionRef.kind: found "Telemetry", allowed: FaultInjection or RateLimit"#,
                ],
            ),
            (
                "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {}}, {type: RequestHeaderModifier, requestHeaderModifier: {}}]",
                &[
                    "f:7:80: spec.rules[0].filters[1].type: comes a second time in this list, allowed: once; put both into one filter",
                ],
            ),
            (
                "filters: [{type: URLRewrite, urlRewrite: {}}, {type: URLRewrite, urlRewrite: {}}]",
                &[
                    "f:7:58: spec.rules[0].filters[1].type: comes a second time in this list, allowed: once; put both into one filter",
                ],
            ),
            (
                "filters: [{type: URLRewrite, urlRewrite: {}}, {type: RequestRedirect, requestRedirect: {}}]",
                &[
                    "f:7:58: spec.rules[0].filters[1].type: stands beside the other of RequestRedirect and URLRewrite, allowed: one of them; remove one",
                ],
            ),
            (
                "{filters: [{type: RequestRedirect, requestRedirect: {}}], backendRefs: [{name: a, port: 80}]}",
                &[
                    "f:7:76: spec.rules[0].backendRefs: get nothing, since a RequestRedirect filter answers; remove one of the two",
                ],
            ),
        ],
    );
}

#[test]
fn bad_timeouts_retries_and_sessions_are_refused() {
    assert_refused(
        with_rule,
        &[
            (
                r#"timeouts: {request: "10", backendRequest: 1.5s}"#,
                &[
                    r#"f:7:25: spec.rules[0].timeouts.request: found "10", allowed: a duration: up to four whole numbers with the units h, m, s or ms, such as 500ms, 10s or 1h30m"#,
                    r#"f:7:47: spec.rules[0].timeouts.backendRequest: found "1.5s", allowed: a duration: up to four whole numbers with the units h, m, s or ms, such as 500ms, 10s or 1h30m"#,
                ],
            ),
            (
                "timeouts: {request: 1s, backendRequest: 1001ms}",
                &[
                    "f:7:45: spec.rules[0].timeouts.backendRequest: is longer than request, which includes it; make it at most as long",
                ],
            ),
            (
                r#"retry: {codes: [503, 200, "500"], attempts: -1, backoff: 1us}"#,
                &[
                    "f:7:26: spec.rules[0].retry.codes[1]: found the number 200, allowed: a status code from 400 to 599",
                    r#"f:7:31: spec.rules[0].retry.codes[2]: found "500", allowed: a status code from 400 to 599"#,
                    "f:7:49: spec.rules[0].retry.attempts: found the number -1, allowed: a whole number from 0",
                    r#"f:7:62: spec.rules[0].retry.backoff: found "1us", allowed: a duration: up to four whole numbers with the units h, m, s or ms, such as 500ms, 10s or 1h30m"#,
                ],
            ),
            (
                "sessionPersistence: {cookieConfig: {lifetimeType: Permanent}}",
                &[
                    "f:7:25: spec.rules[0].sessionPersistence.absoluteTimeout: missing, must be the lifetime of a Permanent cookie, such as 24h",
                ],
            ),
            (
                "sessionPersistence: {type: Header, cookieConfig: {lifetimeType: Session}}",
                &["f:7:54: spec.rules[0].sessionPersistence.cookieConfig: goes with type Cookie, found type Header"],
            ),
            (
                "sessionPersistence: {type: cookie, sessionName: a b, idleTimeout: 1d}",
                &[
                    r#"f:7:32: spec.rules[0].sessionPersistence.type: found "cookie", allowed: Cookie or Header"#,
                    r#"f:7:53: spec.rules[0].sessionPersistence.sessionName: found "a b", allowed: a name for a cookie or header: 1 to 128 letters, digits and !#$%&'*+-.^_`|~"#,
                    r#"f:7:71: spec.rules[0].sessionPersistence.idleTimeout: found "1d", allowed: a duration: up to four whole numbers with the units h, m, s or ms, such as 500ms, 10s or 1h30m"#,
                ],
            ),
        ],
    );
}

#[test]
fn bad_names_and_unknown_keys_are_refused() {
    assert_refused(
        with_rule,
        &[
            (
                "{name: A_b}",
                &[
                    r#"f:7:12: spec.rules[0].name: found "A_b", allowed: a name of at most 253 of the characters a-z, 0-9, '-' and '.'"#,
                ],
            ),
            (
                "{filter: [], backendRef: []}",
                &[
                    r#"f:7:6: unknown key "filter" in spec.rules[0]; did you mean "filters"?"#,
                    r#"f:7:18: unknown key "backendRef" in spec.rules[0]; did you mean "backendRefs"?"#,
                ],
            ),
        ],
    );
}
