//! Reading a ServiceEntry.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU16,
};

use super::{EndpointAddress, EntryEndpoint, EntryPort, EntryProtocol, Resolution, ServiceEntry};
use crate::{
    config::yaml::{MapReader, Value},
    objects::Map,
    rules::value::{HOST, Host, Word as _, list, network_or_address, port, required, required_list, text, word},
};

/// Upstream's bound for hosts and addresses.
const MOST_NAMES: usize = 256;

/// Reads the spec.
pub(in crate::rules) fn read(spec: MapReader<'_>) -> Option<ServiceEntry> {
    let hosts = list(&spec, "hosts", HOST, |host| host.parse().ok());
    required_list(&spec, "hosts", "a list with at least one host");
    let addresses =
        list(&spec, "addresses", "addresses and networks, such as 192.0.2.1 or 10.0.0.0/8", network_or_address);
    let ports = ports(&spec);
    let resolution = match word(&spec, "resolution", &["DNS_ROUND_ROBIN", "DYNAMIC_DNS"]) {
        None if spec.has("resolution") => None,
        resolution => Some(resolution.unwrap_or_default()),
    };
    let endpoints = spec.maps("endpoints").into_iter().filter_map(|map| endpoint(map, resolution, &ports)).collect();
    check_location(&spec);
    spec.not_enforced(&["exportTo", "workloadSelector", "subjectAltNames"]);
    let entry = ServiceEntry { hosts, addresses, ports, resolution: resolution?, endpoints };
    check(&spec, &entry);
    spec.finish();
    Some(entry)
}

fn ports(spec: &MapReader<'_>) -> Vec<EntryPort> {
    let maps = spec.maps("ports");
    required_list(spec, "ports", "a list with at least one port");
    let (mut numbers, mut names) = (BTreeSet::new(), BTreeSet::new());
    let mut ports = Vec::with_capacity(maps.len());
    for map in maps {
        let number = required(&map, "number", "a port from 1 to 65535", port(&map, "number"));
        let name = required(&map, "name", "text that is not empty", text(&map, "name"));
        if number.is_some_and(|number| !numbers.insert(number)) {
            map.complain("number", "is the number of an earlier port too");
        }
        if name.as_ref().is_some_and(|name| !names.insert(name.clone())) {
            map.complain("name", "is the name of an earlier port too");
        }
        let protocol = protocol(&map);
        let target_port = port(&map, "targetPort");
        map.finish();
        if let (Some(number), Some(name)) = (number, name) {
            ports.push(EntryPort { number, name, protocol, target_port });
        }
    }
    ports
}

/// Upstream compares protocols without case.
fn protocol(map: &MapReader<'_>) -> Option<EntryProtocol> {
    let words: Vec<&str> = EntryProtocol::ALL.iter().map(|protocol| protocol.as_str()).collect();
    map.parsed("protocol", &format!("{} (what the mesh does not parse is TCP)", words.join(", ")), |text| {
        EntryProtocol::ALL.iter().find(|protocol| protocol.as_str().eq_ignore_ascii_case(text)).copied()
    })
}

fn endpoint(map: MapReader<'_>, resolution: Option<Resolution>, ports: &[EntryPort]) -> Option<EntryEndpoint> {
    let address = address(&map, resolution);
    let address = required(&map, "address", "an address or a host name", address);
    let own_ports = map.map("ports").map_or_else(BTreeMap::new, |map| endpoint_ports(&map, ports));
    let labels = map.map("labels").map_or_else(Map::new, |labels| {
        labels.texts().into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    });
    map.not_enforced(&["network", "locality", "weight", "serviceAccount"]);
    map.finish();
    Some(EntryEndpoint { address: address?, ports: own_ports, labels })
}

fn address(map: &MapReader<'_>, resolution: Option<Resolution>) -> Option<EndpointAddress> {
    let ip = |text: &str| text.parse().ok().map(EndpointAddress::Ip);
    if resolution == Some(Resolution::Static) {
        return map.parsed("address", "an address such as 192.0.2.1 or 2001:db8::1, for STATIC", ip);
    }
    map.parsed("address", "an address or a host name without wildcard", |text| match text.parse() {
        Ok(Host::Exact(name)) => Some(EndpointAddress::Name(name)),
        _ => ip(text),
    })
}

fn endpoint_ports(map: &MapReader<'_>, ports: &[EntryPort]) -> BTreeMap<String, NonZeroU16> {
    let mut own = BTreeMap::new();
    for (name, value) in map.values() {
        let number = match value {
            Value::Integer(number) => u16::try_from(*number).ok().and_then(NonZeroU16::new),
            _ => None,
        };
        let Some(number) = number else {
            map.complain(name, format!("found {value}, allowed: a port from 1 to 65535"));
            continue;
        };
        if !ports.iter().any(|port| port.name == name) {
            map.complain(name, "is not the name of one of the entry's ports");
        }
        own.insert(name.to_owned(), number);
    }
    own
}

fn check_location(spec: &MapReader<'_>) {
    let external = spec.parsed("location", "text", Some);
    if let Some(found) = external.filter(|location| *location != "MESH_EXTERNAL") {
        let message =
            "allowed: MESH_EXTERNAL; pods are reached inside the mesh in any case, and other machines cannot be";
        spec.complain("location", format!("found {found:?}, {message}"));
    }
}

/// What concerns several fields.
fn check(spec: &MapReader<'_>, entry: &ServiceEntry) {
    for (key, count) in [("hosts", entry.hosts.len()), ("addresses", entry.addresses.len())] {
        if count > MOST_NAMES {
            spec.complain(key, format!("has {count} entries, allowed: up to {MOST_NAMES}"));
        }
    }
    match entry.resolution {
        Resolution::None => check_none(spec, entry),
        Resolution::Dns => check_dns(spec, entry),
        Resolution::Static => {}
    }
    if entry.resolution != Resolution::Dns && (!spec.has("addresses") || spec.has_empty("addresses")) {
        let resolution = entry.resolution.as_str();
        let why = "since connections are matched by the address that was dialled";
        spec.missing("addresses", &format!("a list of addresses and networks with resolution {resolution}, {why}"));
    }
}

fn check_none(spec: &MapReader<'_>, entry: &ServiceEntry) {
    if spec.has("endpoints") && !spec.has_empty("endpoints") {
        spec.complain(
            "endpoints",
            "cannot be there with resolution NONE, which goes on to the address that was dialled",
        );
    }
    if entry.ports.iter().any(|port| port.target_port.is_some_and(|target| target != port.number)) {
        spec.complain("ports", "have a targetPort, and resolution NONE goes on to the port that was dialled");
    }
}

fn check_dns(spec: &MapReader<'_>, entry: &ServiceEntry) {
    if entry.hosts.iter().any(Host::is_wildcard) {
        spec.complain(
            "hosts",
            "have a wildcard, which cannot be resolved; name the hosts, or use resolution STATIC or NONE",
        );
    }
    if entry.addresses.iter().any(|network| network.prefix_len() != network.max_prefix_len()) {
        spec.complain("addresses", "have a network, which is allowed with resolution STATIC and NONE only");
    }
}
