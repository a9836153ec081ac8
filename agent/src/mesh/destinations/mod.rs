//! Which DestinationRule is for a destination, and what it says of one port.
//!
//! In: the rules in force, as they change. Out: for a destination, a port and the client's namespace the settings, or none,
//! which means the mesh's defaults. As Istio looks: the client's namespace, then the destination's, then the root namespace;
//! in each of them a rule for the very name, then the one with the longest wildcard. The first that is found counts
//! alone. What its numbers mean is decided in `balance`.

mod host;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use super::{ServiceName, by_age::OldestOf};
use crate::{
    objects::ObjectName,
    rules::{
        Rule, Spec,
        destination_rule::{PortPolicy, PortSettings, TrafficPolicy},
    },
};

pub(crate) use host::means;
pub(super) use host::{Name, names};

/// A DestinationRule in force.
#[derive(Clone, Debug, PartialEq)]
pub struct DestinationSettings {
    /// The document.
    pub document: ObjectName,
    /// Of the ports that it does not name.
    other: Arc<PortSettings>,
    /// Of those that it names, with what it says of all ports where it says nothing else of them.
    named: BTreeMap<u16, Arc<PortSettings>>,
}

impl DestinationSettings {
    /// What is said of a port of the destination.
    pub fn of_port(&self, port: u16) -> &Arc<PortSettings> {
        self.named.get(&port).unwrap_or(&self.other)
    }

    fn new(document: &ObjectName, policy: &TrafficPolicy) -> Self {
        let named = |port: &PortPolicy| (port.port.number.get(), Arc::new(laid_over(&policy.settings, &port.settings)));
        Self {
            document: document.clone(),
            other: Arc::new(policy.settings.clone()),
            named: policy.port_level_settings.iter().map(named).collect(),
        }
    }
}

/// Each of the four parts comes from the port where it has it.
fn laid_over(all: &PortSettings, port: &PortSettings) -> PortSettings {
    PortSettings {
        load_balancer: port.load_balancer.clone().or_else(|| all.load_balancer.clone()),
        connection_pool: port.connection_pool.or(all.connection_pool),
        outlier_detection: port.outlier_detection.or(all.outlier_detection),
        tls: port.tls.or(all.tls),
    }
}

/// All DestinationRules. A copy shares what is the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Destinations {
    root_namespace: Arc<str>,
    namespaces: imbl::OrdMap<Arc<str>, Hosts>,
}

/// The root namespace is one and the same for a process.
impl PartialEq for Destinations {
    fn eq(&self, other: &Self) -> bool {
        self.namespaces == other.namespaces
    }
}

/// Those of one namespace, by the destinations that they name.
#[derive(Clone, Debug, Default, PartialEq)]
struct Hosts {
    exact: OldestOf<Box<str>, DestinationSettings>,
    /// `*.example.com` as `example.com`.
    below: OldestOf<Box<str>, DestinationSettings>,
}

impl Destinations {
    /// None yet.
    pub(super) fn new(root_namespace: Arc<str>) -> Self {
        Self { root_namespace, namespaces: imbl::OrdMap::default() }
    }

    /// Takes over that a rule was this, and is that now. Rules of other kinds are passed over.
    pub(super) fn replace(&mut self, before: Option<&Rule>, now: Option<&Rule>) {
        if let Some((rule, Spec::DestinationRule(spec))) = before.map(|rule| (rule, &rule.spec)) {
            self.change(rule, |hosts| {
                names(rule, spec).iter().for_each(|name| hosts.shelf(name).remove(&name.text().into(), rule));
            });
        }
        if let Some((rule, Spec::DestinationRule(spec))) = now.map(|rule| (rule, &rule.spec)) {
            let settings = Arc::new(DestinationSettings::new(&rule.key.name, &spec.traffic_policy));
            let put = |hosts: &mut Hosts, name: Name| {
                hosts.shelf(&name).insert(name.text().into(), rule, Arc::clone(&settings));
            };
            self.change(rule, |hosts| names(rule, spec).into_iter().for_each(|name| put(hosts, name)));
        }
    }

    fn change(&mut self, rule: &Rule, change: impl FnOnce(&mut Hosts)) {
        let namespace = &rule.key.name.namespace;
        let mut hosts = self.namespaces.get(namespace).cloned().unwrap_or_default();
        change(&mut hosts);
        match hosts.exact.is_empty() && hosts.below.is_empty() {
            true => drop(self.namespaces.remove(namespace)),
            false => drop(self.namespaces.insert(Arc::clone(namespace), hosts)),
        }
    }

    /// The rule for a destination, for clients of a namespace.
    pub(super) fn find(&self, service: &ServiceName, client_namespace: &str) -> Option<&Arc<DestinationSettings>> {
        let order = [client_namespace, &*service.namespace, &*self.root_namespace];
        let mut namespaces = order.into_iter().filter_map(|namespace| self.namespaces.get(namespace)).peekable();
        namespaces.peek()?;
        let host = service.host();
        namespaces.find_map(|hosts| hosts.find(&host))
    }

    /// The document that counts in a namespace for a name that rules there have.
    pub(super) fn winner(&self, namespace: &str, name: &Name) -> Option<&ObjectName> {
        let hosts = self.namespaces.get(namespace)?;
        match name {
            Name::Exact(name) => hosts.exact.winner(name),
            Name::Below(name) => hosts.below.winner(name),
        }
    }
}

impl Hosts {
    fn shelf(&mut self, name: &Name) -> &mut OldestOf<Box<str>, DestinationSettings> {
        match name {
            Name::Exact(_) => &mut self.exact,
            Name::Below(_) => &mut self.below,
        }
    }

    fn find(&self, host: &str) -> Option<&Arc<DestinationSettings>> {
        let below = || host::parents(host).find_map(|parent| self.below.get(parent));
        self.exact.get(host).or_else(below)
    }
}
