//! The ground on which everything is measured: two nodes, each with its agent, and two sets of the same three pods, one
//! in the mesh and one outside.
//!
//! Both sets have the same programs with the same settings on the same nodes and the same wire; the only difference is
//! that one is enrolled. The servers' ports are never read as HTTP, but for those of one more pod, behind a
//! Service with a route: there the agents read every request. Proxies of another kind are started between the pods outside
//! the mesh when they are measured. Every pod can reuse ports early (`tcp_tw_reuse`) and has all unprivileged ports for outgoing
//! connections, so that the rate of new connections is limited by the path and not by ports in TIME-WAIT.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::case::{Kind, Observer};
use super::crowd::Crowd;
use super::noise::Noise;
use super::peers::Peer;
use super::scraper::Scraper;
use super::{nginx, wrk};
use crate::bed::{Agent, Bed, Metrics, Node, Pod, Process, Service, binary};
use crate::interrupt;

pub(super) const HTTP: u16 = 8080;
pub(super) const IPERF: u16 = 5201;
pub(super) const ECHO: u16 = 7000;

const READY_WITHIN: Duration = Duration::from_secs(20);
const POD_SETTINGS: &[(&str, &str)] = &[("ipv4/tcp_tw_reuse", "1"), ("ipv4/ip_local_port_range", "1024 65535")];

/// What all requests ask for where proxies have a rule for its first part, and what no rule is for.
pub(super) const RULED: &str = "/bench";
pub(super) const ASKED: &str = "/bench/ok";
pub(super) const UNRULED: &str = "/elsewhere";
/// What a Prometheus of a busy cluster keeps of one node.
const SERIES: usize = 10_000;
const SERVICE: &str = "l7";
const SERVICE_PORT: u16 = 80;

/// Which way between client and server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Side {
    /// Nothing between them.
    Direct,
    /// The mesh, to a port that is never read as HTTP.
    Bytes,
    /// The mesh, which reads requests and routes them.
    Requests,
    /// The two proxies that were started last.
    Peer,
}

/// What agents have done so far for the client's pods.
#[derive(Debug)]
pub(super) struct Carried {
    /// Connections that the client's agent carried as bytes, or left to the kernel.
    pub(super) connections: f64,
    /// Connections that the kernel carried by itself.
    pub(super) native: f64,
    /// Requests that it answered.
    pub(super) requests: f64,
    /// Connections that either agent read as HTTP.
    pub(super) read: f64,
}

impl Carried {
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            connections: self.connections - before.connections,
            native: self.native - before.native,
            requests: self.requests - before.requests,
            read: self.read - before.read,
        }
    }
}

/// The three pods of one side.
pub(super) struct Pods {
    pub(super) client: Pod,
    /// On the client's node.
    pub(super) near: Pod,
    /// On the other node.
    pub(super) far: Pod,
}

/// See the module. Fields are dropped in this order: programs first, the bed last.
pub(super) struct Ground {
    scraper: Option<Scraper>,
    peer: Option<Peer>,
    client_agent: Agent,
    server_agent: Agent,
    _servers: Vec<Process>,
    direct: Pods,
    mesh: Pods,
    crowds: Option<[Crowd; 2]>,
    /// The way to the pod whose requests are read.
    service: Service,
    nodes: [Node; 2],
    noise: Noise,
    bed: Bed,
}

impl Ground {
    pub(super) fn build(settings: &[(String, serde_json::Value)]) -> Result<Self> {
        let bed = Bed::new("bench")?;
        interrupt::watch(bed.cgroup().clone())?;
        let (a, b) = (bed.node("a")?, bed.node("b")?);
        let direct = Pods::start(Side::Direct, &a, &b)?;
        let mesh = Pods::start(Side::Bytes, &a, &b)?;
        let read = b.pod("mesh-read").start()?;
        read.netns().sysctl(POD_SETTINGS)?;
        let service = bed.service(SERVICE, &[(SERVICE_PORT, HTTP)])?;
        service.backends(&[&read])?;
        route(&bed)?;
        let agent = |node: &Node| settings.iter().fold(node.agent(), |agent, (k, v)| agent.set(k, v.clone())).start();
        let (client_agent, server_agent) = (agent(&a)?, agent(&b)?);
        let mut servers = Vec::new();
        for pods in [&direct, &mesh] {
            servers.extend(serve(&pods.near, &bed)?);
            servers.extend(serve(&pods.far, &bed)?);
        }
        servers.extend(serve(&read, &bed)?);
        let noise = Noise::new(bed.cgroup());
        let (scraper, peer, nodes) = (None, None, [a, b]);
        let ground = Self {
            scraper,
            peer,
            client_agent,
            server_agent,
            _servers: servers,
            direct,
            mesh,
            crowds: None,
            service,
            nodes,
            noise,
            bed,
        };
        ground.wait_enrolled()?;
        Ok(ground)
    }

    pub(super) fn bed(&self) -> &Bed {
        &self.bed
    }

    pub(super) fn noise(&self) -> &Noise {
        &self.noise
    }

    pub(super) fn pods(&self, side: Side) -> &Pods {
        match side {
            Side::Direct | Side::Peer => &self.direct,
            Side::Bytes | Side::Requests => &self.mesh,
        }
    }

    /// What is asked for on a side, of a server that is dialled itself unless something stands before it.
    pub(super) fn url(&self, side: Side, server: &Pod) -> Result<String> {
        let to = match side {
            Side::Direct | Side::Bytes => server.at(HTTP),
            Side::Requests => self.service.at(SERVICE_PORT),
            Side::Peer => self.peer.as_ref().context("no peer was started")?.address(),
        };
        Ok(format!("http://{to}{ASKED}"))
    }

    /// Has pods beside those of each side, for what is measured beside others.
    pub(super) fn make_crowds(&mut self) -> Result<()> {
        if self.crowds.is_none() {
            let [a, b] = &self.nodes;
            let crowd = |side| Crowd::start(a, b, |node, role| Pods::start_one(side, node, role), &self.bed);
            self.crowds = Some([crowd(Side::Direct)?, crowd(Side::Bytes)?]);
            self.wait_enrolled()?;
        }
        Ok(())
    }

    /// The other pods of a side.
    pub(super) fn crowd(&self, side: Side) -> Result<&Crowd> {
        let [direct, mesh] = self.crowds.as_ref().context("there are no others")?;
        Ok(if side == Side::Direct { direct } else { mesh })
    }

    /// Starts proxies of another kind, or ends those that run.
    pub(super) fn use_peer(&mut self, kind: Option<Kind>) -> Result<()> {
        self.peer = None;
        let Some(kind) = kind else { return Ok(()) };
        let threads = self.data_threads()?;
        let [client, server] = &self.nodes;
        let application = self.direct.far.at(HTTP);
        self.peer = Some(Peer::start(kind, threads, [client, server], application, self.bed.directory())?);
        Ok(())
    }

    /// How many threads of an agent carry traffic: as many a peer may have.
    fn data_threads(&mut self) -> Result<usize> {
        let tasks = format!("/proc/{}/task", self.client_agent.process().pid());
        let tasks = std::fs::read_dir(&tasks).with_context(|| format!("listing {tasks}"))?.flatten();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
        let count = names.filter(|name| name.starts_with("data-")).count();
        ensure!(count > 0, "the agent has no thread called data-");
        Ok(count)
    }

    /// Proves that the agents route by the rule: what it does not match comes to nobody.
    pub(super) fn prove_route(&self) -> Result<()> {
        let url = format!("http://{}{UNRULED}", self.service.at(SERVICE_PORT));
        let work = wrk::run(&self.mesh.client, &url, 1, wrk::Manner::Busy, 1, self.bed.directory())?;
        let (all, refused) = (work.amount, work.errors as f64);
        ensure!(all > 0.0 && refused >= all, "{refused} of {all} requests that no rule matches were refused");
        Ok(())
    }

    /// Has the agents observed in a way from now on, or not.
    pub(super) fn observe(&mut self, observer: Observer, on: bool) -> Result<()> {
        match (observer, on) {
            (Observer::AccessLog, _) => self.access_log(on),
            (Observer::Scrapes, true) => {
                self.scraper = Some(Scraper::start(self.nodes.clone()));
                Ok(())
            }
            (Observer::Scrapes, false) => self.scraper.take().map_or(Ok(()), Scraper::end),
        }
    }

    fn access_log(&self, on: bool) -> Result<()> {
        let (heddle, access) = (binary("heddle")?.display().to_string(), if on { "on" } else { "off" });
        for node in &self.nodes {
            let socket = node.directory().join("admin.sock");
            let line = format!("log-level --access {access} --socket");
            node.command(&heddle)?.words(&line).arg(socket).output(READY_WITHIN)?;
        }
        Ok(())
    }

    /// Has both agents count requests in as many series as those of a busy node.
    pub(super) fn make_series(&self) -> Result<()> {
        self.prove_route()?;
        let urls = nginx::STATUSES
            .map(|[first, last]| format!("http://{}{RULED}/status/[{first}-{last}]", self.service.at(SERVICE_PORT)));
        self.mesh.client.command("curl").words("--silent --max-time 30").args(urls).output(READY_WITHIN * 3)?;
        for agent in [&self.client_agent, &self.server_agent] {
            let series = agent.metrics()?.samples().len();
            ensure!(series >= SERIES, "{series} series are less than {SERIES}");
        }
        Ok(())
    }

    /// The agents of the client's node and of the server's.
    pub(super) fn agents(&mut self) -> [&mut Agent; 2] {
        [&mut self.client_agent, &mut self.server_agent]
    }

    /// What the agents have carried for the client's pods, over mutual TLS only or in any way.
    pub(super) fn carried(&self, mutual_tls_only: bool) -> Result<Carried> {
        let (client, server) = (self.client_agent.metrics()?, self.server_agent.metrics()?);
        let labels = [("reporter", "source"), ("connection_security_policy", "mutual_tls")];
        let labels = if mutual_tls_only { &labels[..] } else { &labels[..1] };
        let read = |metrics: &Metrics| metrics.sum("heddle_protocol_detections_total", &[("protocol", "http1")]);
        Ok(Carried {
            connections: client.sum("istio_tcp_connections_opened_total", labels),
            native: client.sum("heddle_kernel_events_total", &[("event", "outbound_native")]),
            requests: client.sum("istio_requests_total", labels),
            read: read(&client) + read(&server),
        })
    }

    /// CPU time of those who stand between client and server on a side, on the client's node and on the server's.
    pub(super) fn cpu_seconds(&mut self, side: Side) -> Result<[f64; 2]> {
        if let (Side::Peer, Some(peer)) = (side, &self.peer) {
            return peer.cpu_seconds();
        }
        let [client, server] = self.agents();
        Ok([client.process().cpu_seconds()?, server.process().cpu_seconds()?])
    }

    pub(super) fn agent_version(&self) -> Result<String> {
        let metrics = self.client_agent.metrics()?;
        let info = metrics.matching("heddle_build_info", &[]).next();
        let version = info.and_then(|sample| sample.labels.get("version")).cloned();
        version.context("the agent's metrics have no heddle_build_info with a version")
    }

    /// For who wants to watch the agents with other tools, such as `perf record -g -p PID`.
    pub(super) fn describe(&mut self) -> String {
        let [client, server] = self.agents().map(|agent| agent.process().pid());
        format!("agents: process {client} on the client's node, process {server} on the server's node")
    }

    pub(super) fn close(self) -> Result<()> {
        let Self { scraper, peer, client_agent, server_agent, _servers: servers, crowds, bed, .. } = self;
        drop((scraper, peer, client_agent, server_agent, servers, crowds));
        bed.close()
    }

    fn wait_enrolled(&self) -> Result<()> {
        let pods = if self.crowds.is_some() { 4.0 } else { 2.0 };
        for agent in [&self.client_agent, &self.server_agent] {
            let enrolled = |metrics: &Metrics| metrics.sum("heddle_enrolled_pods", &[]) == pods;
            agent.wait_metrics(&format!("it enrolled {pods} pods"), READY_WITHIN, enrolled)?;
        }
        Ok(())
    }
}

impl Pods {
    fn start(side: Side, a: &Node, b: &Node) -> Result<Self> {
        let start = |node, role| Self::start_one(side, node, role);
        Ok(Self { client: start(a, "client")?, near: start(a, "near")?, far: start(b, "far")? })
    }

    fn start_one(side: Side, node: &Node, role: &str) -> Result<Pod> {
        let opaque = [HTTP, IPERF, ECHO].map(|port| port.to_string()).join(",");
        let pod = match side {
            Side::Direct | Side::Peer => node.pod(&format!("direct-{role}")).outside_mesh(),
            Side::Bytes | Side::Requests => node.pod(&format!("mesh-{role}")),
        };
        let pod = pod.annotation("heddle.io/opaque-ports", &opaque).start()?;
        pod.netns().sysctl(POD_SETTINGS)?;
        Ok(pod)
    }
}

/// The one rule, of an HTTPRoute on the Service; in force before the agents are ready.
fn route(bed: &Bed) -> Result<()> {
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": SERVICE},
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": SERVICE, "port": SERVICE_PORT}],
            "rules": [{
                "matches": [{"path": {"type": "PathPrefix", "value": RULED}}],
                "backendRefs": [{"name": SERVICE, "port": SERVICE_PORT}],
            }],
        },
    });
    bed.objects().put(&json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": SERVICE, "namespace": "default", "labels": {"heddle.io/config": "true"}},
        "data": {"route.yaml": route.to_string()},
    }))
}

/// Every server of a pod that is called.
pub(super) fn serve(pod: &Pod, bed: &Bed) -> Result<Vec<Process>> {
    let nginx = nginx::start(pod, &bed.directory().join(format!("nginx-{}", pod.name())), HTTP)?;
    let mut iperf = pod.command("iperf3").words(&format!("-s -p {IPERF} --forceflush")).start()?;
    iperf.wait_line(READY_WITHIN, |line| line.contains("Server listening"))?;
    Ok(vec![nginx, iperf, pod.serve(&format!("--listen {ECHO}"))?])
}

/// Waits, unless the run is interrupted.
pub(super) fn pause(time: Duration) -> Result<()> {
    let until = Instant::now() + time;
    while Instant::now() < until {
        ensure!(!interrupt::happened(), "interrupted");
        std::thread::sleep(Duration::from_millis(50).min(time));
    }
    Ok(())
}
