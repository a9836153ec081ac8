//! Random specs as typed values, over all that the types can say and the readers allow.

use std::{
    num::{NonZeroU16, NonZeroU32},
    time::Duration,
};

use http::{HeaderName, HeaderValue, Method, StatusCode};
use proptest::{collection::vec, option, prelude::*, sample::select};

use crate::rules::{
    Spec,
    backend_traffic_policy::{BackendTrafficPolicy, RequestRate, RetryBudget, RetryConstraint, TargetRef},
    gateway::*,
    grpc_route::{GrpcFilter, GrpcMatch, GrpcMethodMatch, GrpcRoute, GrpcRule},
    http_route::*,
    tcp_route::TcpRoute,
    tls_route::{ServerName, TlsRoute},
};

/// A spec of any kind of the Gateway API.
pub(super) fn specs() -> impl Strategy<Value = Spec> {
    prop_oneof![
        4 => http_routes().prop_map(Spec::HttpRoute),
        2 => grpc_routes().prop_map(Spec::GrpcRoute),
        1 => (parents(), vec(server_names(), 1..5), stream_rule())
            .prop_map(|(parent_refs, hostnames, rules)| Spec::TlsRoute(TlsRoute { parent_refs, hostnames, rules })),
        1 => (parents(), stream_rule()).prop_map(|(parent_refs, rules)| Spec::TcpRoute(TcpRoute { parent_refs, rules })),
        1 => policies().prop_map(Spec::BackendTrafficPolicy),
    ]
}

fn http_routes() -> impl Strategy<Value = HttpRoute> {
    (parents(), vec(http_rules(), 1..4)).prop_map(|(parent_refs, mut rules)| {
        keep_first(&mut rules, |a, b| a.name.is_some() && a.name == b.name);
        HttpRoute { parent_refs, rules }
    })
}

fn http_rules() -> impl Strategy<Value = HttpRule> {
    let routing = (option::of(subdomains()), vec(http_matches(), 1..4), vec(http_filters(), 0..5), backends());
    let rest = (option::of(timeouts()), option::of(retries()), option::of(sessions()));
    (routing, rest).prop_map(|((name, mut matches, mut filters, mut backend_refs), (timeouts, retry, session))| {
        keep_first(&mut filters, same_filter);
        if filters.iter().any(|filter| matches!(filter, HttpFilter::RequestRedirect(_))) {
            backend_refs.clear();
        }
        if filters.iter().any(replaces_prefix) {
            matches.truncate(1);
            matches[0].path = PathMatch::PathPrefix("/old".to_owned());
        }
        HttpRule { name, matches, filters, backend_refs, timeouts, retry, session_persistence: session }
    })
}

fn same_filter(a: &HttpFilter, b: &HttpFilter) -> bool {
    let goes_nowhere_else =
        |filter: &HttpFilter| matches!(filter, HttpFilter::RequestRedirect(_) | HttpFilter::UrlRewrite(_));
    let repeatable = matches!(a, HttpFilter::RequestMirror(_) | HttpFilter::ExtensionRef(_));
    let same = std::mem::discriminant(a) == std::mem::discriminant(b);
    same && !repeatable || goes_nowhere_else(a) && goes_nowhere_else(b)
}

fn replaces_prefix(filter: &HttpFilter) -> bool {
    let path = match filter {
        HttpFilter::RequestRedirect(redirect) => &redirect.path,
        HttpFilter::UrlRewrite(rewrite) => &rewrite.path,
        _ => &None,
    };
    matches!(path, Some(PathModifier::ReplacePrefixMatch(_)))
}

fn http_matches() -> impl Strategy<Value = HttpMatch> {
    let path = prop_oneof![
        paths().prop_map(PathMatch::Exact),
        paths().prop_map(PathMatch::PathPrefix),
        patterns().prop_map(PathMatch::RegularExpression),
    ];
    let query = (tokens(), text_matches("\\PC{1,12}")).prop_map(|(name, value)| QueryMatch { name, value });
    let method = select(vec![
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::CONNECT,
        Method::OPTIONS,
        Method::TRACE,
        Method::PATCH,
    ]);
    (path, headers(), vec(query, 0..4), option::of(method)).prop_map(|(path, headers, mut query_params, method)| {
        keep_first(&mut query_params, |a, b| a.name == b.name);
        HttpMatch { path, headers, query_params, method }
    })
}

fn http_filters() -> impl Strategy<Value = HttpFilter> {
    prop_oneof![
        modifiers().prop_map(HttpFilter::RequestHeaderModifier),
        modifiers().prop_map(HttpFilter::ResponseHeaderModifier),
        mirrors().prop_map(HttpFilter::RequestMirror),
        redirects().prop_map(HttpFilter::RequestRedirect),
        (option::of(hostnames()), option::of(path_modifiers()))
            .prop_map(|(hostname, path)| HttpFilter::UrlRewrite(UrlRewrite { hostname, path })),
        cors().prop_map(HttpFilter::Cors),
        extensions().prop_map(HttpFilter::ExtensionRef),
    ]
}

fn redirects() -> impl Strategy<Value = RequestRedirect> {
    let scheme = select(vec![Scheme::Http, Scheme::Https]);
    let status = select(vec![301, 302, 303, 307, 308]);
    (option::of(scheme), option::of(hostnames()), option::of(path_modifiers()), option::of(any::<NonZeroU16>()), status)
        .prop_map(|(scheme, hostname, path, port, status)| RequestRedirect {
            scheme,
            hostname,
            path,
            port,
            status_code: StatusCode::from_u16(status).unwrap(),
        })
}

fn path_modifiers() -> impl Strategy<Value = PathModifier> {
    prop_oneof![
        paths().prop_map(PathModifier::ReplaceFullPath),
        paths().prop_map(PathModifier::ReplacePrefixMatch),
        Just(PathModifier::ReplacePrefixMatch(String::new())),
    ]
}

fn cors() -> impl Strategy<Value = CorsFilter> {
    let host = prop_oneof![
        Just(OriginHost::Any),
        hostnames().prop_map(OriginHost::Below),
        hostnames().prop_map(OriginHost::Exact),
    ];
    let scheme = select(vec![Scheme::Http, Scheme::Https]);
    let origin =
        (scheme, host, option::of(any::<NonZeroU16>())).prop_map(|(scheme, host, port)| Origin { scheme, host, port });
    let methods = select(vec![Method::GET, Method::PUT, Method::PATCH]);
    let max_age = (1..=i32::MAX.unsigned_abs()).prop_map(|age| NonZeroU32::new(age).unwrap());
    (allow_lists(origin), any::<bool>(), allow_lists(methods), allow_lists(names()), allow_lists(names()), max_age)
        .prop_map(|(allow_origins, allow_credentials, allow_methods, allow_headers, expose_headers, max_age)| {
            CorsFilter { allow_origins, allow_credentials, allow_methods, allow_headers, expose_headers, max_age }
        })
}

fn allow_lists<T: PartialEq + Clone + std::fmt::Debug>(
    entries: impl Strategy<Value = T>,
) -> impl Strategy<Value = AllowList<T>> {
    prop_oneof![
        Just(AllowList::Any),
        vec(entries, 0..4).prop_map(|mut entries| {
            keep_first(&mut entries, |a, b| a == b);
            AllowList::Only(entries)
        }),
    ]
}

fn timeouts() -> impl Strategy<Value = Timeouts> {
    (option::of(durations()), option::of(durations())).prop_map(|(request, backend_request)| {
        let bound = request.filter(|request| !request.is_zero());
        let backend_request = backend_request.map(|timeout| bound.map_or(timeout, |bound| timeout.min(bound)));
        Timeouts { request, backend_request }
    })
}

fn retries() -> impl Strategy<Value = Retry> {
    let code = (400..=599_u16).prop_map(|code| StatusCode::from_u16(code).unwrap());
    (vec(code, 0..4), option::of(any::<u32>()), option::of(durations())).prop_map(|(codes, attempts, backoff)| Retry {
        codes,
        attempts,
        backoff,
    })
}

fn grpc_routes() -> impl Strategy<Value = GrpcRoute> {
    (parents(), vec(grpc_rules(), 0..4)).prop_map(|(parent_refs, mut rules)| {
        keep_first(&mut rules, |a, b| a.name.is_some() && a.name == b.name);
        GrpcRoute { parent_refs, rules }
    })
}

fn grpc_rules() -> impl Strategy<Value = GrpcRule> {
    let filter = prop_oneof![
        modifiers().prop_map(GrpcFilter::RequestHeaderModifier),
        modifiers().prop_map(GrpcFilter::ResponseHeaderModifier),
        mirrors().prop_map(GrpcFilter::RequestMirror),
        extensions().prop_map(GrpcFilter::ExtensionRef),
    ];
    (option::of(subdomains()), vec(grpc_matches(), 1..4), vec(filter, 0..4), backends(), option::of(sessions()))
        .prop_map(|(name, matches, mut filters, backend_refs, session_persistence)| {
            keep_first(&mut filters, |a, b| {
                let repeatable = matches!(a, GrpcFilter::RequestMirror(_) | GrpcFilter::ExtensionRef(_));
                !repeatable && std::mem::discriminant(a) == std::mem::discriminant(b)
            });
            GrpcRule { name, matches, filters, backend_refs, session_persistence }
        })
}

fn grpc_matches() -> impl Strategy<Value = GrpcMatch> {
    let service = || "\\.?[a-zA-Z_][a-zA-Z_0-9]{0,6}(\\.[a-z_]{1,5}){0,2}";
    let method = || "[a-zA-Z_][a-zA-Z_0-9]{0,9}";
    let matched = prop_oneof![
        (service(), option::of(method()))
            .prop_map(|(service, method)| GrpcMethodMatch::Exact { service: Some(service), method }),
        method().prop_map(|method| GrpcMethodMatch::Exact { service: None, method: Some(method) }),
        (patterns(), option::of(patterns()))
            .prop_map(|(service, method)| GrpcMethodMatch::RegularExpression { service: Some(service), method }),
        patterns().prop_map(|method| GrpcMethodMatch::RegularExpression { service: None, method: Some(method) }),
    ];
    (option::of(matched), headers()).prop_map(|(method, headers)| GrpcMatch { method, headers })
}

fn stream_rule() -> impl Strategy<Value = Vec<StreamRule>> {
    (option::of(subdomains()), vec(backend(), 1..4))
        .prop_map(|(name, backend_refs)| vec![StreamRule { name, backend_refs }])
}

fn server_names() -> impl Strategy<Value = ServerName> {
    prop_oneof![hostnames().prop_map(ServerName::Exact), hostnames().prop_map(ServerName::Below)]
}

fn policies() -> impl Strategy<Value = BackendTrafficPolicy> {
    let minute = |range: std::ops::RangeInclusive<u64>| range.prop_map(Duration::from_millis);
    let budget =
        (0..=100_u8, minute(1000..=3_600_000)).prop_map(|(percent, interval)| RetryBudget { percent, interval });
    let rate = (1..=1_000_000_u32, minute(1..=3_600_000)).prop_map(|(count, interval)| RequestRate { count, interval });
    let constraint = (budget, rate).prop_map(|(budget, min_retry_rate)| RetryConstraint { budget, min_retry_rate });
    let targets = vec(subdomains().prop_map(|name| TargetRef { name }), 1..4).prop_map(|mut targets| {
        keep_first(&mut targets, |a, b| a == b);
        targets
    });
    (targets, option::of(constraint), option::of(sessions())).prop_map(
        |(target_refs, retry_constraint, session_persistence)| BackendTrafficPolicy {
            target_refs,
            retry_constraint,
            session_persistence,
        },
    )
}

fn parents() -> impl Strategy<Value = Vec<ParentRef>> {
    let parent = (subdomains(), option::of(labels()), option::of(any::<NonZeroU16>()))
        .prop_map(|(name, namespace, port)| ParentRef { name, namespace, port });
    vec(parent, 1..4).prop_map(|mut parents| {
        keep_first(&mut parents, |a, b| (&a.name, &a.namespace) == (&b.name, &b.namespace));
        parents
    })
}

fn service() -> impl Strategy<Value = ServiceRef> {
    (subdomains(), option::of(labels()), any::<NonZeroU16>()).prop_map(|(name, namespace, port)| ServiceRef {
        name,
        namespace,
        port,
    })
}

fn backend() -> impl Strategy<Value = BackendRef> {
    (service(), 0..=1_000_000_u32).prop_map(|(service, weight)| BackendRef { service, weight })
}

fn backends() -> impl Strategy<Value = Vec<FilteredBackendRef>> {
    let filters = (option::of(modifiers()), option::of(modifiers())).prop_map(|(request, response)| {
        let request = request.map(BackendFilter::RequestHeaderModifier);
        request.into_iter().chain(response.map(BackendFilter::ResponseHeaderModifier)).collect()
    });
    vec((backend(), filters).prop_map(|(backend, filters)| FilteredBackendRef { backend, filters }), 0..4)
}

fn mirrors() -> impl Strategy<Value = RequestMirror> {
    let fraction = (1..=i32::MAX.unsigned_abs())
        .prop_flat_map(|denominator| (0..=denominator, Just(NonZeroU32::new(denominator).unwrap())))
        .prop_map(|(numerator, denominator)| Fraction { numerator, denominator });
    (service(), fraction).prop_map(|(backend_ref, fraction)| RequestMirror { backend_ref, fraction })
}

fn extensions() -> impl Strategy<Value = ExtensionRef> {
    let kind = select(vec![ExtensionKind::FaultInjection, ExtensionKind::RateLimit]);
    (kind, subdomains()).prop_map(|(kind, name)| ExtensionRef { kind, name })
}

fn sessions() -> impl Strategy<Value = SessionPersistence> {
    let token = select(vec![
        SessionToken::Header,
        SessionToken::Cookie(CookieLifetime::Session),
        SessionToken::Cookie(CookieLifetime::Permanent),
    ]);
    (option::of(tokens()), durations(), any::<bool>(), option::of(durations()), token).prop_map(
        |(session_name, absolute, is_absolute, idle_timeout, token)| {
            let is_absolute = is_absolute || token == SessionToken::Cookie(CookieLifetime::Permanent);
            let absolute_timeout = is_absolute.then_some(absolute);
            SessionPersistence { session_name, absolute_timeout, idle_timeout, token }
        },
    )
}

fn modifiers() -> impl Strategy<Value = HeaderModifier> {
    let value = "[!-~]([ -~\t]{0,9}[!-~])?".prop_map(|text| HeaderValue::from_str(&text).unwrap());
    let action = (names(), value, 0..3).prop_map(|(name, value, action)| (Header { name, value }, action));
    vec(action, 0..6).prop_map(|mut actions| {
        keep_first(&mut actions, |(a, _), (b, _)| a.name == b.name);
        let mut modifier = HeaderModifier::default();
        for (header, action) in actions {
            match action {
                0 => modifier.set.push(header),
                1 => modifier.add.push(header),
                _ => modifier.remove.push(header.name),
            }
        }
        modifier
    })
}

fn headers() -> impl Strategy<Value = Vec<HeaderMatch>> {
    let header =
        (names(), text_matches("[!-~]([ -~\t]{0,9}[!-~])?")).prop_map(|(name, value)| HeaderMatch { name, value });
    vec(header, 0..4).prop_map(|mut headers| {
        keep_first(&mut headers, |a, b| a.name == b.name);
        headers
    })
}

fn text_matches(text: &'static str) -> impl Strategy<Value = TextMatch> {
    prop_oneof![text.prop_map(TextMatch::Exact), patterns().prop_map(TextMatch::RegularExpression)]
}

fn patterns() -> impl Strategy<Value = Pattern> {
    let source = select(vec![".*", "a|b", "^/v[0-9]+$", "(?i)x{1,3}", "\\d+", "[^:#]*: '\"", "true", "12", "~"]);
    source.prop_map(|source| Pattern::new(source).unwrap())
}

fn paths() -> impl Strategy<Value = String> {
    "(/([a-zA-Z0-9_~!$&'()*+,;=:@-]|%[13-9a-f][0-9a-eA-E]){1,6}){1,3}/?|/"
}

fn durations() -> impl Strategy<Value = Duration> {
    prop_oneof![Just(0), 1..=5000_u64, 0..=99_999 * 3_600_000_u64].prop_map(Duration::from_millis)
}

/// Not those that a modifier must leave alone.
fn names() -> impl Strategy<Value = HeaderName> {
    tokens().prop_map(|token| HeaderName::from_bytes(format!("x{token}").as_bytes()).unwrap())
}

fn tokens() -> impl Strategy<Value = String> {
    "[A-Za-z0-9!#$%&'*+.^_`|~-]{1,12}"
}

fn labels() -> impl Strategy<Value = String> {
    "[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?"
}

fn subdomains() -> impl Strategy<Value = String> {
    "[a-z0-9]([a-z0-9-]{0,5}[a-z0-9])?(\\.[a-z0-9]{1,3}){0,2}"
}

/// The last label tells them from addresses.
fn hostnames() -> impl Strategy<Value = String> {
    subdomains().prop_map(|name| format!("{name}.net"))
}

/// Drops what is the same as something before it.
fn keep_first<T>(items: &mut Vec<T>, same: impl Fn(&T, &T) -> bool) {
    let mut index = 0;
    while index < items.len() {
        let (earlier, rest) = items.split_at(index);
        if earlier.iter().any(|item| same(item, &rest[0])) {
            items.remove(index);
        } else {
            index += 1;
        }
    }
}
