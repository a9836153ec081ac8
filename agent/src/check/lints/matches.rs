//! Routes: matches that an earlier one takes everything from, and expressions that match every value.

use super::{Found, Input};
use crate::{
    mesh::HttpRank,
    rules::{
        Rule, Spec,
        gateway::{HeaderMatch, Pattern},
        grpc_route::{GrpcMatch, GrpcMethodMatch},
        http_route::{HttpMatch, PathMatch},
    },
};

pub(super) fn check(input: &Input<'_>, found: &mut Found) {
    for rule in input.rules() {
        match &rule.spec {
            Spec::HttpRoute(route) => {
                let matches: Vec<_> = route.rules.iter().map(|rule| rule.matches.as_slice()).collect();
                never_reached(input, found, rule, &matches, same_http);
                overtaken(input, found, rule, &matches);
                each(&matches, |path, one| http_patterns(input, found, rule, path, one));
            }
            Spec::GrpcRoute(route) => {
                let matches: Vec<_> = route.rules.iter().map(|rule| rule.matches.as_slice()).collect();
                never_reached(input, found, rule, &matches, same_grpc);
                each(&matches, |path, one| grpc_patterns(input, found, rule, path, one));
            }
            _ => {}
        }
    }
}

fn each<M>(rules: &[&[M]], mut then: impl FnMut(&str, &M)) {
    for (rule, matches) in rules.iter().enumerate() {
        for (index, one) in matches.iter().enumerate() {
            then(&format!("spec.rules[{rule}].matches[{index}]"), one);
        }
    }
}

/// Of two equal matches of one route the first decides; precedence never gets to the second.
fn never_reached<M>(input: &Input<'_>, found: &mut Found, rule: &Rule, rules: &[&[M]], same: fn(&M, &M) -> bool) {
    for (later, matches) in rules.iter().enumerate() {
        for (index, one) in matches.iter().enumerate() {
            let is_taken = |earlier: &&[M]| earlier.iter().any(|other| same(other, one));
            if let Some(earlier) = rules[..later].iter().position(is_taken) {
                let message = format!("never reached: spec.rules[{earlier}] matches the same and comes first");
                input.warn(found, &rule.key, &format!("spec.rules[{later}].matches[{index}]"), message);
            }
        }
    }
}

/// An expression of paths comes after every prefix, so one for all paths takes everything from it.
fn overtaken(input: &Input<'_>, found: &mut Found, rule: &Rule, rules: &[&[HttpMatch]]) {
    each(rules, |path, one| {
        let takes_all = |other: &HttpMatch| {
            matches!(one.path, PathMatch::RegularExpression(_))
                && other.path == PathMatch::default()
                && HttpRank::of(other) < HttpRank::of(one)
                && (other.method.is_none() || other.method == one.method)
                && other.headers.iter().all(|wanted| one.headers.contains(wanted))
                && other.query_params.iter().all(|wanted| one.query_params.contains(wanted))
        };
        if let Some(other) = rules.iter().position(|matches| matches.iter().any(takes_all)) {
            let message = format!(
                "never reached: spec.rules[{other}] takes every path by the prefix /, and a prefix comes before an expression; \
                 write the path out as a prefix, or give the prefix less"
            );
            input.warn(found, &rule.key, path, message);
        }
    });
}

fn same_http(one: &HttpMatch, other: &HttpMatch) -> bool {
    let same_path = match (&one.path, &other.path) {
        // A slash at the end of a prefix means nothing.
        (PathMatch::PathPrefix(one), PathMatch::PathPrefix(other)) => {
            one.trim_end_matches('/') == other.trim_end_matches('/')
        }
        (one, other) => one == other,
    };
    same_path
        && one.method == other.method
        && same_set(&one.query_params, &other.query_params)
        && same_headers(&one.headers, &other.headers)
}

fn same_grpc(one: &GrpcMatch, other: &GrpcMatch) -> bool {
    one.method == other.method && same_headers(&one.headers, &other.headers)
}

fn same_headers(one: &[HeaderMatch], other: &[HeaderMatch]) -> bool {
    same_set(one, other)
}

/// Each name comes once in a list, so equal lengths and inclusion are equality.
fn same_set<T: PartialEq>(one: &[T], other: &[T]) -> bool {
    one.len() == other.len() && one.iter().all(|item| other.contains(item))
}

fn http_patterns(input: &Input<'_>, found: &mut Found, rule: &Rule, path: &str, one: &HttpMatch) {
    if let PathMatch::RegularExpression(pattern) = &one.path
        && matches_everything(pattern, true)
    {
        let message = format!(
            "{:?} matches every path; say so with type: PathPrefix and value: /, or leave it out",
            pattern.as_str()
        );
        input.warn(found, &rule.key, &format!("{path}.path.value"), message);
    }
}

fn grpc_patterns(input: &Input<'_>, found: &mut Found, rule: &Rule, path: &str, one: &GrpcMatch) {
    let Some(GrpcMethodMatch::RegularExpression { service, method }) = &one.method else { return };
    for (key, pattern) in [("service", service), ("method", method)] {
        if let Some(pattern) = pattern.as_ref().filter(|pattern| matches_everything(pattern, false)) {
            let message = format!("{:?} matches every {key}; leave it out", pattern.as_str());
            input.warn(found, &rule.key, &format!("{path}.method.{key}"), message);
        }
    }
}

/// Whether an expression is one of the ways to write "anything" of values that are not empty, and begin with a slash if
/// they are paths. Values of headers and parameters are not looked at: there it means that the header is present.
fn matches_everything(pattern: &Pattern, is_path: bool) -> bool {
    let mut rest = pattern.as_str();
    loop {
        let inner = rest.strip_prefix('^').unwrap_or(rest);
        let inner = inner.strip_suffix('$').filter(|inner| !inner.ends_with('\\')).unwrap_or(inner);
        let group = inner.strip_prefix('(').and_then(|inner| inner.strip_suffix(')'));
        let inner = group.map_or(inner, |inner| inner.strip_prefix("?:").unwrap_or(inner));
        if inner == rest {
            break;
        }
        rest = inner;
    }
    [".*", ".+", ".*?", ".+?"].contains(&rest) || is_path && ["/.*", "/.*?"].contains(&rest)
}
