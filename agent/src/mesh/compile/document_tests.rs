//! Tests of what mesh documents change in the snapshot: destinations outside the cluster, and captures.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeMap, net::SocketAddr, time::SystemTime};

use super::*;
use crate::{
    mesh::{Destination, ServiceName},
    objects::{ConfigMap, Map, Object, ObjectKey, ObjectName, Pod},
};

fn compiler() -> Compiler {
    Compiler::new(MeshSettings {
        node: "node-a".into(),
        trust_domain: "cluster.local".parse().unwrap(),
        root_namespace: "heddle-system".into(),
    })
}

/// A ConfigMap of a namespace, with one text.
fn documents(namespace: &str, name: &str, text: &str) -> Change {
    let map = ConfigMap {
        name: ObjectName::new(namespace, name),
        uid: None,
        created: Some(SystemTime::UNIX_EPOCH),
        data: BTreeMap::from([("a".to_owned(), text.into())]),
    };
    Change::Put(Object::ConfigMap(Arc::new(map)))
}

/// Applies changes; every document must have been accepted.
fn apply(compiler: &mut Compiler, changes: impl IntoIterator<Item = Change>) -> Option<Snapshot> {
    let outcome = compiler.apply(changes);
    for status in outcome.documents.into_iter().flatten() {
        assert_eq!(status.state.as_str(), "accepted", "{status}");
    }
    outcome.snapshot
}

fn entry(name: &str, spec: &str) -> String {
    format!("---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

/// What an address stands for, in short: the addresses of its endpoints, or a name, or `outside`.
fn stands_for(snapshot: &Snapshot, address: &str) -> String {
    match snapshot.destination(address.parse().unwrap()) {
        Destination::Service(port) => {
            let all: Vec<String> = port.ready.iter().map(|endpoint| endpoint.address.to_string()).collect();
            format!("{} -> {}", port.service.name, all.join(" "))
        }
        Destination::Named(name) => format!("{} as dialled", name.name),
        Destination::External => "outside".to_owned(),
        other => format!("{other:?}"),
    }
}

#[test]
fn an_entry_names_what_is_dialled_and_says_where_it_goes() {
    let cases = [
        (
            "{hosts: [db.example.com], addresses: [240.0.0.1], ports: [{number: 5432, name: sql, protocol: TCP}], \
             resolution: STATIC, endpoints: [{address: 10.9.0.2}, {address: 10.9.0.1, ports: {sql: 6432}}]}",
            vec![
                ("240.0.0.1:5432", "db.example.com -> 10.9.0.1:6432 10.9.0.2:5432"),
                ("240.0.0.1:80", "outside"),
                ("240.0.0.2:5432", "outside"),
            ],
        ),
        (
            "{hosts: [db.example.com], addresses: [240.0.0.1], ports: [{number: 80, name: http, protocol: HTTP, \
             targetPort: 8080}], resolution: STATIC, endpoints: [{address: 10.9.0.1}]}",
            vec![("240.0.0.1:80", "db.example.com -> 10.9.0.1:8080")],
        ),
        (
            "{hosts: ['*.example.com'], addresses: [203.0.113.0/24], ports: [{number: 443, name: tls, protocol: TLS}], \
             resolution: NONE}",
            vec![
                ("203.0.113.7:443", "*.example.com as dialled"),
                ("203.0.113.7:80", "outside"),
                ("203.0.114.7:443", "outside"),
            ],
        ),
    ];
    for (spec, expected) in cases {
        let mut compiler = compiler();
        let snapshot = apply(&mut compiler, [documents("shop", "m", &entry("e", spec))]).unwrap();
        for (address, meaning) in expected {
            assert_eq!(stands_for(&snapshot, address), meaning, "{address} with {spec}");
        }
    }
}

#[test]
fn the_smallest_network_with_the_port_wins() {
    let none = |name: &str, network: &str, port: u16| {
        let spec = format!(
            "{{hosts: [{name}.example.com], addresses: [{network}], ports: [{{number: {port}, name: p, protocol: TCP}}], resolution: NONE}}"
        );
        entry(name, &spec)
    };
    let text =
        none("wide", "203.0.0.0/16", 443) + &none("narrow", "203.0.113.0/24", 443) + &none("one", "203.0.113.9", 80);
    let mut compiler = compiler();
    let snapshot = apply(&mut compiler, [documents("shop", "m", &text)]).unwrap();
    assert_eq!(stands_for(&snapshot, "203.0.113.9:443"), "narrow.example.com as dialled");
    assert_eq!(stands_for(&snapshot, "203.0.113.9:80"), "one.example.com as dialled");
    assert_eq!(stands_for(&snapshot, "203.0.1.1:443"), "wide.example.com as dialled");
}

#[test]
fn names_are_resolved_aside_and_what_they_resolve_to_is_what_is_dialled() {
    let text = entry(
        "api",
        "{hosts: [api.example.com], ports: [{number: 443, name: tls, protocol: TLS}], resolution: DNS}",
    ) + &entry(
        "db",
        "{hosts: [db.example.com], addresses: [240.0.0.1], ports: [{number: 1, name: p, protocol: TCP}], resolution: DNS, \
         endpoints: [{address: db1.example.com}]}",
    );
    let mut compiler = compiler();
    let snapshot = apply(&mut compiler, [documents("shop", "m", &text)]).unwrap();
    let wanted = crate::mesh::names_to_resolve(snapshot.rules());
    assert_eq!(wanted.iter().map(String::as_str).collect::<Vec<_>>(), ["api.example.com", "db1.example.com"]);
    assert_eq!(stands_for(&snapshot, "198.51.100.1:443"), "outside", "nothing is known of the name yet");
    assert_eq!(stands_for(&snapshot, "240.0.0.1:1"), "db.example.com -> ");

    let address = |text: &str| text.parse().unwrap();
    let names = Names::from([
        ("api.example.com".to_owned(), [address("198.51.100.1"), address("2001:db8::1")].into()),
        ("db1.example.com".to_owned(), [address("10.9.0.1")].into()),
    ]);
    let snapshot = compiler.resolve(names.clone()).unwrap();
    assert_eq!(stands_for(&snapshot, "198.51.100.1:443"), "api.example.com -> 198.51.100.1:443");
    assert_eq!(stands_for(&snapshot, "[2001:db8::1]:443"), "api.example.com -> [2001:db8::1]:443");
    assert_eq!(stands_for(&snapshot, "240.0.0.1:1"), "db.example.com -> 10.9.0.1:1");
    assert!(compiler.resolve(names).is_none(), "the same answer changes nothing");
}

#[test]
fn an_entry_that_goes_leaves_nothing() {
    let spec = "{hosts: [a.example.com], addresses: [240.0.0.1], ports: [{number: 1, name: p, protocol: TCP}], resolution: NONE}";
    let mut compiler = compiler();
    apply(&mut compiler, [documents("shop", "m", &entry("e", spec))]).unwrap();
    let key = ObjectKey { kind: crate::objects::Kind::ConfigMap, name: ObjectName::new("shop", "m") };
    let snapshot = apply(&mut compiler, [Change::Remove(key)]).unwrap();
    assert_eq!(stands_for(&snapshot, "240.0.0.1:1"), "outside");
    assert_eq!((snapshot.rules().len(), snapshot.entries().iter().count()), (0, 0));
}

#[test]
fn an_outside_host_is_named_as_it_is() {
    let name = |name: &str| ServiceName { namespace: "shop".into(), name: name.into() }.host();
    assert_eq!(name("api.example.com"), "api.example.com");
    assert_eq!(name("web"), "web.shop.svc.cluster.local");
}

fn pod(namespace: &str, app: &str) -> Change {
    let labels = Map::from([("heddle.io/mesh".to_owned(), "enabled".to_owned()), ("app".to_owned(), app.to_owned())]);
    let annotations = Map::from([
        ("heddle.io/netns".to_owned(), format!("/run/netns/{namespace}-{app}")),
        ("heddle.io/exclude-inbound-ports".to_owned(), "22".to_owned()),
    ]);
    let host = u8::try_from(namespace.len() + 16 * app.len()).unwrap();
    Change::Put(Object::Pod(Arc::new(Pod {
        name: ObjectName::new(namespace, app),
        labels: labels.into(),
        annotations: annotations.into(),
        node: Some("node-a".into()),
        addresses: vec![SocketAddr::from(([10, 0, 0, host], 0)).ip()].into(),
        ..Pod::default()
    })))
}

/// The ports that pods exclude inbound, by `namespace/name`.
fn excluded(snapshot: &Snapshot) -> BTreeMap<String, Vec<u16>> {
    let rules =
        |workload: &Arc<crate::mesh::Workload>| workload.local.as_ref().unwrap().rules.exclude_inbound_ports.clone();
    let pods = snapshot.local_pods().iter();
    pods.map(|workload| (format!("{}/{}", workload.namespace, workload.name), rules(workload))).collect()
}

#[test]
fn captures_add_to_annotations_for_the_pods_that_they_select() {
    let capture = |name: &str, spec: &str| {
        format!("---\napiVersion: heddle.io/v1alpha1\nkind: Capture\nmetadata: {{name: {name}}}\nspec: {spec}\n")
    };
    let mut compiler = compiler();
    apply(&mut compiler, [pod("shop", "web"), pod("shop", "db"), pod("bank", "vault")]).unwrap();
    let text = capture("all", "{excludeInboundPorts: [9090]}")
        + &capture("db", "{selector: {matchLabels: {app: db}}, excludeInboundPorts: [5432, 22]}");
    let snapshot = apply(&mut compiler, [documents("shop", "m", &text)]).unwrap();
    let expected = [("bank/vault", vec![22]), ("shop/db", vec![22, 5432, 9090]), ("shop/web", vec![22, 9090])];
    assert_eq!(excluded(&snapshot), expected.map(|(name, ports)| (name.to_owned(), ports)).into());

    let text = capture("mesh", "{excludeInboundPorts: [10250]}");
    let snapshot = apply(&mut compiler, [documents("heddle-system", "m", &text), documents("shop", "m", "")]).unwrap();
    let expected = [("bank/vault", vec![22, 10250]), ("shop/db", vec![22, 10250]), ("shop/web", vec![22, 10250])];
    assert_eq!(excluded(&snapshot), expected.map(|(name, ports)| (name.to_owned(), ports)).into());
}

#[test]
fn shares_of_pods_are_those_of_the_captures_that_select_them_and_only_the_root_namespace_gives() {
    let capture = |name: &str, spec: &str| {
        format!("---\napiVersion: heddle.io/v1alpha1\nkind: Capture\nmetadata: {{name: {name}}}\nspec: {spec}\n")
    };
    let shares = |snapshot: &Snapshot| {
        let default = crate::shares::Share { weight: 100, connections: 1000, handshakes: 100, buffer_bytes: 1 << 24 };
        let pods = snapshot.local_pods().iter();
        let share = |workload: &crate::mesh::Workload| workload.local.as_ref().unwrap().share.of(default);
        pods.map(|pod| (pod.name.to_string(), (share(pod).weight, share(pod).connections))).collect::<BTreeMap<_, _>>()
    };
    let mut compiler = compiler();
    apply(&mut compiler, [pod("shop", "web"), pod("shop", "db"), pod("heddle-system", "tool")]).unwrap();
    let of_the_shop = capture("all", "{share: {connections: 70}}")
        + &capture("db", "{selector: {matchLabels: {app: db}}, share: {weight: 900, connections: 50}}");
    let snapshot = apply(&mut compiler, [documents("shop", "m", &of_the_shop)]).unwrap();
    let expected = [("db", (100, 50)), ("tool", (100, 1000)), ("web", (100, 70))];
    assert_eq!(shares(&snapshot), expected.map(|(name, share)| (name.to_owned(), share)).into());

    let of_the_mesh = capture("mesh", "{share: {weight: 500, connections: 60}}");
    let snapshot = apply(&mut compiler, [documents("heddle-system", "m", &of_the_mesh)]).unwrap();
    let expected = [("db", (500, 50)), ("tool", (500, 60)), ("web", (500, 60))];
    assert_eq!(shares(&snapshot), expected.map(|(name, share)| (name.to_owned(), share)).into());
}

/// Clients' nodes ask it, so it is known of pods of other nodes too, and of those outside the mesh.
#[test]
fn opaque_ports_of_every_pod_are_those_of_its_annotation_and_of_the_captures_that_select_it() {
    let elsewhere = |name: &str, host: u8, annotation: &str| {
        let Change::Put(Object::Pod(pod)) = pod("shop", name) else { unreachable!() };
        let annotations = Map::from([("heddle.io/opaque-ports".to_owned(), annotation.to_owned())]);
        Change::Put(Object::Pod(Arc::new(Pod {
            annotations: annotations.into(),
            node: Some("node-b".into()),
            addresses: vec![SocketAddr::from(([10, 0, 9, host], 0)).ip()].into(),
            ..(*pod).clone()
        })))
    };
    let of = |snapshot: &Snapshot, host: u8| {
        let workload = snapshot.workload(SocketAddr::from(([10, 0, 9, host], 0)).ip()).unwrap();
        assert!(workload.opaque_ports.iter().all(|port| workload.is_opaque(*port)) && !workload.is_opaque(1));
        workload.opaque_ports.to_vec()
    };
    let capture = |name: &str, spec: &str| {
        format!("---\napiVersion: heddle.io/v1alpha1\nkind: Capture\nmetadata: {{name: {name}}}\nspec: {spec}\n")
    };
    let mut compiler = compiler();
    let outcome = compiler.apply([elsewhere("db", 1, "5432, 22"), elsewhere("web", 2, "none")]);
    let snapshot = outcome.snapshot.unwrap();
    assert_eq!((of(&snapshot, 1), of(&snapshot, 2)), (vec![22, 5432], vec![]));
    assert_eq!(outcome.new_problems, [], "the pod's own node tells it");

    let text = capture("db", "{selector: {matchLabels: {app: db}}, opaquePorts: [3306, 22]}");
    let snapshot = apply(&mut compiler, [documents("shop", "m", &text)]).unwrap();
    assert_eq!((of(&snapshot, 1), of(&snapshot, 2)), (vec![22, 3306, 5432], vec![]));
    let mesh = capture("mesh", "{opaquePorts: [25]}");
    let snapshot = apply(&mut compiler, [documents("heddle-system", "m", &mesh), documents("shop", "m", "")]).unwrap();
    assert_eq!((of(&snapshot, 1), of(&snapshot, 2)), (vec![22, 25, 5432], vec![25]));
    let snapshot = apply(&mut compiler, [documents("heddle-system", "m", "")]).unwrap();
    assert_eq!((of(&snapshot, 1), of(&snapshot, 2)), (vec![22, 5432], vec![]));
}

#[test]
fn the_mode_of_the_older_config_map_counts_also_when_one_is_made_anew() {
    let map = |name: &str, day: u64, text: &str| {
        let created = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(day * 86_400);
        let Change::Put(Object::ConfigMap(map)) = documents("shop", name, text) else { unreachable!() };
        Change::Put(Object::ConfigMap(Arc::new(ConfigMap { created: Some(created), ..(*map).clone() })))
    };
    let mode = |name: &str, mode: &str| {
        format!(
            "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: {name}}}\n\
             spec: {{selector: {{matchLabels: {{app: web}}}}, mtls: {{mode: {mode}}}}}\n"
        )
    };
    let web = crate::mesh::testing::pod("shop", &[("app", "web")]);
    let said = |snapshot: &Snapshot| snapshot.modes().of(&web, 80).map(|said| said.mode.to_string());
    let (strict, permissive) = (mode("a", "STRICT"), mode("b", "PERMISSIVE"));
    let mut compiler = compiler();
    let snapshot = apply(&mut compiler, [map("young", 2, &strict), map("old", 1, &permissive)]).unwrap();
    assert_eq!(said(&snapshot).as_deref(), Some("PERMISSIVE"));
    let snapshot = apply(&mut compiler, [map("old", 3, &permissive)]).unwrap();
    assert_eq!(said(&snapshot).as_deref(), Some("STRICT"), "the same text, but of a younger ConfigMap");
    let gone = ["young", "old"].map(|name| {
        Change::Remove(ObjectKey { kind: crate::objects::Kind::ConfigMap, name: ObjectName::new("shop", name) })
    });
    assert_eq!(said(&apply(&mut compiler, gone).unwrap()), None);
}
