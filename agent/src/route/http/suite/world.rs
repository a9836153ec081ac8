//! The mesh of the suite: the Services of `tests/routes/README.md`, and the routes of a group, compiled as an agent would.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

use super::case::{Route, SERVICES};
use crate::{
    mesh::{Compiled, DocumentState, MeshSettings, RouteTable, ServiceName, ServicePort, Snapshot, compile_enforcing},
    objects::{
        AddressType, ConfigMap, EndpointSlice, Object, ObjectName, ObjectSet, Pod, Protocol, Service, ServiceKind,
        ServicePort as Port, SliceEndpoint, SlicePort,
    },
    rules::Enforced,
};

/// The namespaces of clients; each has an enrolled pod `client`.
const NAMESPACES: [&str; 3] = ["clients", "shop", "other"];

/// A compiled mesh.
pub(crate) struct World {
    pub(crate) snapshot: Snapshot,
}

impl World {
    pub(crate) fn new(place: &str, routes: &[Route]) -> Self {
        let mut objects = ObjectSet::default();
        for (number, (name, ports, endpoints)) in (1..).zip(SERVICES) {
            add_service(&mut objects, number, name, ports, endpoints);
        }
        for (number, namespace) in (1..).zip(NAMESPACES) {
            add_client(&mut objects, number, namespace);
        }
        for route in routes {
            objects.insert(Object::ConfigMap(Arc::new(config_map(route))));
        }
        let settings = MeshSettings {
            node: "node-a".into(),
            trust_domain: "cluster.local".parse().unwrap(),
            root_namespace: "heddle-system".into(),
        };
        let Compiled { snapshot, documents, .. } = compile_enforcing(&objects, &settings, Enforced::EVERYTHING);
        for status in documents {
            assert_eq!(status.state, DocumentState::Accepted, "{place}: {status}");
        }
        Self { snapshot }
    }

    pub(crate) fn problems(&self) -> Vec<String> {
        self.snapshot.route_problems().iter().map(ToString::to_string).collect()
    }

    /// The Service port `namespace/name:port`, and what decides over it for clients of a namespace.
    pub(crate) fn dialled(&self, to: &str, from: &str) -> (&Arc<ServicePort>, Option<&RouteTable>) {
        let (service, number) = to.split_once(':').unwrap();
        let (namespace, name) = service.split_once('/').unwrap();
        let name = ServiceName { namespace: namespace.into(), name: name.into() };
        let number = number.parse().unwrap();
        let ports = &self.snapshot.service(&name).unwrap().ports;
        let port = ports.iter().find(|port| port.port == number).unwrap_or_else(|| panic!("there is no {to}"));
        (port, self.snapshot.routes().table(&name, number, from).map(AsRef::as_ref))
    }
}

fn config_map(route: &Route) -> ConfigMap {
    let mut spec = route.spec.clone();
    let web = json!([{"group": "", "kind": "Service", "name": "web", "port": 80}]);
    let parents = spec.entry("parentRefs").or_insert(web);
    // A parent is a Service wherever it is not said otherwise.
    for parent in parents.as_array_mut().unwrap() {
        let parent = parent.as_object_mut().unwrap();
        parent.entry("group").or_insert(json!(""));
        parent.entry("kind").or_insert(json!("Service"));
    }
    let metadata = json!({"namespace": route.namespace, "name": route.name});
    let version = json!("gateway.networking.k8s.io/v1");
    let document: Value = json!({"apiVersion": version, "kind": route.kind, "metadata": metadata, "spec": spec});
    ConfigMap {
        name: ObjectName::new(&route.namespace, &format!("{}-{}", route.kind, route.name).to_lowercase()),
        uid: None,
        created: route.day.map(|day| SystemTime::UNIX_EPOCH + Duration::from_secs(day * 86_400)),
        data: BTreeMap::from([("route".to_owned(), document.to_string().into())]),
    }
}

fn add_client(objects: &mut ObjectSet, number: u8, namespace: &str) {
    let labels = BTreeMap::from([("heddle.io/mesh".to_owned(), "enabled".to_owned())]);
    objects.insert(Object::Pod(Arc::new(Pod {
        name: ObjectName::new(namespace, "client"),
        labels: Arc::new(labels),
        node: Some("node-a".into()),
        addresses: [IpAddr::V4(Ipv4Addr::new(10, 1, number, 1))].into(),
        ..Pod::default()
    })));
}

fn add_service(objects: &mut ObjectSet, number: u8, service: &str, ports: &[u16], endpoints: usize) {
    let (namespace, name) = service.split_once('/').unwrap();
    let (kind, has_address) = match name {
        "alias" => (ServiceKind::ExternalName, false),
        "pods" | "nobody" => (ServiceKind::ClusterIp, false),
        _ => (ServiceKind::ClusterIp, true),
    };
    let named = |port: &u16| Arc::<str>::from(format!("p{port}"));
    let own =
        |port: &u16| Port { name: named(port), port: *port, target: None, protocol: Protocol::Tcp, app_protocol: None };
    let address = |network: u8, host: u8| IpAddr::V4(Ipv4Addr::new(10, network, number, host));
    objects.insert(Object::Service(Arc::new(Service {
        name: ObjectName::new(namespace, name),
        kind,
        cluster_ips: has_address.then(|| address(96, 1)).into_iter().collect(),
        ports: ports.iter().map(own).collect(),
        ..Service::default()
    })));
    if kind == ServiceKind::ExternalName || name == "nobody" {
        return;
    }
    let slice_port = |port: &u16| SlicePort { name: named(port), port: Some(*port), protocol: Protocol::Tcp };
    let endpoint = |host: usize| SliceEndpoint {
        address: address(0, u8::try_from(host).unwrap()),
        ready: true,
        serving: true,
        terminating: false,
        place: Arc::default(),
    };
    objects.insert(Object::EndpointSlice(Arc::new(EndpointSlice {
        name: ObjectName::new(namespace, &format!("{name}-1")),
        service: Some(name.into()),
        family: AddressType::Ipv4,
        ports: ports.iter().map(slice_port).collect(),
        endpoints: (1..=endpoints).map(endpoint).collect(),
    })));
}
