//! What it costs to decide over one HTTP request, as the rules on its port grow.
//!
//! The rules are those of a common gateway: a prefix for each team's service, some with a header, one default. Every request
//! matches the rule that a look at all of them would find last but one, or none.

use std::{fmt, hint::black_box, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use heddle::{
    mesh::{RouteKind, RouteTable},
    objects::{Map, ObjectName},
    route::http::{Decision, Request, decide},
    rules::{
        Rule, RuleKey, RuleKind, Spec,
        gateway::{HeaderMatch, TextMatch},
        http_route::{HttpMatch, HttpRoute, HttpRule, PathMatch, Scheme},
    },
    target::RequestTarget,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::{Deserialize, Serialize};

use crate::measure::{Times, many};

/// Rules on one port.
const RULES: [usize; 3] = [10, 100, 1_000];

/// What a route may have, by upstream's schema.
const RULES_OF_ROUTE: usize = 16;

/// What was measured with so many rules. Times are in microseconds.
#[derive(Serialize, Deserialize)]
pub(crate) struct Decisions {
    rules: usize,
    matched: Times,
    unmatched: Times,
}

impl Decisions {
    pub(crate) const HEAD: &str = "rules on a port  decision  p99    no rule  p99";
}

impl fmt::Display for Decisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>15}  {:>8.2}  {:>5.2}  {:>7.2}  {:>5.2}",
            self.rules, self.matched.median, self.matched.p99, self.unmatched.median, self.unmatched.p99
        )
    }
}

/// Measures each number of rules.
pub(crate) fn measure() -> Result<Vec<Decisions>> {
    RULES.into_iter().map(measure_rules).collect()
}

fn measure_rules(rules: usize) -> Result<Decisions> {
    let table = RouteTable::build(RouteKind::Http, routes(rules)).context("building the table")?;
    let times = |path: &str, matches: bool| -> Result<Times> {
        let target = RequestTarget::parse(path)?;
        let (method, headers) = (Method::GET, headers());
        let request =
            Request { method: &method, target: &target, headers: &headers, scheme: Scheme::Http, authority: "web" };
        let is_matched = matches!(decide(Some(&table), &request), Decision::Rule(_));
        ensure!(is_matched == matches, "{path} is decided otherwise than it was made for");
        Ok(many(|| {
            black_box(decide(Some(&table), black_box(&request)));
        }))
    };
    let matched = times(&format!("/team-{}/service/items/4711?page=2", rules - 1), true)?;
    Ok(Decisions { rules, matched, unmatched: times("/nobody/service/items/4711?page=2", false)? })
}

fn routes(rules: usize) -> Vec<Arc<Rule>> {
    let numbers: Vec<usize> = (0..rules).collect();
    let routes = numbers.chunks(RULES_OF_ROUTE).enumerate();
    routes.map(|(number, numbers)| Arc::new(route(number, numbers))).collect()
}

fn route(number: usize, numbers: &[usize]) -> Rule {
    let spec = HttpRoute { parent_refs: Vec::new(), rules: numbers.iter().map(|number| rule(*number)).collect() };
    let key = RuleKey { kind: RuleKind::HttpRoute, name: ObjectName::new("shop", &format!("route-{number}")) };
    Rule { key, annotations: Map::new(), spec: Spec::HttpRoute(spec), created: None }
}

fn rule(number: usize) -> HttpRule {
    let path = PathMatch::PathPrefix(format!("/team-{number}/service"));
    let canary = HeaderMatch { name: HeaderName::from_static("x-canary"), value: TextMatch::Exact("yes".to_owned()) };
    let with_header = HttpMatch { path: path.clone(), headers: vec![canary], ..HttpMatch::default() };
    let without = HttpMatch { path, ..HttpMatch::default() };
    let matches = vec![with_header, without];
    let (name, timeouts, retry, session_persistence) = (None, None, None, None);
    HttpRule { name, matches, filters: Vec::new(), backend_refs: Vec::new(), timeouts, retry, session_persistence }
}

/// Those of a common client.
fn headers() -> HeaderMap {
    let headers = [
        ("accept", "application/json"),
        ("accept-encoding", "gzip"),
        ("user-agent", "example/1.0"),
        ("x-request-id", "5f1c"),
    ];
    headers.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).into_iter().collect()
}
