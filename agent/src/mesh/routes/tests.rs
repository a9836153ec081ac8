//! Tests of the tables in the snapshot: whatever came before, they are those of the routes that there are.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use proptest::{prelude::*, sample::select};

use crate::{
    mesh::{Compiler, MeshSettings, RouteKind, ServiceName, Snapshot, compile_enforcing},
    objects::{
        AddressType, Change, ConfigMap, EndpointSlice, Kind, Object, ObjectKey, ObjectName, ObjectSet, Protocol,
        Service, ServicePort, SliceEndpoint, SlicePort,
    },
    rules::Enforced,
};

fn settings() -> MeshSettings {
    MeshSettings {
        node: "node-a".into(),
        trust_domain: "cluster.local".parse().unwrap(),
        root_namespace: "heddle-system".into(),
    }
}

/// A route with its name as that of its ConfigMap.
fn route(namespace: &str, name: &str, kind: RouteKind, parents: &[String], day: Option<u64>) -> Change {
    let hostnames = if kind == RouteKind::Tls { "hostnames: [a.example], " } else { "" };
    let parents: Vec<String> = parents.iter().map(|parent| format!("{{group: '', kind: Service, {parent}}}")).collect();
    let text = format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: {kind}, metadata: {{name: {name}}}, spec: \
         {{parentRefs: [{}], {hostnames}rules: [{{backendRefs: [{{name: v1, port: 80}}]}}]}}}}",
        parents.join(", ")
    );
    Change::Put(Object::ConfigMap(Arc::new(ConfigMap {
        name: ObjectName::new(namespace, name),
        uid: None,
        created: day.map(|day| SystemTime::UNIX_EPOCH + Duration::from_secs(day)),
        data: BTreeMap::from([("a".to_owned(), text.into())]),
    })))
}

fn no_route(namespace: &str, name: &str) -> Change {
    Change::Remove(ObjectKey { kind: Kind::ConfigMap, name: ObjectName::new(namespace, name) })
}

fn any_change() -> impl Strategy<Value = Change> {
    let namespace = || select(&["shop", "bank"][..]);
    let name = || select(&["a", "b", "c"][..]);
    let kind = select(&[RouteKind::Grpc, RouteKind::Http, RouteKind::Http, RouteKind::Tls, RouteKind::Tcp][..]);
    let parent = (select(&["web", "db"][..]), namespace(), select(&["", ", port: 80", ", port: 81"][..]))
        .prop_map(|(name, namespace, port)| format!("name: {name}, namespace: {namespace}{port}"));
    let put = (namespace(), name(), kind, parent, prop::option::of(0..3u64))
        .prop_map(|(namespace, name, kind, parent, day)| route(namespace, name, kind, &[parent], day));
    prop_oneof![3 => put, 1 => (namespace(), name()).prop_map(|(namespace, name)| no_route(namespace, name))]
}

fn service_name(name: &str) -> ServiceName {
    ServiceName { namespace: "shop".into(), name: name.into() }
}

/// The routes of a table, the oldest first.
fn names(snapshot: &Snapshot, port: u16, client: &str) -> Vec<String> {
    let table = snapshot.routes().table(&service_name("web"), port, client);
    table.iter().flat_map(|table| table.routes()).map(|route| route.key.to_string()).collect()
}

fn apply(compiler: &mut Compiler, changes: impl IntoIterator<Item = Change>) -> Snapshot {
    compiler.apply(changes).snapshot.unwrap()
}

fn web(port: &str) -> Vec<String> {
    vec![format!("name: web{port}")]
}

#[test]
fn a_route_that_moves_to_another_parent_leaves_the_first_one() {
    let mut compiler = Compiler::enforcing(settings(), Enforced::EVERYTHING);
    let snapshot = apply(&mut compiler, [route("shop", "a", RouteKind::Http, &web(""), None)]);
    assert_eq!(names(&snapshot, 80, "bank"), ["HTTPRoute shop/a"]);
    let elsewhere = ["name: db".to_owned()];
    let snapshot = apply(&mut compiler, [route("shop", "a", RouteKind::Http, &elsewhere, None)]);
    assert_eq!(names(&snapshot, 80, "bank"), [""; 0]);
    assert!(snapshot.routes().table(&service_name("db"), 80, "bank").is_some());
    let snapshot = apply(&mut compiler, [no_route("shop", "a")]);
    assert_eq!(*snapshot.routes(), crate::mesh::Routes::default());
}

#[test]
fn a_kind_that_lost_takes_over_when_the_winner_goes() {
    let mut compiler = Compiler::enforcing(settings(), Enforced::EVERYTHING);
    let both = [
        route("shop", "a", RouteKind::Tcp, &web(""), Some(1)),
        route("shop", "b", RouteKind::Http, &web(", port: 80"), Some(2)),
    ];
    let snapshot = apply(&mut compiler, both);
    assert_eq!(names(&snapshot, 80, "bank"), ["HTTPRoute shop/b"]);
    assert_eq!(names(&snapshot, 81, "bank"), ["TCPRoute shop/a"]);
    let snapshot = apply(&mut compiler, [no_route("shop", "b")]);
    assert_eq!(names(&snapshot, 80, "bank"), ["TCPRoute shop/a"]);
}

#[test]
fn a_config_map_that_is_made_anew_makes_its_route_younger() {
    let mut compiler = Compiler::enforcing(settings(), Enforced::EVERYTHING);
    let (a, b) = (
        |day| route("shop", "a", RouteKind::Http, &web(""), day),
        route("shop", "b", RouteKind::Http, &web(""), Some(2)),
    );
    let snapshot = apply(&mut compiler, [a(Some(1)), b]);
    assert_eq!(names(&snapshot, 80, "bank"), ["HTTPRoute shop/a", "HTTPRoute shop/b"]);
    let snapshot = apply(&mut compiler, [a(Some(3))]);
    assert_eq!(names(&snapshot, 80, "bank"), ["HTTPRoute shop/b", "HTTPRoute shop/a"]);
}

#[test]
fn a_change_of_endpoints_or_services_touches_no_table() {
    let mut compiler = Compiler::enforcing(settings(), Enforced::EVERYTHING);
    let before = apply(&mut compiler, [route("shop", "a", RouteKind::Http, &web(""), None)]);
    let service = |cluster_ip: &str| {
        let port = ServicePort { name: "".into(), port: 80, target: None, protocol: Protocol::Tcp, app_protocol: None };
        Change::Put(Object::Service(Arc::new(Service {
            name: ObjectName::new("shop", "web"),
            cluster_ips: vec![cluster_ip.parse().unwrap()],
            ports: vec![port],
            ..Service::default()
        })))
    };
    let slice = Change::Put(Object::EndpointSlice(Arc::new(EndpointSlice {
        name: ObjectName::new("shop", "web-1"),
        service: Some("web".into()),
        family: AddressType::Ipv4,
        ports: vec![SlicePort { name: "".into(), port: Some(80), protocol: Protocol::Tcp }],
        endpoints: vec![SliceEndpoint {
            address: "10.0.0.1".parse().unwrap(),
            ready: true,
            serving: true,
            terminating: false,
            place: Arc::default(),
        }],
    })));
    for change in [service("10.96.0.1"), slice, service("10.96.0.2")] {
        let after = apply(&mut compiler, [change]);
        let table =
            |snapshot: &Snapshot| Arc::clone(snapshot.routes().table(&service_name("web"), 80, "bank").unwrap());
        assert!(Arc::ptr_eq(&table(&before), &table(&after)));
    }
}

proptest! {
    #[test]
    fn tables_depend_on_the_routes_that_there_are_only(
        batches in prop::collection::vec(prop::collection::vec(any_change(), 1..5), 1..10),
    ) {
        let mut compiler = Compiler::enforcing(settings(), Enforced::EVERYTHING);
        let (mut objects, mut snapshot) = (ObjectSet::default(), Snapshot::default());
        for batch in batches {
            objects.apply(batch.clone());
            snapshot = compiler.apply(batch).snapshot.unwrap_or(snapshot);
            let now = &snapshot;
            let whole = compile_enforcing(&objects, &settings(), Enforced::EVERYTHING).snapshot;
            prop_assert_eq!(now.routes(), whole.routes());
            for (port, client) in [(80, "shop"), (80, "bank"), (81, "shop"), (81, "bank"), (82, "bank")] {
                prop_assert_eq!(names(now, port, client), names(&whole, port, client));
            }
        }
    }
}
