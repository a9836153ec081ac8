//! Probes of STRICT pods: the kubelet's pass on the ports that the pod declares, and nothing else of the node does.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use heddle_tests::bed::{Agent, Launch, Node, Pod, Process, binary};
use heddle_tests::peer::grpc::GrpcReport;
use heddle_tests::peer::report::{HttpReport, ProbeReport};
use rustix::process::Signal;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::world::{SOON, World, echoed, enrolled, eventually, probe, refused};

/// As kind has it.
const KUBELET: &str = "kubelet.slice/kubelet.service";

/// A container of a pod that shares the node's network, and with it the kubelet's address.
const HOST_NETWORK: &str = "kubepods/besteffort/pod0a1b2c3d-0000-4000-8000-00000000000a/c";

const TCP: u16 = 8080;
const HTTP: u16 = 8081;
const GRPC: u16 = 8082;
/// Served, and declared by nobody.
const OTHER: u16 = 9000;

fn containers() -> Value {
    json!([{
        "name": "app", "image": "heddle-peer",
        "ports": [{"name": "echo", "containerPort": TCP}, {"name": "other", "containerPort": OTHER}],
        "startupProbe": {"tcpSocket": {"port": "echo"}},
        "readinessProbe": {"httpGet": {"path": "/", "port": HTTP}},
        "livenessProbe": {"grpc": {"port": GRPC}},
    }])
}

/// STRICT agents, a pod `client` with three probes, and a kubelet on its node.
struct Probed {
    world: World,
    kubelet: Process,
    _servers: Vec<Process>,
}

impl Probed {
    fn new(name: &str) -> Result<Self> {
        let world = World::with(name, |agent| agent.strict())?;
        let listening = |line: &str| {
            let mut server = world.client.peer(line)?.start()?;
            server.wait_line(SOON, |line| line.contains("\"listening\"")).map(|_| server)
        };
        let servers = vec![
            world.client.serve(&format!("--listen {TCP}"))?,
            world.client.serve(&format!("--listen {OTHER}"))?,
            listening(&format!("http-serve --listen {HTTP}"))?,
            listening(&format!("grpc-serve --listen {GRPC}"))?,
        ];
        world.client.set_spec("containers", containers())?;
        let kubelet = kubelet(world.client.node())?;
        kubelet_found(&world.a, true)?;
        world.settle()?;
        Ok(Self { world, kubelet, _servers: servers })
    }

    fn node(&self) -> &Node {
        self.world.client.node()
    }

    fn addresses(&self, port: u16) -> [SocketAddr; 2] {
        [self.world.client.at(port), self.world.client.at6(port)]
    }

    /// How many went past the agent since it was started or another before.
    fn passed(&self) -> Result<f64> {
        Ok(self.world.a.metrics()?.sum("heddle_bypassed_connections_total", &[("reason", "kubelet_probe")]))
    }

    fn all_probes_pass(&self) -> Result<()> {
        for to in self.addresses(TCP) {
            let report = by_kubelet(self.node(), to, "")?;
            ensure!(echoed(&report, "word"), "{to}: {report:?}");
        }
        for to in self.addresses(HTTP) {
            let report: HttpReport = ask(kubelets(self.node())?.words(&format!("http-get http://{to}/")))?;
            ensure!(report.status == 200, "{to}: {report:?}");
        }
        for to in self.addresses(GRPC) {
            let report: GrpcReport = ask(kubelets(self.node())?.words(&format!("grpc --to {to}")))?;
            ensure!(report.calls.iter().all(|call| call.code == "OK"), "{to}: {report:?}");
        }
        Ok(())
    }

    fn nobody_else_passes(&self, stranger: &Pod) -> Result<()> {
        for to in self.addresses(TCP) {
            let report = by_host(self.node(), to, "")?;
            ensure!(refused(&report), "a process of the node to {to}: {report:?}");
            let (host_network, _) = self.node().command_apart(HOST_NETWORK, &peer()?)?;
            let report: ProbeReport = ask(host_network.words(&format!("probe --to {to} --send word --watch-ms 3000")))?;
            ensure!(refused(&report), "a pod of the host network to {to}: {report:?}");
            let report = probe(stranger, to, "word")?;
            ensure!(refused(&report), "a pod of the node to {to}: {report:?}");
            let line = format!("probe --to {to} --send word --watch-ms 3000");
            let netns = format!("--net={}", stranger.netns().path().display());
            let (nsenter, _) = self.node().command_apart(KUBELET, "nsenter")?;
            let report: ProbeReport = ask(nsenter.arg(netns).arg(peer()?).words(&line))?;
            ensure!(refused(&report), "a process of the kubelet's cgroup in a pod to {to}: {report:?}");
        }
        for to in self.addresses(OTHER) {
            let report = by_kubelet(self.node(), to, "")?;
            ensure!(refused(&report), "the kubelet to {to}: {report:?}");
        }
        Ok(())
    }
}

/// What stands for the kubelet: a process in its cgroup.
fn kubelet(node: &Node) -> Result<Process> {
    kubelets(node)?.arg("pause").start()
}

fn kubelet_found(agent: &Agent, is_found: bool) -> Result<()> {
    let found = |found: Option<f64>| found == Some(f64::from(u8::from(is_found)));
    agent.wait_metrics("the kubelet is found, or not", SOON, |it| found(it.get("heddle_kubelet_found", &[]))).map(drop)
}

/// `heddle-peer` as a child of the kubelet.
fn kubelets(node: &Node) -> Result<Launch> {
    Ok(node.command_apart(KUBELET, &peer()?)?.0)
}

fn peer() -> Result<String> {
    Ok(binary("heddle-peer")?.display().to_string())
}

fn by_kubelet(node: &Node, to: SocketAddr, more: &str) -> Result<ProbeReport> {
    ask(kubelets(node)?.words(&format!("probe --to {to} --send word --watch-ms 3000 {more}")))
}

fn by_host(node: &Node, to: SocketAddr, more: &str) -> Result<ProbeReport> {
    ask(node.peer(&format!("probe --to {to} --send word --watch-ms 3000 {more}"))?)
}

fn ask<T: DeserializeOwned>(launch: Launch) -> Result<T> {
    Ok(serde_json::from_str(launch.output(SOON)?.lines().last().unwrap_or_default())?)
}

#[test]
fn probes_of_the_kubelet_pass_on_declared_ports_and_nothing_else_of_the_node_does() -> Result<()> {
    let probed = Probed::new("probes")?;
    let stranger = probed.node().pod("outside").outside_mesh().start()?;
    probed.world.settle()?;
    probed.all_probes_pass()?;
    assert_eq!(probed.passed()?, 6.0, "each of them went past the agent");
    probed.nobody_else_passes(&stranger)?;
    assert_eq!(probed.passed()?, 6.0);
    let own = probe(&probed.world.client, SocketAddr::from(([127, 0, 0, 1], OTHER)), "exec")?;
    assert!(echoed(&own, "exec"), "what a probe runs inside the pod needs no way in: {own:?}");
    let status = probed.world.a.get_json("/status")?;
    assert!(status["kubelet"].as_str().is_some_and(|cgroup| cgroup.ends_with(KUBELET)), "{status}");
    let pods = status["pods"].as_array().unwrap();
    let client = pods.iter().find(|pod| pod["name"] == "default/client").unwrap();
    assert_eq!(client["probedPorts"], json!([TCP, HTTP, GRPC]));
    Ok(())
}

#[test]
fn who_has_the_source_port_of_a_probe_afterwards_is_refused() -> Result<()> {
    let probed = Probed::new("probe-port")?;
    // Or else the kernel keeps the port of a connection that has just been closed from everybody.
    probed.node().netns().sysctl(&[("ipv4/tcp_tw_reuse", "1")])?;
    let (to, from) = (probed.world.client.at(TCP), "--bind 10.244.1.1:45000");
    assert!(echoed(&by_kubelet(probed.node(), to, from)?, "word"));
    // Its time stamps have to be older by a second.
    std::thread::sleep(Duration::from_millis(1_500));
    let after = by_host(probed.node(), to, from)?;
    assert!(after.connect == "connected" && refused(&after), "{after:?}");
    std::thread::sleep(Duration::from_millis(1_500));
    assert!(echoed(&by_kubelet(probed.node(), to, from)?, "word"), "the port is not at fault");
    Ok(())
}

#[test]
fn probes_pass_while_the_agent_is_stopped_killed_and_started_again() -> Result<()> {
    let mut probed = Probed::new("probes-agent")?;
    let stranger = probed.node().pod("outside").outside_mesh().start()?;
    probed.world.settle()?;
    probed.world.a.process().signal(Signal::STOP)?;
    probed.all_probes_pass()?;
    probed.world.a.process().signal(Signal::CONT)?;
    probed.world.a.kill()?;
    probed.all_probes_pass()?;
    probed.nobody_else_passes(&stranger)?;
    probed.world.a.restart()?;
    probed.all_probes_pass()?;
    probed.nobody_else_passes(&stranger)
}

#[test]
fn a_kubelet_that_is_started_anew_is_known_again() -> Result<()> {
    let mut probed = Probed::new("kubelet-anew")?;
    probed.kubelet.kill()?;
    std::fs::remove_dir(probed.node().cgroup().path().join(KUBELET))?;
    kubelet_found(&probed.world.a, false)?;
    let concerns = probed.world.a.get_json("/status")?;
    assert!(concerns["kubelet"].is_null(), "{concerns}");
    assert!(probed.world.a.complained("the kubelet's cgroup is not there"));
    // Made by the first of its processes: until the agent has looked, it is anybody's.
    probed.kubelet = kubelet(probed.node())?;
    kubelet_found(&probed.world.a, true)?;
    probed.all_probes_pass()
}

#[test]
fn what_a_pod_declares_is_followed() -> Result<()> {
    let probed = Probed::new("probes-change")?;
    let (pod, node) = (&probed.world.client, probed.node());
    let hook = json!({"preStop": {"httpGet": {"port": "other"}}});
    pod.set_spec(
        "containers",
        json!([{"name": "app", "ports": [{"name": "other", "containerPort": OTHER}], "lifecycle": hook}]),
    )?;
    let passes = |port: u16| Ok::<_, anyhow::Error>(echoed(&by_kubelet(node, pod.at(port), "")?, "word"));
    eventually("the new port passes", SOON, || passes(OTHER))?;
    assert!(!passes(TCP)?, "the old one does not");
    pod.set_mesh(Some(false))?;
    enrolled(&probed.world.a, 1)?;
    assert!(passes(TCP)?, "a released pod takes anybody's");
    pod.set_mesh(Some(true))?;
    enrolled(&probed.world.a, 2)?;
    eventually("enrolled anew", SOON, || Ok(passes(OTHER)? && !passes(TCP)?))
}

#[test]
fn without_a_kubelet_nobody_passes() -> Result<()> {
    let world = World::with("no-kubelet", |agent| agent.strict().set("capture.kubelet", ""))?;
    let _server = world.client.serve(&format!("--listen {TCP}"))?;
    world.client.set_spec("containers", containers())?;
    let _kubelet = kubelet(world.client.node())?;
    world.settle()?;
    kubelet_found(&world.a, false)?;
    let report = by_kubelet(world.client.node(), world.client.at(TCP), "")?;
    assert!(refused(&report), "{report:?}");
    Ok(())
}
