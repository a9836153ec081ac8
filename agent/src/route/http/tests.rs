//! Properties of the decision: the index, a look at every match, a naive reading of the specification, and the explanation
//! all say the same.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;
use crate::{
    mesh::{AddressFamily, ServiceName, ServicePort, Snapshot},
    objects::{Map, ObjectName},
    route::backend::Draw,
    rules::{
        Rule, RuleKey, RuleKind, Spec,
        gateway::{HeaderMatch, Pattern, TextMatch},
        grpc_route::{GrpcMatch, GrpcMethodMatch, GrpcRoute, GrpcRule},
        http_route::{
            HttpFilter, HttpMatch, HttpRoute, HttpRule, PathMatch, PathModifier, QueryMatch, RequestRedirect, Scheme,
            UrlRewrite,
        },
    },
    target::RequestTarget,
};

/// Few names, so that matches collide all the time.
fn path() -> impl Strategy<Value = String> {
    vec(select(&["a", "b", "ab"][..]), 0..4).prop_map(|segments| format!("/{}", segments.join("/")))
}

fn text_match() -> impl Strategy<Value = TextMatch> {
    prop_oneof![
        3 => select(&["1", "2"][..]).prop_map(|value| TextMatch::Exact(value.to_owned())),
        1 => select(&["1|2", "1.*"][..]).prop_map(|source| TextMatch::RegularExpression(Pattern::new(source).unwrap())),
    ]
}

fn header_matches() -> impl Strategy<Value = Vec<HeaderMatch>> {
    [option::of(text_match()), option::of(text_match())].prop_map(|values| {
        let names = ["x", "y"].map(HeaderName::from_static);
        let all = names.into_iter().zip(values);
        all.filter_map(|(name, value)| Some(HeaderMatch { name, value: value? })).collect()
    })
}

fn path_match() -> impl Strategy<Value = PathMatch> {
    prop_oneof![
        3 => path().prop_map(PathMatch::Exact),
        5 => (path(), any::<bool>()).prop_map(|(path, slash)| {
            PathMatch::PathPrefix(if slash && path != "/" { path + "/" } else { path })
        }),
        1 => select(&["/a.*", "/.*b", "/a/b"][..])
            .prop_map(|source| PathMatch::RegularExpression(Pattern::new(source).unwrap())),
    ]
}

fn http_match() -> impl Strategy<Value = HttpMatch> {
    let method = option::weighted(0.3, select(vec![Method::GET, Method::PUT]));
    let parameters = [option::weighted(0.3, text_match()), option::weighted(0.3, text_match())];
    (path_match(), header_matches(), parameters, method).prop_map(|(path, headers, parameters, method)| {
        let all = ["q", "r"].into_iter().zip(parameters);
        let query_params = all.filter_map(|(name, value)| Some(QueryMatch { name: name.to_owned(), value: value? }));
        HttpMatch { path, headers, query_params: query_params.collect(), method }
    })
}

fn http_rule(matches: Vec<HttpMatch>, filters: Vec<HttpFilter>) -> HttpRule {
    let (name, timeouts, retry, session_persistence) = (None, None, None, None);
    HttpRule { name, matches, filters, backend_refs: Vec::new(), timeouts, retry, session_persistence }
}

fn http_spec() -> impl Strategy<Value = Spec> {
    vec(vec(http_match(), 1..4), 1..4).prop_map(|rules| {
        let rules = rules.into_iter().map(|matches| http_rule(matches, Vec::new())).collect();
        Spec::HttpRoute(HttpRoute { parent_refs: Vec::new(), rules })
    })
}

fn grpc_match() -> impl Strategy<Value = GrpcMatch> {
    let name = || option::of(select(&["a", "b", "ab"][..]));
    let pattern = || option::of(select(&["a.*", "b|ab"][..]));
    let method = prop_oneof![
        1 => Just(None),
        3 => (name(), name()).prop_map(|(service, method)| {
            Some(GrpcMethodMatch::Exact { service: service.map(str::to_owned), method: method.map(str::to_owned) })
        }),
        1 => (pattern(), pattern()).prop_map(|(service, method)| {
            let compiled = |source: Option<&str>| source.map(|source| Pattern::new(source).unwrap());
            let (service, method) = (compiled(service), compiled(method.or(service.is_none().then_some("a"))));
            Some(GrpcMethodMatch::RegularExpression { service, method })
        }),
    ];
    (method, header_matches()).prop_map(|(method, headers)| GrpcMatch { method, headers })
}

fn grpc_spec() -> impl Strategy<Value = Spec> {
    vec(vec(grpc_match(), 1..4), 0..4).prop_map(|rules| {
        let rule = |matches| GrpcRule {
            name: None,
            matches,
            filters: Vec::new(),
            backend_refs: Vec::new(),
            session_persistence: None,
        };
        Spec::GrpcRoute(GrpcRoute { parent_refs: Vec::new(), rules: rules.into_iter().map(rule).collect() })
    })
}

/// Routes with names of their own, and ages that they may share.
fn routes(spec: impl Strategy<Value = Spec>) -> impl Strategy<Value = Vec<Arc<Rule>>> {
    vec((spec, option::of(0..3u64)), 1..5).prop_map(|specs| {
        let numbered = specs.into_iter().enumerate();
        numbered.map(|(number, (spec, day))| Arc::new(rule(&format!("r{}", 9 - number), spec, day))).collect()
    })
}

fn rule(name: &str, spec: Spec, day: Option<u64>) -> Rule {
    let kind = if matches!(spec, Spec::GrpcRoute(_)) { RuleKind::GrpcRoute } else { RuleKind::HttpRoute };
    let key = RuleKey { kind, name: ObjectName::new("shop", name) };
    let created = day.map(|day| SystemTime::UNIX_EPOCH + Duration::from_secs(day));
    Rule { key, annotations: Map::new(), spec, created }
}

#[derive(Clone, Debug)]
struct Sent {
    method: Method,
    target: String,
    headers: HeaderMap,
}

fn sent() -> impl Strategy<Value = Sent> {
    let value = || select(&["1", "2", "12"][..]);
    let query = vec((select(&["q", "r"][..]), value()), 0..3);
    let headers = vec((select(&["x", "y"][..]), value()), 0..3);
    let method = select(vec![Method::GET, Method::PUT, Method::POST]);
    (method, path(), any::<bool>(), query, headers, prop::bool::weighted(0.8)).prop_map(
        |(method, path, slash, query, headers, grpc)| {
            let query: Vec<String> = query.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
            let target = format!("{path}{}?{}", if slash { "/" } else { "" }, query.join("&"));
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            if grpc {
                map.insert("content-type", HeaderValue::from_static("application/grpc"));
            }
            Sent { method, target, headers: map }
        },
    )
}

impl Sent {
    fn decided<T>(&self, then: impl FnOnce(&Request<'_>) -> T) -> T {
        let target = RequestTarget::parse(&self.target).unwrap();
        let (method, headers) = (&self.method, &self.headers);
        then(&Request { method, target: &target, headers, scheme: Scheme::Http, authority: "web" })
    }
}

/// Route, rule and match.
type Place = (String, usize, usize);

/// What the specification says, read without thinking of speed: all that match, then one criterion after the other.
mod naive {
    use super::*;

    struct Fit<'r> {
        route: &'r Rule,
        rule: usize,
        index: usize,
        path: (u8, usize),
        counts: [usize; 4],
    }

    pub(super) fn decide(routes: &[Arc<Rule>], sent: &Sent) -> Option<Place> {
        let mut fits: Vec<Fit<'_>> = routes.iter().flat_map(|route| fits(route, sent)).collect();
        keep_best(&mut fits, |fit| fit.path);
        for criterion in 0..4 {
            keep_best(&mut fits, |fit| fit.counts[criterion]);
        }
        // The oldest has the least age; none at all is the youngest.
        let age = |fit: &Fit<'_>| {
            fit.route.created.map_or(Duration::MAX, |at| at.duration_since(SystemTime::UNIX_EPOCH).unwrap())
        };
        keep_best(&mut fits, |fit| std::cmp::Reverse(age(fit)));
        keep_best(&mut fits, |fit| std::cmp::Reverse(fit.route.key.name.to_string()));
        let first = fits.iter().min_by_key(|fit| (fit.rule, fit.index))?;
        Some((first.route.key.name.name.to_string(), first.rule, first.index))
    }

    fn keep_best<T, K: Ord>(fits: &mut Vec<T>, key: impl Fn(&T) -> K) {
        if let Some(best) = fits.iter().map(&key).max() {
            fits.retain(|fit| key(fit) == best);
        }
    }

    fn fits<'r>(route: &'r Rule, sent: &Sent) -> Vec<Fit<'r>> {
        let mut fits = Vec::new();
        match &route.spec {
            Spec::HttpRoute(spec) => {
                for (rule, of_rule) in spec.rules.iter().enumerate() {
                    let matching = of_rule.matches.iter().enumerate().filter(|(_, one)| http(one, sent));
                    fits.extend(matching.map(|(index, one)| Fit {
                        route,
                        rule,
                        index,
                        path: match &one.path {
                            PathMatch::Exact(_) => (2, 0),
                            PathMatch::PathPrefix(prefix) => (1, prefix.trim_matches('/').len()),
                            PathMatch::RegularExpression(_) => (0, 0),
                        },
                        counts: [one.method.iter().count(), one.headers.len(), one.query_params.len(), 0],
                    }));
                }
            }
            Spec::GrpcRoute(spec) => {
                for (rule, of_rule) in spec.rules.iter().enumerate() {
                    let matching = of_rule.matches.iter().enumerate().filter(|(_, one)| grpc(one, sent));
                    fits.extend(matching.map(|(index, one)| {
                        let [service, method, expression] = match &one.method {
                            Some(GrpcMethodMatch::Exact { service, method }) => {
                                [service.iter().map(String::len).sum(), method.iter().map(String::len).sum(), 0]
                            }
                            Some(GrpcMethodMatch::RegularExpression { .. }) => [0, 0, 1],
                            None => [0, 0, 0],
                        };
                        // Of names that are written out an expression has none, so its place after them is free.
                        let counts = [service, method, expression, one.headers.len()];
                        Fit { route, rule, index, path: (0, 0), counts }
                    }));
                }
            }
            _ => {}
        }
        fits
    }

    fn http(one: &HttpMatch, sent: &Sent) -> bool {
        let (path, query) = sent.target.split_once('?').unwrap();
        let has_path = match &one.path {
            PathMatch::Exact(exact) => path == exact,
            PathMatch::PathPrefix(prefix) => {
                let mut wanted: Vec<&str> = prefix.split('/').collect();
                while wanted.last() == Some(&"") {
                    wanted.pop();
                }
                path.split('/').take(wanted.len()).eq(wanted.iter().copied())
            }
            PathMatch::RegularExpression(pattern) => pattern.is_match(path.as_bytes()),
        };
        let first = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        has_path
            && one.method.iter().all(|method| *method == sent.method)
            && headers(&one.headers, sent)
            && one.query_params.iter().all(|q| first(&q.name).is_some_and(|value| q.value.is_match(value.as_bytes())))
    }

    fn grpc(one: &GrpcMatch, sent: &Sent) -> bool {
        let path = sent.target.split('?').next().unwrap();
        let parts: Vec<&str> = path.split('/').collect();
        let (service, method) = match parts[..] {
            ["", service, method] if !service.is_empty() && !method.is_empty() => (service, method),
            _ => ("", ""),
        };
        let is = |wanted: &Option<String>, name: &str| wanted.iter().all(|wanted| wanted == name);
        let fits = |wanted: &Option<Pattern>, name: &str| wanted.iter().all(|wanted| wanted.is_match(name.as_bytes()));
        let has_names = match &one.method {
            None => true,
            Some(GrpcMethodMatch::Exact { service: s, method: m }) => is(s, service) && is(m, method),
            Some(GrpcMethodMatch::RegularExpression { service: s, method: m }) => fits(s, service) && fits(m, method),
        };
        sent.headers.contains_key("content-type") && has_names && headers(&one.headers, sent)
    }

    fn headers(wanted: &[HeaderMatch], sent: &Sent) -> bool {
        wanted.iter().all(|wanted| {
            let values: Vec<&str> = sent.headers.get_all(&wanted.name).iter().map(|v| v.to_str().unwrap()).collect();
            !values.is_empty() && wanted.value.is_match(values.join(",").as_bytes())
        })
    }
}

fn place(matched: &Matched<'_>) -> Place {
    (matched.route().name.name.to_string(), matched.rule(), matched.match_index())
}

/// By the index, by looking at every match, by the explanation, and by the specification.
fn all_agree(kind: RouteKind, routes: &[Arc<Rule>], sent: &Sent) -> Result<(), TestCaseError> {
    let table = RouteTable::build(kind, routes.iter().cloned()).unwrap();
    sent.decided(|request| {
        let by_index = match decide(Some(&table), request) {
            Decision::Rule(matched) => Some(place(&matched)),
            _ => None,
        };
        let linear = table.matches().find(|one| matching::check(one.condition, request).is_ok());
        let explanation = explain(&table, request);
        prop_assert_eq!(&linear.map(|one| place(&Matched::new(one))), &by_index);
        prop_assert_eq!(&naive::decide(routes, sent), &by_index);
        prop_assert_eq!(&explanation.decided.map(|matched| place(&matched)), &by_index);
        for (tried, one) in explanation.tried.iter().zip(table.matches()) {
            prop_assert!(tried.is(&one));
            prop_assert_eq!(tried.unmet.is_none(), matching::check(one.condition, request).is_ok());
        }
        let compared = explanation.tried.len();
        prop_assert_eq!(
            explanation.tried.iter().filter(|tried| tried.unmet.is_none()).count(),
            by_index.iter().count()
        );
        prop_assert_eq!(by_index.is_some() || compared == table.matches().count(), true);
        Ok(())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_index_decides_over_requests_as_the_specification_says(routes in routes(http_spec()), sent in vec(sent(), 1..6)) {
        for sent in sent {
            all_agree(RouteKind::Http, &routes, &sent)?;
        }
    }

    #[test]
    fn the_index_decides_over_calls_as_the_specification_says(routes in routes(grpc_spec()), sent in vec(sent(), 1..6)) {
        for sent in sent {
            all_agree(RouteKind::Grpc, &routes, &sent)?;
        }
    }

    #[test]
    fn the_order_in_which_routes_come_decides_nothing(routes in routes(http_spec()), sent in sent()) {
        let table = |routes: &[Arc<Rule>]| RouteTable::build(RouteKind::Http, routes.iter().cloned()).unwrap();
        let decided = |table: &RouteTable| sent.decided(|request| match decide(Some(table), request) {
            Decision::Rule(matched) => Some(place(&matched)),
            _ => None,
        });
        let backwards: Vec<_> = routes.iter().rev().cloned().collect();
        prop_assert_eq!(decided(&table(&routes)), decided(&table(&backwards)));
    }

    #[test]
    fn a_replaced_path_is_a_path_and_keeps_what_followed_the_prefix(
        prefix in path(),
        rest in "(/[a-b]{0,2}){0,3}",
        by in prop_oneof![Just(String::new()), path(), path().prop_map(|path| path + "/")],
        query in option::of("[a-z=&]{0,5}"),
    ) {
        let path = PathModifier::ReplacePrefixMatch(by.clone());
        let rewrite = HttpFilter::UrlRewrite(UrlRewrite { hostname: None, path: Some(path.clone()) });
        let redirect = HttpFilter::RequestRedirect(RequestRedirect {
            scheme: None, hostname: None, path: Some(path), port: None, status_code: http::StatusCode::FOUND,
        });
        let sent_path = prefix.trim_end_matches('/').to_owned() + &rest;
        // An empty path is the root.
        let rest = if sent_path.is_empty() { "/".to_owned() } else { rest };
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let sent = Sent { method: Method::GET, target: format!("{sent_path}{query}"), headers: HeaderMap::new() };
        let rules = [rewrite, redirect].map(|filter| {
            let one = HttpMatch { path: PathMatch::PathPrefix(prefix.clone()), ..HttpMatch::default() };
            let spec = HttpRoute { parent_refs: Vec::new(), rules: vec![http_rule(vec![one], vec![filter])] };
            RouteTable::build(RouteKind::Http, [Arc::new(rule("r", Spec::HttpRoute(spec), None))]).unwrap()
        });
        let expected = match by.trim_end_matches('/').to_owned() + &rest {
            path if path.is_empty() => "/".to_owned(),
            path => path,
        };
        let dialled = dialled();
        sent.decided(|request| {
            let scene = Scene { snapshot: &Snapshot::default(), dialled: &dialled, draw: Draw(0), session: None };
            let [Decision::Rule(rewritten), Decision::Rule(redirected)] =
                [decide(Some(&rules[0]), request), decide(Some(&rules[1]), request)] else { panic!("no match") };
            prop_assert!(matches!(rewritten.outcome(&scene, request), Outcome::Failure(Failure::NoBackends, _)));
            let Outcome::Answer(answer) = redirected.outcome(&scene, request) else { panic!("no redirect") };
            let location = answer.headers["location"].to_str().unwrap().to_owned();
            prop_assert_eq!(&location, &format!("http://web:81{expected}{query}"));
            let parsed: Result<http::Uri, _> = location.parse();
            prop_assert!(parsed.is_ok(), "{}", location);
            Ok(())
        })?;
    }
}

fn dialled() -> ServicePort {
    ServicePort {
        service: ServiceName { namespace: "shop".into(), name: "web".into() },
        family: AddressFamily::V4,
        port: 81,
        name: "".into(),
        app_protocol: None,
        client_affinity: None,
        ready: crate::mesh::Endpoints::default(),
    }
}

#[test]
fn an_explanation_says_of_each_match_what_the_request_lacks() {
    let exact = |path: &str| PathMatch::Exact(path.to_owned());
    let with_header = HttpMatch {
        path: exact("/a"),
        headers: vec![HeaderMatch { name: HeaderName::from_static("x"), value: TextMatch::Exact("1".to_owned()) }],
        ..HttpMatch::default()
    };
    let put = HttpMatch { path: exact("/a"), method: Some(Method::PUT), ..HttpMatch::default() };
    let other = HttpMatch { path: exact("/b"), ..HttpMatch::default() };
    let rules =
        vec![http_rule(vec![HttpMatch::default()], Vec::new()), http_rule(vec![other, with_header, put], Vec::new())];
    let spec = Spec::HttpRoute(HttpRoute { parent_refs: Vec::new(), rules });
    let table = RouteTable::build(RouteKind::Http, [Arc::new(rule("web", spec, None))]).unwrap();
    let sent = Sent { method: Method::GET, target: "/a?".to_owned(), headers: HeaderMap::new() };
    let told = sent.decided(|request| explain(&table, request).to_string());
    assert_eq!(
        told.lines().collect::<Vec<_>>(),
        [
            "HTTPRoute shop/web spec.rules[1].matches[2]: method has to be PUT, found GET",
            "HTTPRoute shop/web spec.rules[1].matches[1]: headers[x] has to be \"1\", found nothing",
            "HTTPRoute shop/web spec.rules[1].matches[0]: path has to be \"/b\", found \"/a\"",
            "HTTPRoute shop/web spec.rules[0].matches[0]: matches",
        ]
    );
}
