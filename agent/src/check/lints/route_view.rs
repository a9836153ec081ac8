//! What the four kinds of routes have in common, for lints: backends, copies, references to filters.

use crate::rules::{
    Rule, Spec,
    gateway::{ExtensionRef, FilteredBackendRef, RequestMirror, ServiceRef, StreamRule},
    grpc_route::{GrpcFilter, GrpcRule},
    http_route::{HttpFilter, HttpRule},
};

/// A route.
pub(super) struct RouteView<'a> {
    pub(super) rules: Vec<RuleView<'a>>,
}

/// A rule of a route.
pub(super) struct RuleView<'a> {
    /// As in `spec.rules[0]`.
    pub(super) path: String,
    /// What happens to a request or connection that has nowhere to go.
    pub(super) failure: &'static str,
    pub(super) backends: Vec<Target<'a>>,
    pub(super) mirrors: Vec<Target<'a>>,
    pub(super) extensions: Vec<(String, &'a ExtensionRef)>,
}

/// A Service that a rule names.
pub(super) struct Target<'a> {
    pub(super) path: String,
    pub(super) service: &'a ServiceRef,
    pub(super) weight: u32,
}

/// `None` for what is no route.
pub(super) fn view(rule: &Rule) -> Option<RouteView<'_>> {
    let rules = match &rule.spec {
        Spec::HttpRoute(route) => route.rules.iter().enumerate().map(http).collect(),
        Spec::GrpcRoute(route) => route.rules.iter().enumerate().map(grpc).collect(),
        Spec::TlsRoute(route) => route.rules.iter().enumerate().map(stream).collect(),
        Spec::TcpRoute(route) => route.rules.iter().enumerate().map(stream).collect(),
        _ => return None,
    };
    Some(RouteView { rules })
}

fn http((index, rule): (usize, &HttpRule)) -> RuleView<'_> {
    let path = format!("spec.rules[{index}]");
    let (mut mirrors, mut extensions) = (Vec::new(), Vec::new());
    for (index, filter) in rule.filters.iter().enumerate() {
        let path = format!("{path}.filters[{index}]");
        match filter {
            HttpFilter::RequestMirror(filter) => mirrors.push(mirror(&path, filter)),
            HttpFilter::ExtensionRef(reference) => extensions.push((format!("{path}.extensionRef"), reference)),
            _ => {}
        }
    }
    let backends = filtered(&path, &rule.backend_refs);
    RuleView { path, failure: "is answered with 500", backends, mirrors, extensions }
}

fn grpc((index, rule): (usize, &GrpcRule)) -> RuleView<'_> {
    let path = format!("spec.rules[{index}]");
    let (mut mirrors, mut extensions) = (Vec::new(), Vec::new());
    for (index, filter) in rule.filters.iter().enumerate() {
        let path = format!("{path}.filters[{index}]");
        match filter {
            GrpcFilter::RequestMirror(filter) => mirrors.push(mirror(&path, filter)),
            GrpcFilter::ExtensionRef(reference) => extensions.push((format!("{path}.extensionRef"), reference)),
            _ => {}
        }
    }
    let backends = filtered(&path, &rule.backend_refs);
    RuleView { path, failure: "is answered with UNAVAILABLE", backends, mirrors, extensions }
}

fn stream((index, rule): (usize, &StreamRule)) -> RuleView<'_> {
    let path = format!("spec.rules[{index}]");
    let backends = rule.backend_refs.iter().enumerate().map(|(index, backend)| Target {
        path: format!("{path}.backendRefs[{index}]"),
        service: &backend.service,
        weight: backend.weight,
    });
    let backends = backends.collect();
    RuleView { path, failure: "is refused", backends, mirrors: Vec::new(), extensions: Vec::new() }
}

fn filtered<'a>(path: &str, backends: &'a [FilteredBackendRef]) -> Vec<Target<'a>> {
    let target = |(index, filtered): (usize, &'a FilteredBackendRef)| Target {
        path: format!("{path}.backendRefs[{index}]"),
        service: &filtered.backend.service,
        weight: filtered.backend.weight,
    };
    backends.iter().enumerate().map(target).collect()
}

fn mirror<'a>(path: &str, filter: &'a RequestMirror) -> Target<'a> {
    Target { path: format!("{path}.requestMirror.backendRef"), service: &filter.backend_ref, weight: 1 }
}
