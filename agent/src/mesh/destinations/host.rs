//! The destinations that the host of a DestinationRule names.
//!
//! A Service is known by its whole name, `web.shop.svc.cluster.local`; a rule may shorten that. A destination outside the
//! cluster is known by the first host of its ServiceEntry, which may be a wildcard itself.

use crate::{
    mesh::ServiceName,
    rules::{Rule, destination_rule::DestinationRule, value::Host},
};

/// A name under which destinations look for their rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::mesh) enum Name {
    /// The whole name of one.
    Exact(Box<str>),
    /// What the names of several end with, without the dot before it.
    Below(Box<str>),
}

impl Name {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Below(text) => text,
        }
    }
}

/// The names that a rule has.
pub(in crate::mesh) fn names(rule: &Rule, spec: &DestinationRule) -> Vec<Name> {
    names_of(&spec.host, &rule.key.name.namespace)
}

/// `web`, `web.shop`, `web.shop.svc` and `web.shop.svc.DOMAIN` are one Service. All but the first may be hosts of a
/// ServiceEntry as well.
fn names_of(host: &Host, namespace: &str) -> Vec<Name> {
    let text = match host {
        Host::Below(parent) => return vec![Name::Below(parent.as_str().into())],
        Host::Exact(text) => text.as_str(),
    };
    let mut parts = text.splitn(4, '.');
    let (name, of_namespace, svc) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let service = || ServiceName { namespace: of_namespace.unwrap_or(namespace).into(), name: name.into() };
    let service = matches!(svc, None | Some("svc")).then(|| service().host().into_boxed_str());
    let outside = of_namespace.is_some().then(|| Box::from(text));
    let mut names: Vec<Name> = service.into_iter().chain(outside).map(Name::Exact).collect();
    names.dedup();
    names
}

/// Whether a host in a rule of a namespace stands for a destination.
pub(crate) fn means(host: &Host, namespace: &str, destination: &ServiceName) -> bool {
    let whole = destination.host();
    names_of(host, namespace).iter().any(|name| match name {
        Name::Exact(name) => **name == *whole,
        Name::Below(name) => parents(&whole).any(|parent| parent == &**name),
    })
}

/// What a name ends with after each of its dots, the longest first.
pub(super) fn parents(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('.').filter_map(|(dot, _)| name.get(dot + 1..))
}
