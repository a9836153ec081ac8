//! Destinations outside the cluster, from ServiceEntries: which of them an address and port that a pod dialled stand for.
//!
//! In: the ServiceEntries in force, and what their names resolve to. Out: a table that is built whole whenever one of the
//! two changes, which is rare, and asked for connections that go to neither a Service nor a pod.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ipnet::IpNet;

use super::{AddressFamily, Endpoints, Rules, ServiceName, ServicePort};
use crate::{
    objects::ObjectName,
    rules::{
        RuleKind, Spec,
        service_entry::{EndpointAddress, EntryEndpoint, EntryPort, EntryProtocol, Resolution, ServiceEntry},
        value::Host,
    },
};

/// What names resolve to now. A name that never did has no entry.
pub type Names = BTreeMap<String, BTreeSet<IpAddr>>;

/// All destinations of ServiceEntries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entries {
    entries: Vec<Entry>,
    /// Entries by network, the longest prefixes first; an address is a network of one.
    networks: BTreeMap<Reverse<u8>, HashMap<IpNet, Vec<usize>>>,
}

/// One ServiceEntry.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The document.
    pub document: ObjectName,
    /// Its namespace, and its first host as the name.
    pub name: ServiceName,
    /// What applications dial.
    pub networks: BTreeSet<IpNet>,
    /// The ports that applications dial.
    pub ports: Vec<EntryTarget>,
}

/// Where connections to one port of an entry go.
#[derive(Clone, Debug, PartialEq)]
pub enum EntryTarget {
    /// To one of its endpoints: of each family of the addresses that are dialled.
    Endpoints(Vec<Arc<ServicePort>>),
    /// To where they were going.
    AsDialled(u16),
}

/// What a dialled address stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Endpoints(Arc<ServicePort>),
    AsDialled(ServiceName),
}

impl Entries {
    /// Builds the table.
    pub(super) fn build(rules: &Rules, names: &Names) -> Self {
        let mut all = Self::default();
        for rule in rules.values() {
            let Spec::ServiceEntry(spec) = &rule.spec else { continue };
            let entry = entry(&rule.key.name, spec, names);
            for network in &entry.networks {
                let of_length = all.networks.entry(Reverse(network.prefix_len())).or_default();
                of_length.entry(*network).or_default().push(all.entries.len());
            }
            all.entries.push(entry);
        }
        all
    }

    /// All, ordered by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The entry with the smallest network that has this address and port. A port that no entry has is nobody's: an
    /// entry for one port of an address leaves the others alone.
    pub(super) fn find(&self, address: SocketAddr) -> Option<Found> {
        self.networks.iter().find_map(|(Reverse(length), networks)| {
            let network = IpNet::new(address.ip(), *length).ok()?.trunc();
            let entries = networks.get(&network)?.iter().filter_map(|index| self.entries.get(*index));
            entries.into_iter().find_map(|entry| entry.target(address))
        })
    }
}

impl Entry {
    fn target(&self, address: SocketAddr) -> Option<Found> {
        let family = AddressFamily::of(address.ip());
        self.ports.iter().find_map(|target| match target {
            EntryTarget::Endpoints(ports) => {
                let port = ports.iter().find(|port| port.port == address.port() && port.family == family)?;
                Some(Found::Endpoints(Arc::clone(port)))
            }
            EntryTarget::AsDialled(port) if *port == address.port() => Some(Found::AsDialled(self.name.clone())),
            EntryTarget::AsDialled(_) => None,
        })
    }
}

/// The names that ServiceEntries want to be resolved.
pub fn names_to_resolve(rules: &Rules) -> BTreeSet<String> {
    let entries = rules.values().filter(|rule| rule.key.kind == RuleKind::ServiceEntry);
    let specs = entries.filter_map(|rule| match &rule.spec {
        Spec::ServiceEntry(spec) if spec.resolution == Resolution::Dns => Some(spec),
        _ => None,
    });
    specs.flat_map(names_of).map(str::to_owned).collect()
}

/// Endpoints given by name, or else the hosts themselves.
fn names_of(spec: &ServiceEntry) -> Vec<&str> {
    let names = spec.endpoints.iter().filter_map(|endpoint| match &endpoint.address {
        EndpointAddress::Name(name) => Some(name.as_str()),
        EndpointAddress::Ip(_) => None,
    });
    match spec.endpoints.is_empty() {
        true => spec.hosts.iter().filter_map(exact).collect(),
        false => names.collect(),
    }
}

fn exact(host: &Host) -> Option<&str> {
    match host {
        Host::Exact(name) => Some(name),
        Host::Below(_) => None,
    }
}

fn entry(document: &ObjectName, spec: &ServiceEntry, names: &Names) -> Entry {
    let host = spec.hosts.first().map_or_else(|| document.name.to_string(), ToString::to_string);
    let name = ServiceName { namespace: Arc::clone(&document.namespace), name: host.into() };
    let resolved = |name: &str| names.get(name).into_iter().flatten().copied();
    let mut networks: BTreeSet<IpNet> = spec.addresses.iter().map(IpNet::trunc).collect();
    if networks.is_empty() && spec.resolution == Resolution::Dns {
        // What the names resolve to is what applications dial.
        networks = spec.hosts.iter().filter_map(exact).flat_map(resolved).map(IpNet::from).collect();
    }
    let target = |port: &EntryPort| match spec.resolution {
        Resolution::None => EntryTarget::AsDialled(port.number.get()),
        Resolution::Static | Resolution::Dns => {
            let families: BTreeSet<_> = networks.iter().map(|network| AddressFamily::of(network.addr())).collect();
            let all = endpoints(spec, port, names);
            let port = |family| Arc::new(service_port(&name, port, family, &all));
            EntryTarget::Endpoints(families.into_iter().map(port).collect())
        }
    };
    let ports = spec.ports.iter().map(target).collect();
    Entry { document: document.clone(), name, networks, ports }
}

fn service_port(
    name: &ServiceName,
    port: &EntryPort,
    family: AddressFamily,
    all: &BTreeSet<SocketAddr>,
) -> ServicePort {
    let of_family = |address: &&SocketAddr| AddressFamily::of(address.ip()) == family;
    // An address of one family may stand for endpoints of the other, where there are no better ones.
    let same: Vec<SocketAddr> = all.iter().filter(of_family).copied().collect();
    let used = if same.is_empty() { all.iter().copied().collect() } else { same };
    ServicePort {
        service: name.clone(),
        family,
        port: port.number.get(),
        name: port.name.as_str().into(),
        app_protocol: port.protocol.map(|protocol| app_protocol(protocol).into()),
        client_affinity: None,
        ready: Endpoints::of_addresses(used),
    }
}

/// As a Kubernetes Service would write it.
fn app_protocol(protocol: EntryProtocol) -> &'static str {
    match protocol {
        EntryProtocol::Http => "http",
        EntryProtocol::Http2 => "http2",
        EntryProtocol::Https => "https",
        EntryProtocol::Grpc => "grpc",
        EntryProtocol::GrpcWeb => "grpc-web",
        EntryProtocol::Tcp => "tcp",
        EntryProtocol::Tls => "tls",
    }
}

fn endpoints(spec: &ServiceEntry, port: &EntryPort, names: &Names) -> BTreeSet<SocketAddr> {
    let number = port.target_port.unwrap_or(port.number).get();
    let resolved = |name: &str| names.get(name).into_iter().flatten().copied().collect::<Vec<IpAddr>>();
    if spec.endpoints.is_empty() && spec.resolution == Resolution::Dns {
        let addresses = spec.hosts.iter().filter_map(exact).flat_map(resolved);
        return addresses.map(|address| SocketAddr::new(address, number)).collect();
    }
    let of_endpoint = |endpoint: &EntryEndpoint| {
        let number = endpoint.ports.get(&port.name).map_or(number, |port| port.get());
        let addresses = match &endpoint.address {
            EndpointAddress::Ip(address) => vec![*address],
            EndpointAddress::Name(name) => resolved(name),
        };
        addresses.into_iter().map(move |address| SocketAddr::new(address, number))
    };
    spec.endpoints.iter().flat_map(of_endpoint).collect()
}
