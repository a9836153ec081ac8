//! The mesh of the suite: two nodes, a client in each namespace, the Services of `tests/routes/README.md`, and the routes of
//! one group at a time.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use heddle_tests::bed::{Agent, Bed, Pod};
use serde_json::{Value, json};

use super::super::tools::{Client, Server};
use super::case::{Group, Route, SERVICES};
use crate::world::{SOON, enrolled, settle};

/// What the filters of the suite refer to: neither does anything to these requests.
const EXTENSIONS: &str = "apiVersion: heddle.io/v1alpha1\nkind: RateLimit\nmetadata: {name: per-client, namespace: shop}\n\
     spec: {limits: [{requests: 1000000, interval: 1s}]}\n---\n\
     apiVersion: heddle.io/v1alpha1\nkind: RateLimit\nmetadata: {name: slow, namespace: shop}\n\
     spec: {limits: [{requests: 1000000, interval: 1s}]}\n---\n\
     apiVersion: heddle.io/v1alpha1\nkind: FaultInjection\nmetadata: {name: slow, namespace: shop}\n\
     spec: {headers: [{name: x-nobody-sends, value: this}], abort: {httpStatus: 418}}\n";

/// The running mesh.
pub(super) struct Stage {
    bed: Bed,
    agents: [Agent; 2],
    /// By namespace.
    pub(super) clients: BTreeMap<String, Client>,
    /// Each answers for all Services, by the port that it is called at.
    pub(super) servers: [Server; 2],
    _pods: Vec<Pod>,
    /// The ConfigMaps of the group that is in force: namespace and name.
    routes: Vec<(String, String)>,
    /// A number for each case.
    pub(super) next: u64,
}

impl Stage {
    pub(super) fn new(name: &str) -> Result<Self> {
        let bed = Bed::new(name)?;
        let (a, b) = (bed.node("a")?, bed.node("b")?);
        let namespaces = ["clients", "shop", "other"];
        let sources: Vec<Pod> =
            namespaces.iter().map(|namespace| a.pod("client").namespace(namespace).start()).collect::<Result<_>>()?;
        let backends = [b.pod("one").namespace("shop").start()?, b.pod("two").namespace("shop").start()?];
        for (index, service) in SERVICES.iter().enumerate() {
            put_service(&bed, index, *service, &backends)?;
        }
        bed.objects().put_text("extensions.yaml", EXTENSIONS)?;
        let (mut agent_a, mut agent_b) = (a.agent().start_without_waiting()?, b.agent().start_without_waiting()?);
        agent_a.wait_ready()?;
        agent_b.wait_ready()?;
        enrolled(&agent_a, 3)?;
        enrolled(&agent_b, 2)?;
        let listen = format!("--listen {}", listen());
        let servers = [Server::start(&backends[0], &listen)?, Server::start(&backends[1], &listen)?];
        let clients =
            namespaces.iter().zip(&sources).map(|(namespace, pod)| Ok(((*namespace).to_owned(), Client::of(pod)?)));
        let clients = clients.collect::<Result<_>>()?;
        let pods = sources.into_iter().chain(backends).collect();
        Ok(Self { bed, agents: [agent_a, agent_b], clients, servers, _pods: pods, routes: Vec::new(), next: 0 })
    }

    /// Puts the routes of a group in force, and compares what the agent says against them.
    pub(super) fn set(&mut self, group: &Group) -> Result<()> {
        for (namespace, name) in std::mem::take(&mut self.routes) {
            self.bed.objects().remove("ConfigMap", &namespace, &name)?;
        }
        for route in &group.routes {
            let (namespace, name, object) = config_map(route)?;
            self.bed.objects().put(&object)?;
            self.routes.push((namespace, name));
        }
        let [a, b] = &self.agents;
        settle(&self.bed, &[a, b])?;
        let wanted = 3.0 + group.routes.len() as f64;
        a.wait_metrics("all documents of the group are accepted", SOON, |metrics| {
            metrics.get("heddle_documents", &[("state", "accepted")]) == Some(wanted)
        })
        .with_context(|| {
            format!("{}", a.get_json("/status").map(|mut status| status["documents"].take()).unwrap_or_default())
        })?;
        let status = a.get_json("/status")?.to_string();
        for problem in &group.problems {
            let text = json!(problem).to_string();
            ensure!(status.contains(text.trim_matches('"')), "the agent does not say {problem}");
        }
        Ok(())
    }

    /// Where a Service's port is dialled.
    pub(super) fn address(&self, to: &str) -> Result<SocketAddr> {
        let (service, port) = to.split_once(':').context("no port")?;
        let index = SERVICES.iter().position(|(name, ..)| *name == service).with_context(|| format!("no {service}"))?;
        Ok((cluster_ip(index), port.parse::<u16>()?).into())
    }
}

fn cluster_ip(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 96, 200, u8::try_from(index + 1).unwrap_or(0))
}

/// The port of a backend pod at which a Service's port is served.
fn target(index: usize, port: usize) -> u16 {
    u16::try_from(10_000 + index * 10 + port).unwrap_or(0)
}

fn all_ports() -> impl Iterator<Item = (u16, String)> {
    SERVICES.iter().enumerate().flat_map(|(index, (name, ports, _))| {
        ports.iter().enumerate().map(move |(at, port)| (target(index, at), format!("{name}:{port}")))
    })
}

fn listen() -> String {
    all_ports().map(|(port, name)| format!("{port}={name}")).collect::<Vec<_>>().join(",")
}

fn put_service(bed: &Bed, index: usize, (full, ports, endpoints): (&str, &[u16], usize), pods: &[Pod]) -> Result<()> {
    let (namespace, name) = full.split_once('/').context("no namespace")?;
    let listed: Vec<Value> = ports
        .iter()
        .enumerate()
        .map(|(at, port)| json!({"name": format!("p{port}"), "protocol": "TCP", "port": port, "targetPort": target(index, at)}))
        .collect();
    let spec = match name {
        "alias" => json!({"type": "ExternalName", "externalName": "example.com", "ports": listed}),
        "pods" | "nobody" => json!({"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "ports": listed}),
        _ => {
            json!({"type": "ClusterIP", "clusterIP": cluster_ip(index), "clusterIPs": [cluster_ip(index)], "ports": listed})
        }
    };
    let metadata = json!({"name": name, "namespace": namespace});
    bed.objects().put(&json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}))?;
    if matches!(name, "alias" | "nobody") {
        return Ok(());
    }
    let endpoints: Vec<Value> = pods[..endpoints]
        .iter()
        .map(|pod| json!({"addresses": [pod.v4()], "conditions": {"ready": true}, "nodeName": pod.node().name()}))
        .collect();
    let ports: Vec<Value> = ports
        .iter()
        .enumerate()
        .map(|(at, port)| json!({"name": format!("p{port}"), "protocol": "TCP", "port": target(index, at)}))
        .collect();
    bed.objects().put(&json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": format!("{name}-1"), "namespace": namespace, "labels": {"kubernetes.io/service-name": name},
        },
        "endpoints": endpoints, "ports": ports,
    }))
}

/// Namespace, name, and the ConfigMap of a route.
fn config_map(route: &Route) -> Result<(String, String, Value)> {
    let mut spec = route.spec.clone();
    let web = json!([{"group": "", "kind": "Service", "name": "web", "port": 80}]);
    let parents = spec.entry("parentRefs").or_insert(web);
    // A parent is a Service wherever it is not said otherwise.
    for parent in parents.as_array_mut().context("parentRefs is no list")? {
        let parent = parent.as_object_mut().context("a parent is no map")?;
        parent.entry("group").or_insert(json!(""));
        parent.entry("kind").or_insert(json!("Service"));
    }
    let document = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": route.kind,
        "metadata": {"namespace": route.namespace, "name": route.name}, "spec": spec,
    });
    let name = format!("{}-{}", route.kind, route.name).to_lowercase();
    let mut metadata = json!({"namespace": route.namespace, "name": name, "labels": {"heddle.io/config": "true"}});
    if let Some(day) = route.day {
        metadata["creationTimestamp"] = json!(format!("1970-01-{:02}T00:00:00Z", day + 1));
    }
    let data = json!({"route.yaml": document.to_string()});
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data});
    Ok((route.namespace.clone(), name, object))
}
