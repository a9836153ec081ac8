//! The ground on which everything is measured: two nodes, each with its agent, and two sets of the same three pods, one
//! in the mesh and one outside.
//!
//! Both sets have the same programs with the same settings on the same nodes and the same wire; the only difference is
//! that one is enrolled. Every pod can reuse ports early (`tcp_tw_reuse`) and has all unprivileged ports for outgoing
//! connections, so that the rate of new connections is limited by the path and not by ports in TIME-WAIT.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::interrupt;
use super::nginx;
use super::noise::Noise;
use crate::bed::{Agent, Bed, Node, Pod, Process};

pub(super) const HTTP: u16 = 8080;
pub(super) const IPERF: u16 = 5201;
pub(super) const ECHO: u16 = 7000;

const READY_WITHIN: Duration = Duration::from_secs(20);
const POD_SETTINGS: &[(&str, &str)] = &[("ipv4/tcp_tw_reuse", "1"), ("ipv4/ip_local_port_range", "1024 65535")];

/// Which of the two sets of pods.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Side {
    Direct,
    Mesh,
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
    client_agent: Agent,
    server_agent: Agent,
    _servers: Vec<Process>,
    direct: Pods,
    mesh: Pods,
    noise: Noise,
    bed: Bed,
}

impl Ground {
    pub(super) fn build(settings: &[(String, serde_json::Value)]) -> Result<Self> {
        let bed = Bed::new("bench")?;
        interrupt::watch(bed.cgroup().clone())?;
        let (a, b) = (bed.node("a")?, bed.node("b")?);
        let direct = Pods::start(Side::Direct, &a, &b)?;
        let mesh = Pods::start(Side::Mesh, &a, &b)?;
        let agent = |node: &Node| settings.iter().fold(node.agent(), |agent, (k, v)| agent.set(k, v.clone())).start();
        let (client_agent, server_agent) = (agent(&a)?, agent(&b)?);
        let mut servers = Vec::new();
        for pods in [&direct, &mesh] {
            servers.extend(serve(&pods.near, &bed)?);
            servers.extend(serve(&pods.far, &bed)?);
        }
        let noise = Noise::new(bed.cgroup());
        let ground = Self { client_agent, server_agent, _servers: servers, direct, mesh, noise, bed };
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
            Side::Direct => &self.direct,
            Side::Mesh => &self.mesh,
        }
    }

    /// The agents of the client's node and of the server's.
    pub(super) fn agents(&mut self) -> [&mut Agent; 2] {
        [&mut self.client_agent, &mut self.server_agent]
    }

    /// Connections that the client's agent has carried for its pods, over mutual TLS only or of any kind.
    pub(super) fn carried(&self, mutual_tls_only: bool) -> Result<f64> {
        let metrics = self.client_agent.metrics()?;
        let labels = [("reporter", "source"), ("connection_security_policy", "mutual_tls")];
        let labels = if mutual_tls_only { &labels[..] } else { &labels[..1] };
        Ok(metrics.sum("istio_tcp_connections_opened_total", labels))
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
        let Self { client_agent, server_agent, _servers: servers, bed, .. } = self;
        drop((client_agent, server_agent, servers));
        bed.close()
    }

    fn wait_enrolled(&self) -> Result<()> {
        for (agent, pods) in [(&self.client_agent, 2.0), (&self.server_agent, 1.0)] {
            let enrolled = |metrics: &crate::bed::Metrics| metrics.sum("heddle_enrolled_pods", &[]) == pods;
            agent.wait_metrics(&format!("it enrolled {pods} pods"), READY_WITHIN, enrolled)?;
        }
        Ok(())
    }
}

impl Pods {
    fn start(side: Side, a: &Node, b: &Node) -> Result<Self> {
        let start = |node: &Node, role: &str| {
            let pod = match side {
                Side::Direct => node.pod(&format!("direct-{role}")).outside_mesh().start()?,
                Side::Mesh => node.pod(&format!("mesh-{role}")).start()?,
            };
            pod.netns().sysctl(POD_SETTINGS)?;
            anyhow::Ok(pod)
        };
        Ok(Self { client: start(a, "client")?, near: start(a, "near")?, far: start(b, "far")? })
    }
}

/// Every server of a pod that is called.
fn serve(pod: &Pod, bed: &Bed) -> Result<Vec<Process>> {
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
