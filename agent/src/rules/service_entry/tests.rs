//! Tests of reading ServiceEntry documents.

#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::rules::{RuleKind, Spec, testing::*};

const KIND: RuleKind = RuleKind::ServiceEntry;

fn entry(spec: &str) -> ServiceEntry {
    match accepted(KIND, spec) {
        Spec::ServiceEntry(entry) => entry,
        other => panic!("{other:?}"),
    }
}

fn port(number: u16, name: &str) -> EntryPort {
    EntryPort { number: NonZeroU16::new(number).unwrap(), name: name.to_owned(), protocol: None, target_port: None }
}

#[test]
fn static_endpoints_have_addresses_and_ports_of_their_own() {
    let found = entry(
        "hosts: [db.example.com]
addresses: [192.0.2.10, 2001:db8::/64]
ports: [{number: 5432, name: sql, protocol: tcp, targetPort: 15432}, {number: 80, name: web}]
location: MESH_EXTERNAL
resolution: STATIC
endpoints:
- {address: 198.51.100.1, ports: {sql: 6432}, labels: {version: v1}}
- {address: \"2001:db8:1::1\"}",
    );
    let sql =
        EntryPort { protocol: Some(EntryProtocol::Tcp), target_port: NonZeroU16::new(15432), ..port(5432, "sql") };
    let expected = ServiceEntry {
        hosts: vec![Host::Exact("db.example.com".to_owned())],
        addresses: vec!["192.0.2.10/32".parse().unwrap(), "2001:db8::/64".parse().unwrap()],
        ports: vec![sql, port(80, "web")],
        resolution: Resolution::Static,
        endpoints: vec![
            EntryEndpoint {
                address: EndpointAddress::Ip("198.51.100.1".parse().unwrap()),
                ports: [("sql".to_owned(), NonZeroU16::new(6432).unwrap())].into(),
                labels: [("version".to_owned(), "v1".to_owned())].into(),
            },
            EntryEndpoint {
                address: EndpointAddress::Ip("2001:db8:1::1".parse().unwrap()),
                ports: BTreeMap::new(),
                labels: Map::new(),
            },
        ],
    };
    assert_eq!(found, expected);
}

#[test]
fn names_are_resolved_without_addresses_and_with_endpoints_by_name() {
    let found = entry("hosts: [api.example.com]\nports: [{number: 443, name: tls, protocol: TLS}]\nresolution: DNS");
    assert_eq!((found.resolution, found.addresses.len(), found.endpoints.len()), (Resolution::Dns, 0, 0));
    let found = entry(
        "hosts: [api.example.com]\naddresses: [192.0.2.1]\nports: [{number: 443, name: tls}]\nresolution: DNS\n\
         endpoints: [{address: eu.example.com}, {address: 198.51.100.7}]",
    );
    let addresses: Vec<_> = found.endpoints.into_iter().map(|endpoint| endpoint.address).collect();
    let ip = EndpointAddress::Ip("198.51.100.7".parse().unwrap());
    assert_eq!(addresses, [EndpointAddress::Name("eu.example.com".to_owned()), ip]);
}

#[test]
fn without_resolution_the_dialled_address_is_the_endpoint() {
    let found = entry(
        "hosts: [\"*.example.com\"]\naddresses: [10.0.3.7/8]\nports: [{number: 443, name: tls, targetPort: 443}]",
    );
    assert_eq!(found.resolution, Resolution::None);
    assert_eq!(found.addresses[0].to_string(), "10.0.0.0/8", "bits below the prefix say nothing");
    assert_eq!(found.hosts, [Host::Below("example.com".to_owned())]);
}

#[test]
fn nobody_answers_for_static_without_endpoints() {
    let found = entry("hosts: [a]\naddresses: [192.0.2.1]\nports: [{number: 1, name: a}]\nresolution: STATIC");
    assert_eq!(found.endpoints, []);
}

#[test]
fn every_problem_of_a_document_is_told_with_its_place() {
    let table: &[(&str, &[&str])] = &[
        (
            "{}",
            &[
                "5:3: spec.hosts: missing, must be a list with at least one host",
                "5:3: spec.ports: missing, must be a list with at least one port",
                "5:3: spec.addresses: missing, must be a list of addresses and networks with resolution NONE, since connections are matched by the address that was dialled",
            ],
        ),
        (
            "hosts: []
addresses: []
ports: []",
            &[
                "5:3: spec.addresses: missing, must be a list of addresses and networks with resolution NONE, since connections are matched by the address that was dialled",
                "5:10: spec.hosts: is empty, must be a list with at least one host",
                "7:10: spec.ports: is empty, must be a list with at least one port",
            ],
        ),
        (
            r#"hosts: ["*", Example.com, 192.0.2.1]
addresses: [example.com, 10.0.0.0/33]
ports: [{number: 1, name: a}]"#,
            &[
                r#"5:11: spec.hosts[0]: found "*", allowed: a host name such as api.example.com, in lower case, or *.example.com for all below it"#,
                r#"5:16: spec.hosts[1]: found "Example.com", allowed: a host name such as api.example.com, in lower case, or *.example.com for all below it"#,
                r#"5:29: spec.hosts[2]: found "192.0.2.1", allowed: a host name such as api.example.com, in lower case, or *.example.com for all below it"#,
                r#"6:15: spec.addresses[0]: found "example.com", allowed: addresses and networks, such as 192.0.2.1 or 10.0.0.0/8"#,
                r#"6:28: spec.addresses[1]: found "10.0.0.0/33", allowed: addresses and networks, such as 192.0.2.1 or 10.0.0.0/8"#,
            ],
        ),
        (
            r#"hosts: [a]
addresses: [192.0.2.1]
ports:
- {number: 0, name: a}
- {name: ""}
- {number: 1, name: b, protocol: UDP, targetPort: 70000}
- {number: 1, name: b, port: 2}"#,
            &[
                "8:14: spec.ports[0].number: found the number 0, allowed: a port from 1 to 65535",
                "9:5: spec.ports[1].number: missing, must be a port from 1 to 65535",
                r#"9:12: spec.ports[1].name: found "", allowed: text that is not empty"#,
                r#"10:36: spec.ports[2].protocol: found "UDP", allowed: HTTP, HTTP2, HTTPS, GRPC, GRPC-WEB, TCP, TLS (what the mesh does not parse is TCP)"#,
                "10:53: spec.ports[2].targetPort: found the number 70000, allowed: a port from 1 to 65535",
                "11:14: spec.ports[3].number: is the number of an earlier port too",
                "11:23: spec.ports[3].name: is the name of an earlier port too",
                r#"11:26: unknown key "port" in spec.ports[3], allowed: number, name, protocol, targetPort"#,
            ],
        ),
        (
            "hosts: [a]
ports: [{number: 1, name: a}]
resolution: STATIC
endpoints:
- {address: example.com}
- {}
- {address: 192.0.2.1, ports: {b: 1, a: 0}, labels: {x: 1}}",
            &[
                "5:3: spec.addresses: missing, must be a list of addresses and networks with resolution STATIC, since connections are matched by the address that was dialled",
                r#"9:15: spec.endpoints[0].address: found "example.com", allowed: an address such as 192.0.2.1 or 2001:db8::1, for STATIC"#,
                "10:5: spec.endpoints[1].address: missing, must be an address or a host name",
                "11:37: spec.endpoints[2].ports.b: is not the name of one of the entry's ports",
                "11:43: spec.endpoints[2].ports.a: found the number 0, allowed: a port from 1 to 65535",
                "11:59: spec.endpoints[2].labels.x: found the number 1, allowed: text (quote numbers and booleans)",
            ],
        ),
        (
            "hosts: [a]
addresses: [192.0.2.1]
ports: [{number: 1, name: a}]
resolution: STATIC
endpoints: [{address: 192.0.2.1, network: n, locality: a/b, weight: 2, serviceAccount: s}]",
            &[
                "9:45: spec.endpoints[0].network: is not enforced by this build; remove it, since a document is accepted only whole",
                "9:58: spec.endpoints[0].locality: is not enforced by this build; remove it, since a document is accepted only whole",
                "9:71: spec.endpoints[0].weight: is not enforced by this build; remove it, since a document is accepted only whole",
                "9:90: spec.endpoints[0].serviceAccount: is not enforced by this build; remove it, since a document is accepted only whole",
            ],
        ),
        (
            "hosts: [a]
addresses: [192.0.2.1]
ports: [{number: 1, name: a}]
resolution: DNS_ROUND_ROBIN",
            &[
                r#"8:15: spec.resolution: found "DNS_ROUND_ROBIN", which is not enforced by this build, allowed: NONE, STATIC, DNS"#,
            ],
        ),
        (
            "hosts: [a]
addresses: [192.0.2.1]
ports: [{number: 1, name: a}]
resolution: static",
            &[r#"8:15: spec.resolution: found "static", allowed: NONE, STATIC, DNS; did you mean STATIC?"#],
        ),
        (
            r#"hosts: ["*.example.com"]
addresses: [10.0.0.0/8]
ports: [{number: 1, name: a}]
resolution: DNS
endpoints: [{address: "*.example.org"}, {address: unix:///a}]"#,
            &[
                "5:10: spec.hosts: have a wildcard, which cannot be resolved; name the hosts, or use resolution STATIC or NONE",
                "6:14: spec.addresses: have a network, which is allowed with resolution STATIC and NONE only",
                r#"9:25: spec.endpoints[0].address: found "*.example.org", allowed: an address or a host name without wildcard"#,
                r#"9:53: spec.endpoints[1].address: found "unix:///a", allowed: an address or a host name without wildcard"#,
            ],
        ),
        (
            "hosts: [a]
addresses: [192.0.2.1]
ports: [{number: 1, name: a, targetPort: 2}]
endpoints: [{address: 192.0.2.1}]",
            &[
                "7:10: spec.ports: have a targetPort, and resolution NONE goes on to the port that was dialled",
                "8:14: spec.endpoints: cannot be there with resolution NONE, which goes on to the address that was dialled",
            ],
        ),
        (
            r#"hosts: [a]
addresses: [192.0.2.1]
ports: [{number: 1, name: a}]
location: MESH_INTERNAL
exportTo: ["."]
workloadSelector: {}
subjectAltNames: [a]
address: x"#,
            &[
                r#"8:13: spec.location: found "MESH_INTERNAL", allowed: MESH_EXTERNAL; pods are reached inside the mesh in any case, and other machines cannot be"#,
                "9:13: spec.exportTo: is not enforced by this build; remove it, since a document is accepted only whole",
                "10:21: spec.workloadSelector: is not enforced by this build; remove it, since a document is accepted only whole",
                "11:20: spec.subjectAltNames: is not enforced by this build; remove it, since a document is accepted only whole",
                r#"12:3: unknown key "address" in spec; did you mean "addresses"?"#,
            ],
        ),
    ];
    all_refused(KIND, table);
}

fn entries() -> impl Strategy<Value = ServiceEntry> {
    let resolution = prop::sample::select(vec![Resolution::None, Resolution::Static, Resolution::Dns]);
    resolution.prop_flat_map(|resolution| {
        let host = any::host()
            .prop_filter("DNS resolves no wildcard", move |host| resolution != Resolution::Dns || !host.is_wildcard());
        let address = any::network().prop_map(move |network| match resolution {
            Resolution::Dns => IpNet::from(network.addr()),
            _ => network,
        });
        let endpoints = if resolution == Resolution::None { 0..1 } else { 0..3 };
        (vec(host, 1..3), vec(address, 1..3), ports(resolution), vec(endpoint(resolution), endpoints)).prop_map(
            move |(hosts, addresses, ports, mut endpoints)| {
                // Only the entry's own ports may be named.
                let own = |name: &String| ports.iter().any(|port: &EntryPort| port.name == *name);
                endpoints.iter_mut().for_each(|endpoint| endpoint.ports.retain(|name, _| own(name)));
                ServiceEntry { hosts, addresses, ports, resolution, endpoints }
            },
        )
    })
}

fn ports(resolution: Resolution) -> impl Strategy<Value = Vec<EntryPort>> {
    let protocols = <EntryProtocol as crate::rules::value::Word>::ALL;
    let protocol = option::of(prop::sample::select(protocols));
    let target = option::of(any::port());
    let names = prop::sample::subsequence(vec!["http", "8080", "true", "x y"], 1..4);
    let numbers = prop::collection::btree_set(any::port(), 3);
    (names, numbers, vec((protocol, target), 3)).prop_map(move |(names, numbers, rest)| {
        let parts = names.into_iter().zip(numbers).zip(rest);
        let port = |((name, number), (protocol, target)): ((&str, _), (_, Option<_>))| EntryPort {
            number,
            name: name.to_owned(),
            protocol,
            target_port: target.filter(|_| resolution != Resolution::None),
        };
        parts.map(port).collect()
    })
}

fn endpoint(resolution: Resolution) -> impl Strategy<Value = EntryEndpoint> {
    let ip = any::address().prop_map(EndpointAddress::Ip).boxed();
    let name = any::host().prop_map(|host| match host {
        Host::Exact(name) | Host::Below(name) => EndpointAddress::Name(name),
    });
    let address = if resolution == Resolution::Dns { prop_oneof![ip, name].boxed() } else { ip };
    let own = prop::sample::select(vec!["http", "8080", "true", "x y"]).prop_map(str::to_owned);
    (address, prop::collection::btree_map(own, any::port(), 0..3), any::selector())
        .prop_map(|(address, ports, labels)| EntryEndpoint { address, ports, labels: labels.match_labels })
}

proptest! {
    #[test]
    fn what_it_serializes_to_is_read_again(entry in entries()) {
        comes_back(KIND, &Spec::ServiceEntry(entry))?;
    }

    #[test]
    fn damage_is_read_or_refused_with_a_reason(entry in entries(), damage in any::damage()) {
        damage_is_told(KIND, &Spec::ServiceEntry(entry), &damage)?;
    }
}
