//! Tests of the compiler: objects in, snapshot and problems out.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{net::SocketAddr, time::Duration};

use super::*;
use crate::{
    config::yaml::split,
    mesh::{AddressFamily, Choice, Destination, Membership, Netns, Service, ServiceKind, ServiceName, Workload},
    objects::objects_of,
};

/// A set of the objects in a text; none may be broken.
fn set(text: &str) -> ObjectSet {
    let mut set = ObjectSet::default();
    for document in split(text) {
        for object in objects_of("f", text, &document.parse("f", text).unwrap()) {
            set.insert(object);
        }
    }
    set
}

fn settings() -> MeshSettings {
    MeshSettings {
        node: "node-a".into(),
        trust_domain: "cluster.local".parse().unwrap(),
        root_namespace: "heddle-system".into(),
    }
}

fn compiled(text: &str) -> (Snapshot, Vec<String>) {
    let Compiled { snapshot, problems, .. } = compile(&set(text), &settings());
    (snapshot, problems.iter().map(ToString::to_string).collect())
}

const SHOP: &str = "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {heddle.io/mesh: enabled}}}\n";

/// A pod of namespace shop on node-a; `metadata` and `spec` and `status` are added to what it has.
fn pod(name: &str, ip: &str, metadata: &str, spec: &str, status: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop{metadata}}}\n\
         spec: {{nodeName: node-a{spec}}}\nstatus: {{podIP: \"{ip}\"{status}}}\n"
    )
}

fn netns(name: &str) -> String {
    format!(", annotations: {{heddle.io/netns: /run/netns/{name}}}")
}

fn service(snapshot: &Snapshot, name: &str) -> Arc<Service> {
    Arc::clone(snapshot.service(&ServiceName { namespace: "shop".into(), name: name.into() }).unwrap())
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn workload(snapshot: &Snapshot, ip: &str) -> Arc<Workload> {
    Arc::clone(snapshot.workload(ip.parse().unwrap()).unwrap())
}

#[test]
fn enrolled_pod_of_this_node_is_complete() {
    let metadata = ", uid: u1, labels: {app: web, version: v2, pod-template-hash: 7d4},\n  \
         ownerReferences: [{kind: ReplicaSet, name: web-7d4, controller: true}],\n  \
         annotations: {heddle.io/netns: /run/netns/web, heddle.io/exclude-inbound-ports: \"9090, 22\",\n  \
         heddle.io/exclude-outbound-ports: \"25\", heddle.io/exclude-outbound-cidrs: \"10.9.0.0/16,fd00::/8\"}";
    let (snapshot, problems) =
        compiled(&(SHOP.to_owned() + &pod("web-7d4-x", "10.0.0.1", metadata, ", serviceAccountName: web", "")));
    assert_eq!(problems, Vec::<String>::new());
    let [web] = snapshot.local_pods() else { panic!("{snapshot:?}") };
    assert_eq!(web.identity.to_string(), "spiffe://cluster.local/ns/shop/sa/web");
    assert_eq!((&*web.uid.0, &*web.node, web.membership), ("u1", "node-a", Membership::Enrolled));
    assert_eq!((&*web.owner, &*web.app, &*web.version), ("web", "web", "v2"));
    assert_eq!((&*web.canonical_service, &*web.canonical_revision), ("web", "v2"));
    let local = web.local.as_ref().unwrap();
    assert_eq!(local.netns, Netns::Path("/run/netns/web".into()));
    assert_eq!(local.rules.exclude_inbound_ports, [22, 9090]);
    assert_eq!(local.rules.exclude_outbound_ports, [25]);
    assert_eq!(local.rules.exclude_outbound_cidrs.len(), 2);
    assert_eq!(snapshot.destination(address("10.0.0.1:80")), Destination::Workload(Arc::clone(web)));
    assert_eq!(snapshot.destination(address("10.0.0.2:80")), Destination::External);
}

#[test]
fn labels_name_the_workload() {
    let cases = [
        ("", ("p", "", "", "p", "latest")),
        (", labels: {app: a}", ("p", "a", "", "a", "latest")),
        (
            ", labels: {app: a, app.kubernetes.io/name: k, app.kubernetes.io/version: v3, version: v1}",
            ("p", "k", "v3", "k", "v3"),
        ),
        (
            ", labels: {app: a, service.istio.io/canonical-name: c, service.istio.io/canonical-revision: r}",
            ("p", "a", "", "c", "r"),
        ),
        (", ownerReferences: [{kind: StatefulSet, name: db}]", ("db", "", "", "db", "latest")),
        (
            ", labels: {pod-template-hash: abc}, ownerReferences: [{kind: ReplicaSet, name: x-y-abc}]",
            ("x-y", "", "", "x-y", "latest"),
        ),
        (", ownerReferences: [{kind: ReplicaSet, name: x-y}]", ("x-y", "", "", "x-y", "latest")),
    ];
    for (metadata, expected) in cases {
        let (snapshot, _) = compiled(&pod("p", "10.0.0.1", metadata, "", ""));
        let w = workload(&snapshot, "10.0.0.1");
        let found = (&*w.owner, &*w.app, &*w.version, &*w.canonical_service, &*w.canonical_revision);
        assert_eq!(found, expected, "{metadata}");
    }
}

#[test]
fn membership_follows_pod_then_namespace() {
    let cases = [
        ("enabled", "", Membership::Enrolled),
        ("enabled", ", labels: {heddle.io/mesh: disabled}", Membership::Outside),
        ("disabled", "", Membership::Outside),
        ("disabled", ", labels: {heddle.io/mesh: enabled}", Membership::Enrolled),
    ];
    for (namespace, metadata, expected) in cases {
        let text =
            SHOP.replace("enabled", namespace) + &pod("p", "10.0.0.1", metadata, "", "").replace("node-a", "node-b");
        let (snapshot, problems) = compiled(&text);
        assert_eq!(workload(&snapshot, "10.0.0.1").membership, expected, "{namespace} {metadata}");
        assert_eq!(problems, Vec::<String>::new());
        assert!(snapshot.local_pods().is_empty(), "a pod of another node is enrolled there");
    }
}

#[test]
fn labels_that_are_not_understood_are_reported() {
    let text = SHOP.replace("enabled", "\"yes\"")
        + &pod("a", "10.0.0.1", ", labels: {heddle.io/mesh: \"true\"}", "", "")
        + &pod("b", "10.0.0.2", "", "", "");
    let (snapshot, problems) = compiled(&text);
    assert_eq!(
        problems,
        [
            "Namespace shop: label heddle.io/mesh: found \"yes\", allowed: enabled or disabled; until then only pods with a label of their own are enrolled",
            "Pod shop/a: label heddle.io/mesh: found \"true\", allowed: enabled or disabled; until then the namespace's label decides",
        ]
    );
    assert_eq!(workload(&snapshot, "10.0.0.1").membership, Membership::Outside);
}

#[test]
fn host_network_and_finished_pods_have_no_address() {
    let text = SHOP.to_owned()
        + &pod("host", "192.168.0.1", ", labels: {heddle.io/mesh: enabled}", ", hostNetwork: true", "")
        + &pod("done", "10.0.0.1", &netns("a"), "", ", phase: Succeeded")
        + &pod("failed", "10.0.0.2", &netns("b"), "", ", phase: Failed");
    let (snapshot, problems) = compiled(&text);
    assert!(snapshot.workloads().is_empty() && snapshot.local_pods().is_empty());
    assert_eq!(
        problems,
        ["Pod shop/host: label heddle.io/mesh: enabled has no effect on a host-network pod; remove the label"]
    );
}

#[test]
fn bad_exclusion_is_reported_and_excludes_nothing() {
    let cases = [
        (
            "exclude-inbound-ports",
            "80,http",
            "\"http\" in \"80,http\", allowed: port numbers from 1 to 65535, separated by commas",
        ),
        ("exclude-outbound-ports", "0", "\"0\" in \"0\", allowed: port numbers from 1 to 65535, separated by commas"),
        (
            "exclude-outbound-cidrs",
            "10.0.0.0/33",
            "\"10.0.0.0/33\" in \"10.0.0.0/33\", allowed: networks such as 10.0.0.0/8 or fd00::/8, separated by commas",
        ),
    ];
    for (annotation, value, found) in cases {
        let metadata = format!(", annotations: {{heddle.io/netns: /n, heddle.io/{annotation}: \"{value}\"}}");
        let (snapshot, problems) = compiled(&(SHOP.to_owned() + &pod("p", "10.0.0.1", &metadata, "", "")));
        let expected = format!(
            "Pod shop/p: annotation heddle.io/{annotation}: found {found}; until then the annotation has no effect"
        );
        assert_eq!(problems, [expected]);
        let [local] = snapshot.local_pods() else { panic!("the pod is enrolled all the same") };
        assert_eq!(local.local.as_ref().unwrap().rules, Default::default());
    }
}

#[test]
fn local_pod_with_a_uid_needs_no_annotation() {
    let text = SHOP.to_owned() + &pod("p", "10.0.0.1", ", uid: 0b1c2d3e-4f50", "", "");
    let (snapshot, problems) = compiled(&text);
    assert_eq!(problems, [""; 0]);
    assert_eq!(snapshot.local_pods()[0].local.as_ref().unwrap().netns, Netns::OfUid);
}

#[test]
fn local_pod_without_namespace_or_address_is_reported() {
    let remedy = "allowed: an absolute path such as /run/netns/NAME; until then the pod is not captured and its peers cannot reach it";
    for (metadata, found) in [("", "nothing"), (", annotations: {heddle.io/netns: web}", "\"web\"")] {
        let (snapshot, problems) = compiled(&(SHOP.to_owned() + &pod("p", "10.0.0.1", metadata, "", "")));
        assert_eq!(problems, [format!("Pod shop/p: annotation heddle.io/netns: found {found}, {remedy}")]);
        assert!(snapshot.local_pods().is_empty());
        assert_eq!(
            workload(&snapshot, "10.0.0.1").membership,
            Membership::Enrolled,
            "its peers never fall back to plaintext"
        );
    }
    let without = SHOP.to_owned()
        + "---\n{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: shop}, spec: {nodeName: node-a}";
    let (_, problems) = compiled(&(without.clone() + "}"));
    assert_eq!(
        problems,
        ["Pod shop/p: status.podIPs: missing, must be the pod's addresses; until then the pod is not enrolled"]
    );
    let (_, problems) = compiled(&(without + ", status: {phase: Pending}}"));
    assert_eq!(problems, Vec::<String>::new(), "a pending pod gets its address later");
}

#[test]
fn newer_pod_takes_the_address() {
    let old = pod("z-old", "10.0.0.1", ", uid: u9, creationTimestamp: 2025-01-01T00:00:00Z", "", "");
    let new = pod("a-new", "10.0.0.1", ", uid: u1, creationTimestamp: 2025-01-02T00:00:00Z", "", "");
    let (snapshot, problems) = compiled(&(old + &new));
    assert_eq!(&*workload(&snapshot, "10.0.0.1").name, "a-new");
    assert_eq!(problems, ["Pod shop/z-old: address 10.0.0.1 now belongs to the newer pod shop/a-new"]);
    let same_time = pod("a", "10.0.0.1", ", uid: u2", "", "") + &pod("b", "10.0.0.1", ", uid: u1", "", "");
    assert_eq!(&*workload(&compiled(&same_time).0, "10.0.0.1").name, "a", "the greater uid wins");
}

#[test]
fn one_namespace_and_one_uid_belong_to_one_pod() {
    let text = SHOP.to_owned()
        + &pod("a", "10.0.0.1", &(", uid: u1".to_owned() + &netns("x")), "", "")
        + &pod("b", "10.0.0.2", &(", uid: u2".to_owned() + &netns("x")), "", "")
        + &pod("c", "10.0.0.3", &(", uid: u1".to_owned() + &netns("y")), "", "");
    let (snapshot, problems) = compiled(&text);
    assert_eq!(
        problems,
        [
            "Pod shop/a: network namespace /run/netns/x is also that of the newer pod shop/b; it is not enrolled",
            "Pod shop/c: metadata.uid: \"u1\" is another pod's too; give each pod its own, or none",
        ]
    );
    let local: Vec<_> = snapshot.local_pods().iter().map(|w| (&*w.name, &*w.uid.0)).collect();
    assert_eq!(local, [("c", "shop/c"), ("b", "u2")]);
}

const WEB: &str = r#"
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIPs: [10.96.0.1, "fd00:96::1"]
  ports: [{name: http, port: 80}, {name: admin, port: 81}, {name: dns, port: 53, protocol: UDP}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-4, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: dns, port: 53, protocol: UDP}]
endpoints:
- {addresses: [10.0.0.2], conditions: {ready: true}}
- {addresses: [10.0.0.1]}
- {addresses: [10.0.0.3], conditions: {ready: false}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-4-again, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.0.0.1]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-6, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv6
ports: [{name: http, port: 8080}]
endpoints: [{addresses: ["fd00::1"]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web, namespace: elsewhere, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.0.0.66]}]
"#;

/// The ready endpoints behind a virtual address.
fn behind(snapshot: &Snapshot, dialled: &str) -> Vec<String> {
    match snapshot.destination(address(dialled)) {
        Destination::Service(port) => port.ready.iter().map(|endpoint| endpoint.address.to_string()).collect(),
        other => panic!("{dialled}: {other:?}"),
    }
}

#[test]
fn cluster_ip_has_the_ready_endpoints_of_its_family() {
    let (snapshot, problems) = compiled(&(WEB.to_owned() + &pod("web", "10.0.0.1", "", "", "")));
    assert_eq!(problems, Vec::<String>::new());
    let twice = "10.0.0.1:8080";
    assert_eq!(behind(&snapshot, "10.96.0.1:80"), ["10.0.0.1:8080", "10.0.0.2:8080", twice], "two slices list it");
    assert_eq!(behind(&snapshot, "[fd00:96::1]:80"), ["[fd00::1]:8080"]);
    assert_eq!(behind(&snapshot, "10.96.0.1:81"), Vec::<String>::new(), "no slice has a port of this name");
    for not_a_port in ["10.96.0.1:53", "10.96.0.1:8080"] {
        assert!(
            matches!(snapshot.destination(address(not_a_port)), Destination::UnknownServicePort(_)),
            "{not_a_port}"
        );
    }
    let Destination::Service(port) = snapshot.destination(address("10.96.0.1:80")) else { panic!("no service") };
    assert_eq!(port.family, AddressFamily::V4);
    assert_eq!((&*port.service.name, &*port.name), ("web", "http"));
}

#[test]
fn service_that_publishes_not_ready_addresses_has_them_all() {
    let (snapshot, _) = compiled(&WEB.replace("spec:\n", "spec:\n  publishNotReadyAddresses: true\n"));
    assert_eq!(behind(&snapshot, "10.96.0.1:80"), ["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080", "10.0.0.1:8080"]);
}

#[test]
fn headless_service_has_endpoints_but_no_address() {
    let (snapshot, _) = compiled(&WEB.replace("clusterIPs: [10.96.0.1, \"fd00:96::1\"]", "clusterIP: None"));
    assert_eq!(snapshot.destination(address("10.96.0.1:80")), Destination::External);
    let service = service(&snapshot, "web");
    assert_eq!(service.kind, ServiceKind::Headless);
    let ports: Vec<_> = service.ports.iter().map(|port| (port.port, port.family, port.ready.len())).collect();
    use AddressFamily::{V4, V6};
    assert_eq!(ports, [(80, V4, 3), (80, V6, 1), (81, V4, 0), (81, V6, 0)]);
}

#[test]
fn external_name_is_known_by_name_only() {
    let text = WEB.replace("  clusterIPs:", "  type: ExternalName\n  externalName: web.example\n  clusterIPs:");
    let (snapshot, problems) = compiled(&text);
    assert_eq!(problems, Vec::<String>::new());
    let service = service(&snapshot, "web");
    assert_eq!((service.kind, service.addresses.len(), service.ports.len()), (ServiceKind::ExternalName, 0, 0));
    assert_eq!(snapshot.destination(address("10.96.0.1:80")), Destination::External);
}

#[test]
fn cluster_ip_and_port_conflicts_are_reported() {
    let service = |name: &str| {
        format!(
            "---\n{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{clusterIP: 10.96.0.9, ports: [{{name: x, port: 80}}, {{name: y, port: 80}}]}}}}\n"
        )
    };
    let (snapshot, problems) = compiled(&(service("a") + &service("b")));
    assert_eq!(
        problems,
        [
            "Service default/a: spec.ports: TCP port 80 is there twice; the first one counts",
            "Service default/b: spec.ports: TCP port 80 is there twice; the first one counts",
            "Service default/b: cluster IP 10.96.0.9 is already that of Service default/a",
        ]
    );
    let Destination::Service(port) = snapshot.destination(address("10.96.0.9:80")) else { panic!("no service") };
    assert_eq!((&*port.service.name, &*port.name), ("a", "x"));
}

/// A Service of namespace shop with one port, and a slice for each list of endpoints. This node is in zone z1.
fn discovery(spec: &str, port: &str, slices: &[(&str, &str)]) -> String {
    let mut text = format!(
        "---\n{{apiVersion: v1, kind: Node, metadata: {{name: node-a, labels: {{topology.kubernetes.io/zone: z1}}}}}}\n\
         ---\n{{apiVersion: v1, kind: Service, metadata: {{name: db, namespace: shop}}, \
         spec: {{clusterIP: 10.96.0.7, ports: [{port}]{spec}}}}}\n"
    );
    for (number, (port, endpoints)) in slices.iter().enumerate() {
        text += &format!(
            "---\n{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {{name: db-{number}, \
             namespace: shop, labels: {{kubernetes.io/service-name: db}}}}, ports: [{port}], endpoints: [{endpoints}]}}\n"
        );
    }
    text
}

#[test]
fn slice_ports_give_the_numbers() {
    /// The Service's port, ports and endpoints of its slices, and what is behind its address.
    type Case = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);
    const A: &str = "{addresses: [10.0.0.1]}";
    const B: &str = "{addresses: [10.0.0.2]}";
    const NAMED: &str = "{name: sql, port: 80, targetPort: listen}";
    const UNNAMED: &str = "{port: 80, targetPort: 5432}";
    let cases: [Case; 7] = [
        (NAMED, &[("{name: sql, port: 5432}", A)], &["10.0.0.1:5432"]),
        // Pods whose containers give one port name different numbers.
        (NAMED, &[("{name: sql, port: 5432}", A), ("{name: sql, port: 6543}", B)], &["10.0.0.1:5432", "10.0.0.2:6543"]),
        (NAMED, &[("{name: other, port: 5432}", A)], &[]),
        (NAMED, &[("{name: sql, port: 5432, protocol: UDP}", A)], &[]),
        (UNNAMED, &[("{port: 5432}", A)], &["10.0.0.1:5432"]),
        (UNNAMED, &[("{name: sql, port: 5432}", A)], &["10.0.0.1:5432"]),
        (UNNAMED, &[("{name: sql, port: 5432}, {name: admin, port: 9}", A)], &[]),
    ];
    for (port, slices, expected) in cases {
        let (snapshot, problems) = compiled(&discovery("", port, slices));
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(behind(&snapshot, "10.96.0.7:80"), expected, "{port} {slices:?}");
    }
}

#[test]
fn what_the_service_says_of_its_port_is_kept() {
    let spec = ", sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}";
    let (snapshot, _) = compiled(&discovery(spec, "{port: 80, appProtocol: kubernetes.io/h2c}", &[]));
    let port = &service(&snapshot, "db").ports[0];
    assert_eq!(port.app_protocol.as_deref(), Some("kubernetes.io/h2c"));
    assert_eq!(port.client_affinity, Some(Duration::from_secs(60)));
}

/// Endpoints 10.0.0.1, 10.0.0.2, ... with these fields.
fn entries(fields: &[&str]) -> String {
    let entry = |(index, fields): (usize, &&str)| format!("{{addresses: [10.0.0.{}]{fields}}}", index + 1);
    fields.iter().enumerate().map(entry).collect::<Vec<_>>().join(", ")
}

#[test]
fn choice_of_endpoints_follows_kubernetes() {
    const DEAD: &str = ", conditions: {ready: false}";
    const LEAVING: &str = ", conditions: {ready: false, serving: true, terminating: true}";
    const GONE: &str = ", conditions: {ready: false, serving: false, terminating: true}";
    const Z1: &str = ", zone: z1, hints: {forZones: [{name: z1}]}";
    const Z2: &str = ", zone: z2, hints: {forZones: [{name: z2}, {name: z3}]}";
    const NODE_A: &str = ", nodeName: node-a, hints: {forNodes: [{name: node-a}], forZones: [{name: z1}]}";
    const NODE_B: &str = ", nodeName: node-b, hints: {forNodes: [{name: node-b}], forZones: [{name: z1}]}";
    const HERE: &str = ", nodeName: node-a";
    const THERE: &str = ", nodeName: node-b";
    let here_leaving = LEAVING.to_owned() + HERE;
    let here_leaving = here_leaving.as_str();
    let (local, close) = (", internalTrafficPolicy: Local", ", trafficDistribution: PreferClose");
    let cases: [(&str, &[&str], Choice, &[u8]); 22] = [
        ("", &["", DEAD, LEAVING], Choice::Ready, &[1]),
        ("", &[DEAD, LEAVING, GONE], Choice::Terminating, &[2]),
        ("", &[DEAD, GONE], Choice::Terminating, &[]),
        (", publishNotReadyAddresses: true", &["", DEAD, LEAVING], Choice::Ready, &[1, 2, 3]),
        // Hints.
        ("", &[Z1, Z2], Choice::ForZone, &[1]),
        ("", &[Z1, Z2, ""], Choice::Ready, &[1, 2, 3]),
        ("", &[Z2, Z2], Choice::Ready, &[1, 2]),
        ("", &[Z1, Z2, DEAD], Choice::ForZone, &[1]),
        ("", &[NODE_A, NODE_B], Choice::ForNode, &[1]),
        ("", &[NODE_B, NODE_B, Z2], Choice::ForZone, &[1, 2]),
        // Without hints: as the distribution would have them written.
        (close, &[", zone: z1", ", zone: z2"], Choice::ForZone, &[1]),
        (close, &[", zone: z2", ", zone: z2"], Choice::Ready, &[1, 2]),
        (close, &[", zone: z1", ""], Choice::Ready, &[1, 2]),
        (", trafficDistribution: PreferSameZone", &[", zone: z1", ", zone: z2"], Choice::ForZone, &[1]),
        (", trafficDistribution: PreferSameNode", &[", zone: z1, nodeName: node-b", HERE], Choice::ForNode, &[2]),
        (", trafficDistribution: PreferSameNode", &[", zone: z1, nodeName: node-b", THERE], Choice::Ready, &[1, 2]),
        ("", &[", zone: z1", ", zone: z2"], Choice::Ready, &[1, 2]),
        // Only this node.
        (local, &[HERE, THERE], Choice::Local, &[1]),
        (local, &[THERE, ""], Choice::LocalTerminating, &[]),
        (local, &[THERE, here_leaving], Choice::LocalTerminating, &[2]),
        (local, &[HERE, here_leaving], Choice::Local, &[1]),
        (local, &[NODE_B, HERE], Choice::Local, &[2]),
    ];
    for (spec, fields, choice, expected) in cases {
        let endpoints = entries(fields);
        // In one slice, and in one for each: the choice is that of the whole port.
        let split: Vec<_> =
            endpoints.split_inclusive("}, ").map(|one| ("{port: 1}", one.trim_end_matches(", "))).collect();
        let split = if split.len() == fields.len() { split } else { Vec::new() };
        for slices in [vec![("{port: 1}", endpoints.as_str())], split] {
            if slices.is_empty() {
                continue;
            }
            let (snapshot, problems) = compiled(&discovery(spec, "{port: 80}", &slices));
            assert_eq!(problems, Vec::<String>::new());
            let expected: Vec<_> = expected.iter().map(|host| format!("10.0.0.{host}:1")).collect();
            assert_eq!(behind(&snapshot, "10.96.0.7:80"), expected, "{spec} {slices:?}");
            assert_eq!(service(&snapshot, "db").ports[0].ready.choice(), choice, "{spec} {slices:?}");
        }
    }
}

#[test]
fn endpoint_that_this_node_does_not_choose_is_still_reached_by_the_service_of_others() {
    let endpoints = entries(&[", nodeName: node-a", ", nodeName: node-b"]);
    let (snapshot, _) =
        compiled(&discovery(", internalTrafficPolicy: Local", "{port: 80}", &[("{port: 1}", &endpoints)]));
    assert_eq!(behind(&snapshot, "10.96.0.7:80"), ["10.0.0.1:1"]);
    let asked = |ip: &str| snapshot.service_endpoint("shop", "db", 80, ip.parse().unwrap());
    assert_eq!(asked("10.0.0.2"), Some(address("10.0.0.2:1")));
    assert_eq!(asked("10.0.0.3"), None);
}

#[test]
fn change_shares_what_it_does_not_touch() {
    let text = SHOP.to_owned() + WEB + &discovery("", "{port: 80}", &[("{port: 1}", "{addresses: [10.0.0.1]}")]);
    let mut compiler = Compiler::new(settings());
    let all = set(&text).objects().map(Change::Put).collect::<Vec<_>>();
    let first = compiler.apply(all.clone()).snapshot.unwrap();
    assert!(compiler.apply(all).snapshot.is_none(), "the same again is no change");

    let put = |text: &str| set(text).objects().map(Change::Put).collect::<Vec<_>>();
    let second = compiler.apply(put(&pod("web", "10.0.0.1", "", "", ""))).snapshot.unwrap();
    assert_eq!(&*workload(&second, "10.0.0.1").name, "web");
    let is_shared = |name, other: &Snapshot| Arc::ptr_eq(&service(&first, name), &service(other, name));
    assert!(is_shared("web", &second) && is_shared("db", &second), "a pod is no part of its Services");

    let slices = [("{port: 1}", "{addresses: [10.0.0.2]}")];
    let third = compiler.apply(put(&discovery("", "{port: 80}", &slices))).snapshot.unwrap();
    assert_eq!(
        (behind(&first, "10.96.0.7:80"), behind(&third, "10.96.0.7:80")),
        (vec!["10.0.0.1:1".to_owned()], vec!["10.0.0.2:1".to_owned()])
    );
    assert!(is_shared("web", &third) && !is_shared("db", &third));
}

#[test]
fn snapshot_shows_as_json() {
    let text = SHOP.to_owned() + WEB + &pod("web", "10.0.0.1", &netns("web"), "", "");
    let shown = serde_json::to_value(compiled(&text).0).unwrap();
    assert_eq!(shown["generation"], 0);
    let expected = serde_json::json!({
        "namespace": "shop", "name": "web", "uid": "shop/web", "node": "node-a", "serviceAccount": "default",
        "identity": "spiffe://cluster.local/ns/shop/sa/default", "addresses": ["10.0.0.1"], "membership": "enrolled",
        "owner": "web", "app": "", "version": "", "canonicalService": "web", "canonicalRevision": "latest",
        "local": {"netns": "/run/netns/web", "excludeInboundPorts": [], "excludeOutboundPorts": [], "excludeOutboundCidrs": []},
    });
    assert_eq!(shown["workloads"], serde_json::json!([expected]));
    let port = &shown["services"][0]["ports"][0];
    let web = serde_json::json!({"address": "10.0.0.1:8080", "workload": "shop/web"});
    let ready = serde_json::json!([web, {"address": "10.0.0.2:8080"}, web]);
    assert_eq!((&port["port"], &port["family"], &port["ready"]), (&80.into(), &"IPv4".into(), &ready));
}

#[test]
fn endpoints_know_whether_they_are_in_this_nodes_zone() {
    use crate::mesh::{Locality, Reach};
    let fields = [", zone: z1", ", zone: z2", "", ", zone: z1, conditions: {ready: false}"];
    let text = discovery("", "{port: 80}", &[("{port: 80}", &entries(&fields))]);
    let (snapshot, _) = compiled(&text);
    let ready = &service(&snapshot, "db").ports[0].ready;
    let localities = |ready: &crate::mesh::Endpoints| {
        (1..=4).map(|host| ready.locality(([10, 0, 0, host], 80).into())).collect::<Vec<_>>()
    };
    let (here, there, unknown) = (Some(Locality::SameZone), Some(Locality::OtherZone), Some(Locality::Unknown));
    assert_eq!(localities(ready), [here, there, unknown, None]);
    assert_eq!((ready.len_within(Reach::Near), ready.len_within(Reach::Far), ready.len()), (1, 2, 3));
    let (nowhere, _) = compiled(&text.replace("topology.kubernetes.io/zone", "elsewhere"));
    let ready = &service(&nowhere, "db").ports[0].ready;
    assert_eq!(localities(ready), [unknown, unknown, unknown, None]);
    assert_eq!((ready.len_within(Reach::Near), ready.len_within(Reach::Far)), (0, 3));
}
