//! A rule that a request matched: its names, and its parts, alike for HTTPRoute and GRPCRoute.

use super::{cookie_path::cookie_path, matching::after_prefix};
use crate::{
    mesh::{Condition, RouteMatch, ServiceName},
    rules::{
        RuleKey,
        gateway::{ExtensionRef, FilteredBackendRef, HeaderModifier, RequestMirror, SessionPersistence},
        grpc_route::GrpcFilter,
        http_route::{CorsFilter, HttpFilter, PathMatch, RequestRedirect, Retry, Timeouts, UrlRewrite},
    },
};

/// The rule that decides over a request. Made by the decision only.
#[derive(Clone, Copy, Debug)]
pub struct Matched<'t>(RouteMatch<'t>);

/// A filter of a rule.
#[derive(Clone, Copy, Debug)]
pub(super) enum Filter<'t> {
    RequestHeaders(&'t HeaderModifier),
    ResponseHeaders(&'t HeaderModifier),
    Mirror(&'t RequestMirror),
    Redirect(&'t RequestRedirect),
    Rewrite(&'t UrlRewrite),
    Cors(&'t CorsFilter),
    Extension(&'t ExtensionRef),
}

impl<'t> Matched<'t> {
    pub(super) fn new(one: RouteMatch<'t>) -> Self {
        Self(one)
    }

    /// The route, by kind and name.
    pub fn route(&self) -> &'t RuleKey {
        &self.0.route.key
    }

    /// Which rule of the route, from 0.
    pub fn rule(&self) -> usize {
        self.0.rule
    }

    /// The name of the rule, where it has one.
    pub fn rule_name(&self) -> Option<&'t str> {
        match self.0.condition {
            Condition::Http(_, rule, _) => rule.name.as_deref(),
            Condition::Grpc(_, rule) => rule.name.as_deref(),
        }
    }

    /// Which match of the rule, from 0.
    pub fn match_index(&self) -> usize {
        self.0.index
    }

    /// Faults and limits, in their order: documents in the namespace of the route.
    pub fn extensions(&self) -> impl Iterator<Item = &'t ExtensionRef> {
        self.filters().filter_map(|filter| match filter {
            Filter::Extension(reference) => Some(reference),
            _ => None,
        })
    }

    /// Its filters as they are written, for who explains.
    pub fn written_filters(&self) -> Vec<serde_json::Value> {
        // What was read can be written.
        let http = |filter: &HttpFilter| serde_json::to_value(filter).unwrap_or_default();
        let grpc = |filter: &GrpcFilter| serde_json::to_value(filter).unwrap_or_default();
        match self.0.condition {
            Condition::Http(_, rule, _) => rule.filters.iter().map(http).collect(),
            Condition::Grpc(_, rule) => rule.filters.iter().map(grpc).collect(),
        }
    }

    /// The Services that requests are sent to.
    pub fn backends(&self) -> &'t [FilteredBackendRef] {
        match self.0.condition {
            Condition::Http(_, rule, _) => &rule.backend_refs,
            Condition::Grpc(_, rule) => &rule.backend_refs,
        }
    }

    /// How long a request may take. A GRPCRoute says nothing of that: calls bring deadlines of their own.
    pub fn timeouts(&self) -> Option<Timeouts> {
        match self.0.condition {
            Condition::Http(_, rule, _) => rule.timeouts,
            Condition::Grpc(..) => None,
        }
    }

    /// What is tried again.
    pub fn retry(&self) -> Option<&'t Retry> {
        match self.0.condition {
            Condition::Http(_, rule, _) => rule.retry.as_ref(),
            Condition::Grpc(..) => None,
        }
    }

    /// How a client stays with one endpoint.
    pub fn session(&self) -> Option<&'t SessionPersistence> {
        match self.0.condition {
            Condition::Http(_, rule, _) => rule.session_persistence.as_ref(),
            Condition::Grpc(_, rule) => rule.session_persistence.as_ref(),
        }
    }

    /// Below which path the cookie of its sessions is of use.
    pub fn cookie_path(&self) -> String {
        cookie_path(self.0.condition)
    }

    /// The names of the Services that requests are sent to.
    pub fn backend_services(&self) -> impl Iterator<Item = ServiceName> + use<'t> {
        let namespace = &self.route().name.namespace;
        let services = self.backends().iter().map(|backend| &backend.backend.service);
        services.map(|service| ServiceName::referred(namespace, service.namespace.as_deref(), &service.name))
    }

    pub(super) fn filters(&self) -> impl Iterator<Item = Filter<'t>> + use<'t> {
        let (http, grpc): (&[HttpFilter], &[GrpcFilter]) = match self.0.condition {
            Condition::Http(_, rule, _) => (&rule.filters, &[]),
            Condition::Grpc(_, rule) => (&[], &rule.filters),
        };
        http.iter().map(of_http).chain(grpc.iter().map(of_grpc))
    }

    /// What of a path follows the prefix that matched; the whole path where no prefix was asked for.
    pub(super) fn rest<'p>(&self, path: &'p str) -> &'p str {
        match self.0.condition {
            Condition::Http(one, _, Some(prefix)) if matches!(one.path, PathMatch::PathPrefix(_)) => {
                after_prefix(path, prefix).unwrap_or(path)
            }
            Condition::Http(..) | Condition::Grpc(..) => path,
        }
    }
}

fn of_http(filter: &HttpFilter) -> Filter<'_> {
    match filter {
        HttpFilter::RequestHeaderModifier(modifier) => Filter::RequestHeaders(modifier),
        HttpFilter::ResponseHeaderModifier(modifier) => Filter::ResponseHeaders(modifier),
        HttpFilter::RequestMirror(mirror) => Filter::Mirror(mirror),
        HttpFilter::RequestRedirect(redirect) => Filter::Redirect(redirect),
        HttpFilter::UrlRewrite(rewrite) => Filter::Rewrite(rewrite),
        HttpFilter::Cors(cors) => Filter::Cors(cors),
        HttpFilter::ExtensionRef(reference) => Filter::Extension(reference),
    }
}

fn of_grpc(filter: &GrpcFilter) -> Filter<'_> {
    match filter {
        GrpcFilter::RequestHeaderModifier(modifier) => Filter::RequestHeaders(modifier),
        GrpcFilter::ResponseHeaderModifier(modifier) => Filter::ResponseHeaders(modifier),
        GrpcFilter::RequestMirror(mirror) => Filter::Mirror(mirror),
        GrpcFilter::ExtensionRef(reference) => Filter::Extension(reference),
    }
}
