//! Property: whatever came before, and in whatever batches, the outcome is that of the objects that there are.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, SystemTime},
};

use proptest::{option, prelude::*, sample::select};

use super::*;
use crate::mesh::Netns;
use crate::objects::{
    AddressType, EndpointSlice, Kind, Map, Namespace, Node, Object, ObjectKey, ObjectName, Place, Pod, PodPhase,
    Protocol, Service, ServiceKind, ServicePort, SliceEndpoint, SlicePort, TrafficDistribution,
};

fn settings() -> MeshSettings {
    MeshSettings {
        node: "node-a".into(),
        trust_domain: "cluster.local".parse().unwrap(),
        root_namespace: "heddle-system".into(),
    }
}

/// Few names and values, so that objects collide all the time.
fn name() -> impl Strategy<Value = ObjectName> {
    (select(&["shop", "other"][..]), select(&["a", "b", "c", "d"][..])).prop_map(|(ns, name)| ObjectName::new(ns, name))
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        3 => (1..4u8).prop_map(|host| Ipv4Addr::new(10, 0, 0, host).into()),
        1 => (1..3u16).prop_map(|host| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host).into()),
    ]
}

fn map(key: &'static str, values: &'static [&'static str]) -> impl Strategy<Value = Map> {
    option::of(select(values))
        .prop_map(move |value| value.map(|value| (key.into(), value.into())).into_iter().collect())
}

fn namespace() -> impl Strategy<Value = Object> {
    (select(&["shop", "other"][..]), map("heddle.io/mesh", &["enabled", "disabled", "maybe"]))
        .prop_map(|(name, labels)| Object::Namespace(Namespace { name: name.into(), labels }.into()))
}

fn node() -> impl Strategy<Value = Object> {
    (select(&["node-a", "node-b"][..]), map("topology.kubernetes.io/zone", &["z1", "z2"]))
        .prop_map(|(name, labels)| Object::Node(Node { name: name.into(), labels, ..Node::default() }.into()))
}

fn pod() -> impl Strategy<Value = Object> {
    let whose = (name(), option::of(select(&["u1", "u2", "shop/a"][..])), option::of(0..3u64));
    let what = (
        map("heddle.io/mesh", &["enabled", "disabled", "maybe"]),
        map("heddle.io/netns", &["/n/1", "/n/2", "bad"]),
        select(&["node-a", "node-b"][..]),
    );
    let state = (
        prop::bool::weighted(0.1),
        select(&[PodPhase::Running, PodPhase::Running, PodPhase::Pending, PodPhase::Failed][..]),
        prop::collection::vec(address(), 0..3),
    );
    (whose, what, state).prop_map(
        |((name, uid, day), (labels, annotations, node), (host_network, phase, addresses))| {
            let created = day.map(|day| SystemTime::UNIX_EPOCH + Duration::from_secs(day * 86_400));
            Object::Pod(Arc::new(Pod {
                name,
                uid: uid.map(Into::into),
                labels: labels.into(),
                annotations: annotations.into(),
                created,
                node: Some(node.into()),
                host_network,
                phase,
                addresses: addresses.into(),
                ..Pod::default()
            }))
        },
    )
}

fn service() -> impl Strategy<Value = Object> {
    let port = (select(&["", "x", "y"][..]), 80..83u16).prop_map(|(name, port)| ServicePort {
        name: name.into(),
        port,
        target: None,
        protocol: Protocol::Tcp,
        app_protocol: None,
    });
    let kinds = &[ServiceKind::ClusterIp, ServiceKind::ClusterIp, ServiceKind::ExternalName][..];
    let distributions = &[TrafficDistribution::Any, TrafficDistribution::SameZone, TrafficDistribution::SameNode][..];
    let ports = prop::collection::vec(port, 0..3);
    let addresses = prop::collection::vec(address(), 0..3);
    let terms = (any::<bool>(), any::<bool>(), select(distributions));
    (name(), select(kinds), addresses, ports, terms).prop_map(|(name, kind, cluster_ips, ports, terms)| {
        let (publish_not_ready, local_only, distribution) = terms;
        Object::Service(Arc::new(Service {
            name,
            kind,
            cluster_ips,
            ports,
            publish_not_ready,
            local_only,
            distribution,
            ..Service::default()
        }))
    })
}

fn endpoint() -> impl Strategy<Value = SliceEndpoint> {
    let names = |names: &'static [&'static str]| option::of(select(names).prop_map(Arc::<str>::from));
    let place =
        (names(&["node-a", "node-b"]), names(&["z1", "z2"]), names(&["z1", "z2"]), names(&["node-a", "node-b"]));
    (address(), any::<[bool; 3]>(), place).prop_map(|(address, [ready, serving, terminating], place)| {
        let (node, zone, hinted_zones, hinted_nodes) = place;
        let (hinted_zones, hinted_nodes) = (hinted_zones.into_iter().collect(), hinted_nodes.into_iter().collect());
        let place = Arc::new(Place { node, zone, hinted_zones, hinted_nodes });
        SliceEndpoint { address, ready, serving, terminating, place }
    })
}

fn slice() -> impl Strategy<Value = Object> {
    let port = (select(&["", "x", "y"][..]), option::of(8080..8082u16)).prop_map(|(name, port)| SlicePort {
        name: name.into(),
        port,
        protocol: Protocol::Tcp,
    });
    let families = &[AddressType::Ipv4, AddressType::Ipv4, AddressType::Ipv6, AddressType::Fqdn][..];
    let ports = prop::collection::vec(port, 0..3);
    let endpoints = prop::collection::vec(endpoint(), 0..4);
    (name(), option::of(select(&["a", "b"][..])), select(families), ports, endpoints).prop_map(
        |(name, service, family, ports, mut endpoints)| {
            endpoints.retain(|endpoint| endpoint.address.is_ipv4() == (family == AddressType::Ipv4));
            Object::EndpointSlice(Arc::new(EndpointSlice {
                name,
                service: service.map(Into::into),
                family,
                ports,
                endpoints,
            }))
        },
    )
}

fn change() -> impl Strategy<Value = Change> {
    let put = prop_oneof![1 => namespace(), 1 => node(), 5 => pod(), 3 => service(), 4 => slice()];
    let kinds = &[Kind::Namespace, Kind::Node, Kind::Pod, Kind::Pod, Kind::Service, Kind::EndpointSlice][..];
    let key = (select(kinds), name(), any::<bool>()).prop_map(|(kind, name, first)| {
        let name = match kind {
            Kind::Namespace => ObjectName::new("", &name.namespace),
            Kind::Node => ObjectName::new("", if first { "node-a" } else { "node-b" }),
            _ => name,
        };
        ObjectKey { kind, name }
    });
    prop_oneof![3 => put.prop_map(Change::Put), 1 => key.prop_map(Change::Remove)]
}

/// Each address has one holder, and so has each network namespace that has a path.
fn check_holders(snapshot: &Snapshot) {
    let local = snapshot.local_pods().iter().map(|pod| &pod.local.as_ref().unwrap().netns);
    let paths: Vec<_> = local.filter(|netns| matches!(netns, Netns::Path(_))).collect();
    assert_eq!(paths.iter().collect::<BTreeSet<_>>().len(), paths.len());
    for workload in snapshot.workloads() {
        assert!(workload.addresses.iter().any(|address| snapshot.workload(*address) == Some(workload)));
    }
}

proptest! {
    #[test]
    fn outcome_depends_on_the_objects_only(batches in prop::collection::vec(prop::collection::vec(change(), 1..8), 1..16)) {
        let settings = settings();
        let mut compiler = Compiler::new(settings.clone());
        let mut objects = ObjectSet::default();
        let (mut snapshot, mut problems) = (Snapshot::default(), Vec::new());
        for batch in batches {
            objects.apply(batch.clone());
            let outcome = compiler.apply(batch);
            let Compiled { snapshot: expected, problems: expected_problems, .. } = compile(&objects, &settings);

            prop_assert_eq!(outcome.snapshot.is_some(), !expected.same_contents(&snapshot), "said so only if it changed");
            snapshot = outcome.snapshot.unwrap_or(snapshot);
            prop_assert!(snapshot.same_contents(&expected), "{:#?}\n{:#?}", snapshot, expected);

            prop_assert_eq!(outcome.problems.is_some(), problems != expected_problems);
            let new: Vec<_> = expected_problems.iter().filter(|problem| !problems.contains(*problem)).collect();
            prop_assert_eq!(outcome.new_problems.len(), new.len());
            prop_assert!(new.iter().all(|problem| outcome.new_problems.contains(problem)));
            problems = outcome.problems.unwrap_or(problems);
            prop_assert_eq!(&problems, &expected_problems);
            check_holders(&snapshot);
        }
    }
}
