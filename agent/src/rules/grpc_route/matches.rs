//! GRPCRouteMatch: what a call must look like.

use serde::Serialize;

use super::super::gateway::{HeaderMatch, Pattern, header_matches, one_of_or, pattern};
use crate::config::yaml::MapReader;

/// Of a service or method, in characters, by upstream's schema.
const MAX_NAME: usize = 1024;

/// GRPCRouteMatch: all of its parts have to match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GrpcMatch {
    /// Service and method; every call without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<GrpcMethodMatch>,
    /// Headers, each name once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderMatch>,
}

/// GRPCMethodMatch: one of the two is there; the other matches everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type")]
pub enum GrpcMethodMatch {
    /// By name, with case.
    Exact {
        /// With its package, such as `shop.v1.Cart`.
        #[serde(skip_serializing_if = "Option::is_none")]
        service: Option<String>,
        /// Without the service.
        #[serde(skip_serializing_if = "Option::is_none")]
        method: Option<String>,
    },
    /// The whole name matches an expression.
    RegularExpression {
        /// Of the service with its package.
        #[serde(skip_serializing_if = "Option::is_none")]
        service: Option<Pattern>,
        /// Of the method.
        #[serde(skip_serializing_if = "Option::is_none")]
        method: Option<Pattern>,
    },
}

/// Reads a match.
pub(super) fn read(map: MapReader<'_>) -> Option<GrpcMatch> {
    let method = map.map("method").map(method);
    let headers = header_matches(&map);
    let is_good = !map.has("method") || method.iter().any(Option::is_some);
    map.finish();
    is_good.then(|| GrpcMatch { method: method.flatten(), headers })
}

#[derive(Clone, Copy, PartialEq)]
enum NameType {
    Exact,
    RegularExpression,
}

fn method(map: MapReader<'_>) -> Option<GrpcMethodMatch> {
    let types = [("Exact", NameType::Exact), ("RegularExpression", NameType::RegularExpression)];
    let kind = one_of_or(&map, "type", &types, NameType::Exact);
    // Unknown types have unknown names: only their length is certain.
    let exact = kind == Some(NameType::Exact);
    let service =
        name(&map, "service", "a service with its package, such as shop.v1.Cart", |text| !exact || is_service(text));
    let method = name(&map, "method", "a method, such as GetCart", |text| !exact || is_identifier(text));
    if service.is_none() && method.is_none() && !map.has("service") && !map.has("method") {
        map.complain_here(
            "matches neither by service nor by method, allowed: one or both; remove it to match every call",
        );
    }
    let (service, method) = (service.filter(|text| !text.is_empty()), method.filter(|text| !text.is_empty()));
    let matched = match kind {
        None => None,
        Some(NameType::Exact) => {
            Some(GrpcMethodMatch::Exact { service: service.map(str::to_owned), method: method.map(str::to_owned) })
        }
        Some(NameType::RegularExpression) => expressions(&map, service, method),
    };
    map.finish();
    matched
}

fn expressions(map: &MapReader<'_>, service: Option<&str>, method: Option<&str>) -> Option<GrpcMethodMatch> {
    let service = service.map(|source| pattern(map, "service", source));
    let method = method.map(|source| pattern(map, "method", source));
    if service.is_none() && method.is_none() {
        // Empty texts: the schema lets them pass, its words ask for one that is not empty.
        map.complain_here("has no text in service nor in method, allowed: one or both; remove it to match every call");
        return None;
    }
    // The outer `Option` is whether there is one, the inner whether it is good.
    let (service, method) = (service.map_or(Some(None), |p| p.map(Some)), method.map_or(Some(None), |p| p.map(Some)));
    Some(GrpcMethodMatch::RegularExpression { service: service?, method: method? })
}

fn name<'a>(
    map: &MapReader<'a>,
    key: &'static str,
    allowed: &str,
    is_name: impl FnOnce(&str) -> bool,
) -> Option<&'a str> {
    let is_short = |text: &str| text.chars().count() <= MAX_NAME;
    map.parsed(key, allowed, |text| (is_short(text) && is_name(text)).then_some(text))
}

fn is_service(text: &str) -> bool {
    text.strip_prefix('.').unwrap_or(text).split('.').all(is_identifier)
}

fn is_identifier(text: &str) -> bool {
    let begins = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    begins && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
