//! Who plays: two nodes with an agent each, four pods, a Service of both versions of the server, and one of each.
//!
//! The clients live on node-a and the servers on node-b, so that everything between them crosses the wire.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::agents::{Mark, NodeAgent};
use super::app::Call;
use crate::bed::{Bed, Pod, Process, Service};

/// Everything in Kubernetes terms lives here.
pub(super) const NAMESPACE: &str = "demo";
/// The port of the Service.
pub(super) const SERVICE_PORT: u16 = 80;
/// The port of the server pods.
pub(super) const POD_PORT: u16 = 8080;

/// How long a document may take to be in force; what is promised is a second.
pub(super) const IN_FORCE_WITHIN: Duration = Duration::from_secs(5);

/// The players.
pub(super) struct Cast<'a> {
    pub(super) bed: &'a Bed,
    /// In the mesh, on node-a.
    pub(super) client: Pod,
    /// Outside the mesh, on node-a.
    pub(super) outsider: Pod,
    /// In the mesh, on node-b: version 1 and version 2 of the server.
    pub(super) servers: [Pod; 2],
    pub(super) service: Service,
    /// The Services of version 1 alone and of version 2 alone.
    pub(super) versions: [Service; 2],
    /// The agent of the clients' node.
    pub(super) agent_a: NodeAgent,
    /// The agent of the servers' node.
    pub(super) agent_b: NodeAgent,
    /// Requests of the client that went through the mesh and were answered, and the bytes of the answers.
    pub(super) meshed: Cell<(usize, u64)>,
    _processes: Vec<Process>,
}

impl<'a> Cast<'a> {
    /// Builds and starts everything, and waits until both agents are ready.
    pub(super) fn assemble(bed: &'a Bed) -> Result<Self> {
        let (node_a, node_b) = (bed.node("a")?, bed.node("b")?);
        let client = node_a.pod("client").namespace(NAMESPACE).start()?;
        let outsider = node_a.pod("outsider").namespace(NAMESPACE).outside_mesh().start()?;
        let server = |version: &str| {
            let pod = node_b.pod(&format!("server-{version}")).namespace(NAMESPACE).service_account("server");
            pod.label("app", "server").label("version", version).start()
        };
        let servers = [server("v1")?, server("v2")?];
        let service = bed.service_in(NAMESPACE, "server", &[(SERVICE_PORT, POD_PORT)])?;
        service.backends(&servers.each_ref())?;
        let version = |name: &str, pod: &Pod| {
            let service = bed.service_in(NAMESPACE, name, &[(SERVICE_PORT, POD_PORT)])?;
            service.backends(&[pod])?;
            anyhow::Ok(service)
        };
        let versions = [version("server-v1", &servers[0])?, version("server-v2", &servers[1])?];
        let processes = servers.iter().map(serve).collect::<Result<_>>()?;
        let (mut agent_a, mut agent_b) = (NodeAgent::start(&node_a)?, NodeAgent::start(&node_b)?);
        agent_a.agent.wait_ready()?;
        agent_b.agent.wait_ready()?;
        let meshed = Cell::default();
        Ok(Self { bed, client, outsider, servers, service, versions, agent_a, agent_b, meshed, _processes: processes })
    }

    /// Sends GETs from a pod to an address, each on a connection of its own.
    pub(super) fn call(&self, from: &Pod, to: SocketAddr, path: &str, count: usize) -> Result<Vec<Call>> {
        self.ask(from, to, &format!("--path {path} --count {count}"))
    }

    /// One such GET.
    pub(super) fn call_once(&self, from: &Pod, to: SocketAddr, path: &str) -> Result<Call> {
        self.ask_once(from, to, &format!("--path {path}"))
    }

    /// Sends requests from a pod to an address as the words of `line` say, which are options of `heddle-demo ask`.
    pub(super) fn ask(&self, from: &Pod, to: SocketAddr, line: &str) -> Result<Vec<Call>> {
        let ask = from.command(&own_program()?).words(&format!("ask --to {to} {line}"));
        let output = ask.output(Duration::from_secs(30))?;
        let calls: Vec<Call> = serde_json::from_str(&output).with_context(|| format!("the client said `{output}`"))?;
        if from.name() == self.client.name() {
            let answered = calls.iter().filter(|call| call.status.is_some());
            let (requests, bytes) = self.meshed.get();
            let (more, more_bytes) = answered.fold((0, 0), |(n, bytes), call| (n + 1, bytes + call.received));
            self.meshed.set((requests + more, bytes + more_bytes));
        }
        Ok(calls)
    }

    /// One such request.
    pub(super) fn ask_once(&self, from: &Pod, to: SocketAddr, line: &str) -> Result<Call> {
        self.ask(from, to, line)?.pop().context("the client reported no call")
    }

    /// Puts mesh documents in force, as a ConfigMap of this name.
    pub(super) fn put_documents(&self, name: &str, text: &str) -> Result<()> {
        self.bed.objects().put(&json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"heddle.io/config": "true"}},
            "data": {"mesh.yaml": text},
        }))
    }

    /// Takes mesh documents out of force.
    pub(super) fn remove_documents(&self, name: &str) -> Result<()> {
        self.bed.objects().remove("ConfigMap", NAMESPACE, name)
    }

    /// Calls until one is refused, which took so long. What counts is the call after that one: gives it with the line of the
    /// servers' agent about it.
    pub(super) fn until_refused(
        &self,
        from: &Pod,
        (to, path): (SocketAddr, &str),
        is_wanted: fn(&Value) -> bool,
    ) -> Result<(Call, Value, Duration)> {
        let begin = Instant::now();
        while self.call_once(from, to, path)?.answer.is_some() {
            let took = begin.elapsed();
            ensure!(took < IN_FORCE_WITHIN, "{} is still served after {took:?}", from.name());
        }
        // The first may have been under way when it came into force, and have been cut.
        let (took, mark) = (begin.elapsed(), Mark::now());
        let call = self.call_once(from, to, path)?;
        Ok((call, self.agent_b.logged_since(&mark, "refusal", is_wanted)?, took))
    }

    /// The client asks until this rule of a route decides over its requests; how long that took.
    pub(super) fn until_routed(&self, to: SocketAddr, line: &str, rule: &str) -> Result<Duration> {
        let begin = Instant::now();
        loop {
            let mark = Mark::now();
            self.ask_once(&self.client, to, line)?;
            let took = begin.elapsed();
            let logged = self.agent_a.logged_since(&mark, "request", |line| line["direction"] == "outbound")?;
            if logged["route"] == rule {
                return Ok(took);
            }
            ensure!(took < IN_FORCE_WITHIN, "{rule} does not decide after {took:?}, but {}", logged["route"]);
        }
    }

    /// The server that answered a call.
    pub(super) fn server_of(&self, call: &Call) -> Option<&Pod> {
        let name = &call.answer.as_ref()?.server;
        self.servers.iter().find(|pod| pod.name() == name)
    }
}

fn serve(pod: &Pod) -> Result<Process> {
    let serve = pod.command(&own_program()?).words(&format!("serve --name {} --port {POD_PORT}", pod.name()));
    let mut process = serve.start()?;
    process.wait_line(Duration::from_secs(10), |line| line.starts_with("listening"))?;
    Ok(process)
}

fn own_program() -> Result<String> {
    let path = std::env::current_exe().context("finding this program")?;
    path.into_os_string().into_string().ok().context("the path of this program is not UTF-8")
}
