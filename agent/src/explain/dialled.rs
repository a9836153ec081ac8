//! What address a client dials by a name, as the cluster's DNS would say: a Service by its name, relative to the client's
//! namespace, or the host of a ServiceEntry. An address is what it is.

use std::net::{IpAddr, SocketAddr};

use super::{Unanswerable, question::Target};
use crate::{
    mesh::{Service, ServiceKind, ServiceName, Snapshot},
    objects::ObjectName,
    rules::{Spec, service_entry::ServiceEntry, value::Host},
};

/// The domain of the cluster's DNS, as everywhere in the mesh.
const CLUSTER: &str = ".svc.cluster.local";

/// Where a client's connection goes first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dialled {
    pub(super) address: SocketAddr,
    /// How the name led there; empty for an address.
    pub(super) because: Vec<String>,
}

pub(super) fn dialled(snapshot: &Snapshot, client: &Client<'_>, target: &Target) -> Result<Dialled, Unanswerable> {
    if let Ok(address) = target.host.parse::<IpAddr>() {
        return Ok(Dialled { address: SocketAddr::new(address.to_canonical(), target.port), because: Vec::new() });
    }
    let host = target.host.trim_end_matches('.');
    for name in service_names(host, client.namespace) {
        if let Some(service) = snapshot.service(&name) {
            return of_service(service, client, target);
        }
    }
    of_entry(snapshot, client, host, target.port).ok_or_else(|| Unanswerable::Name {
        host: target.host.clone(),
        tried: service_names(host, client.namespace).iter().map(ServiceName::host).collect(),
    })
}

/// What a name is relative to.
pub(super) struct Client<'a> {
    pub(super) namespace: Option<&'a str>,
    pub(super) address: IpAddr,
}

/// `web` in the client's namespace, `web.shop`, `web.shop.svc`, or the whole.
fn service_names(host: &str, namespace: Option<&str>) -> Vec<ServiceName> {
    let host = host.strip_suffix(CLUSTER).or_else(|| host.strip_suffix(".svc")).unwrap_or(host);
    let of = |namespace: &str, name: &str| ServiceName { namespace: namespace.into(), name: name.into() };
    match host.split('.').collect::<Vec<_>>().as_slice() {
        [name] => namespace.map(|namespace| of(namespace, name)).into_iter().collect(),
        [name, namespace] => vec![of(namespace, name)],
        _ => Vec::new(),
    }
}

fn of_service(service: &Service, client: &Client<'_>, target: &Target) -> Result<Dialled, Unanswerable> {
    let kind = match service.kind {
        ServiceKind::ClusterIp => {
            let address = of_family(service.addresses.iter().copied(), client.address);
            let address = address.ok_or_else(|| Unanswerable::NoAddress { service: service.name.clone() })?;
            let because = vec![format!("{} is {address}, the address of Service {}", target.host, service.name)];
            return Ok(Dialled { address: SocketAddr::new(address, target.port), because });
        }
        ServiceKind::Headless => "headless",
        ServiceKind::ExternalName => return Err(Unanswerable::ExternalName { service: service.name.clone() }),
    };
    let all: Vec<IpAddr> =
        service.ports.iter().flat_map(|port| port.ready.iter()).map(|endpoint| endpoint.address.ip()).collect();
    let address = of_family(all.iter().copied(), client.address);
    let address = address.ok_or_else(|| Unanswerable::NoAddress { service: service.name.clone() })?;
    let because = vec![format!(
        "{} is any of {} pods, since Service {} is {kind}: the first of them, {address}, stands for all; the port is the \
         pod's own",
        target.host,
        all.iter().collect::<std::collections::BTreeSet<_>>().len(),
        service.name,
    )];
    Ok(Dialled { address: SocketAddr::new(address, target.port), because })
}

fn of_entry(snapshot: &Snapshot, client: &Client<'_>, host: &str, port: u16) -> Option<Dialled> {
    let specs = snapshot.rules().values().filter_map(|rule| match &rule.spec {
        Spec::ServiceEntry(spec) => Some((&rule.key.name, spec)),
        _ => None,
    });
    let named: Vec<(&ObjectName, _)> = specs.filter(|(_, spec)| names(spec, host)).collect();
    named.into_iter().find_map(|(document, _)| {
        let entry = snapshot.entries().iter().find(|entry| entry.document == *document)?;
        let addresses = entry.networks.iter().map(ipnet::IpNet::addr);
        let address = of_family(addresses, client.address)?;
        let because = vec![format!("{host} is {address} by ServiceEntry {document}")];
        Some(Dialled { address: SocketAddr::new(address, port), because })
    })
}

fn names(spec: &ServiceEntry, host: &str) -> bool {
    spec.hosts.iter().any(|own| match own {
        Host::Exact(name) => name == host,
        Host::Below(parent) => host.strip_suffix(parent.as_str()).is_some_and(|rest| rest.ends_with('.')),
    })
}

/// Of the client's family where there is one.
fn of_family(mut addresses: impl Iterator<Item = IpAddr> + Clone, client: IpAddr) -> Option<IpAddr> {
    let same = addresses.clone().find(|address| address.is_ipv4() == client.is_ipv4());
    same.or_else(|| addresses.next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_relative_to_the_clients_namespace() {
        let names = |host, namespace| -> Vec<String> {
            service_names(host, namespace).iter().map(ToString::to_string).collect()
        };
        for (host, namespace, expected) in [
            ("web", Some("shop"), Some("shop/web")),
            ("web", None, None),
            ("web.other", Some("shop"), Some("other/web")),
            ("web.other.svc", Some("shop"), Some("other/web")),
            ("web.other.svc.cluster.local", None, Some("other/web")),
            ("a.b.c", Some("shop"), None),
        ] {
            assert_eq!(names(host, namespace), expected.into_iter().collect::<Vec<_>>(), "{host}");
        }
    }
}
