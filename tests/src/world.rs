//! The bed that most tests use, and short words for what many of them ask.
//!
//! Two nodes with an agent each; on the first a `client` and its neighbour `near`, on the second `far`; all enrolled.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::bed::{Agent, AgentBuilder, Bed, Pod, Process};
use crate::peer::report::{ConnectReport, HoldReport, ProbeReport};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

/// What the mesh promises to have in force within a second, with room for a machine that is busy with other tests.
pub const SOON: Duration = Duration::from_secs(10);

/// Two nodes, three enrolled pods, two agents.
pub struct World {
    /// The bed; dropped first, so that it also takes back what the agents hold.
    pub bed: Bed,
    /// On the first node.
    pub client: Pod,
    /// On the first node.
    pub near: Pod,
    /// On the second node.
    pub far: Pod,
    /// The first node's agent.
    pub a: Agent,
    /// The second node's agent.
    pub b: Agent,
}

impl World {
    /// With agents as they are configured by default.
    pub fn new(name: &str) -> Result<Self> {
        Self::with(name, |agent| agent)
    }

    /// With other settings for both agents.
    pub fn with(name: &str, configure: impl Fn(AgentBuilder) -> AgentBuilder) -> Result<Self> {
        Self::on(Bed::new(name)?, configure)
    }

    /// On a bed that is there already.
    pub fn on(bed: Bed, configure: impl Fn(AgentBuilder) -> AgentBuilder) -> Result<Self> {
        let (a, b) = (bed.node("a")?, bed.node("b")?);
        let (client, near, far) = (a.pod("client").start()?, a.pod("near").start()?, b.pod("far").start()?);
        let mut a = configure(a.agent()).start_without_waiting()?;
        let mut b = configure(b.agent()).start_without_waiting()?;
        a.wait_ready()?;
        b.wait_ready()?;
        enrolled(&a, 2)?;
        enrolled(&b, 1)?;
        Ok(Self { bed, client, near, far, a, b })
    }

    /// Waits until both agents have in force what the objects say now, save for enrolment.
    pub fn settle(&self) -> Result<()> {
        settle(&self.bed, &[&self.a, &self.b])
    }

    /// A machine on the second node that the mesh does not know.
    pub fn stranger(&self) -> Result<Pod> {
        self.far.node().pod("stranger").unlisted().start()
    }

    /// What the first agent logged about connections up to now.
    pub fn log_of_a(&mut self) -> Result<Vec<Value>> {
        let marker = self.far.at(marker_port());
        logged(&mut self.a, &self.client, marker, "outbound")
    }

    /// What the second agent logged about connections up to now.
    pub fn log_of_b(&mut self) -> Result<Vec<Value>> {
        let marker = self.far.at(marker_port());
        logged(&mut self.b, &self.client, marker, "inbound")
    }
}

/// Waits until exactly so many pods of a node are enrolled.
pub fn enrolled(agent: &Agent, pods: u32) -> Result<()> {
    agent.wait_metrics(&format!("{pods} pods are enrolled"), SOON, |metrics| {
        metrics.get("heddle_enrolled_pods", &[]) == Some(f64::from(pods))
    })?;
    Ok(())
}

/// Waits until the agents have in force what the objects say now, save for enrolment: a Service written last shows in
/// their `/config`.
pub fn settle(bed: &Bed, agents: &[&Agent]) -> Result<()> {
    settle_within(bed, agents, SOON)
}

/// The same with another limit.
pub fn settle_within(bed: &Bed, agents: &[&Agent], within: Duration) -> Result<()> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("settled-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    bed.objects().put(&json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
        "spec": {"clusterIP": "None", "ports": [{"port": 1}]},
    }))?;
    for agent in agents {
        eventually("an agent shows an object written last", within, || {
            let services = agent.config_json()?["mesh"]["services"].take();
            Ok(services.as_array().is_some_and(|all| all.iter().any(|service| service["name"] == name.as_str())))
        })?;
    }
    Ok(())
}

/// A port that no test serves and no other call gave, to tell one connection from all others in a log.
pub fn marker_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(60000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// What an agent logged up to now: makes a connection that it must log, and waits for that line.
fn logged(agent: &mut Agent, client: &Pod, marker: SocketAddr, direction: &str) -> Result<Vec<Value>> {
    probe(client, marker, "marker")?;
    let marker = marker.to_string();
    agent.wait_access_log(SOON, |line| line["destination_address"] == *marker && line["direction"] == direction)?;
    Ok(agent.access_log())
}

/// The access log's lines about connections to an address, in one direction.
pub fn lines_to(log: &[Value], to: SocketAddr, direction: &str) -> Vec<Value> {
    let to = to.to_string();
    let about = |line: &&Value| line["destination_address"] == *to && line["direction"] == direction;
    log.iter().filter(about).cloned().collect()
}

/// One connection that sends a word and waits for what comes of it, for up to three seconds.
pub fn probe(from: &Pod, to: SocketAddr, word: &str) -> Result<ProbeReport> {
    from.ask(&format!("probe --to {to} --send {word} --watch-ms 3000"))
}

/// Whether an echo server answered the probe.
pub fn echoed(report: &ProbeReport, word: &str) -> bool {
    report.data.as_deref() == Some(&format!("{word}\n"))
}

/// Whether the connection failed within its time: refused at once, or reset or closed without a byte.
pub fn refused(report: &ProbeReport) -> bool {
    report.data.is_none() && report.after.as_deref() != Some("open") && report.connect != "timeout"
}

/// Many verified connections.
pub fn connect(from: &Pod, line: &str) -> Result<ConnectReport> {
    from.ask(&format!("connect {line}"))
}

/// Opens connections to an echo server that stay and exchange bytes; each has been answered, or broke, when this comes back.
pub fn hold(from: &Pod, to: SocketAddr, count: u64) -> Result<Hold> {
    let mut process = from.peer(&format!("hold --to {to} --count {count} --interval-ms 20"))?.start()?;
    process.wait_line(SOON, |line| hold_report(line).opened == count)?;
    Ok(Hold { process, count })
}

/// Held connections.
pub struct Hold {
    process: Process,
    count: u64,
}

impl Hold {
    /// Waits until each connection made several further exchanges; one that broke is an error.
    pub fn still_exchanges(&mut self) -> Result<()> {
        let wanted = self.report()?.exchanges + 5 * self.count;
        eventually("held connections exchange bytes", SOON, || {
            let report = self.report()?;
            ensure!(report.healthy == self.count, "{report:?}");
            Ok(report.exchanges >= wanted)
        })
    }

    /// Its state now.
    pub fn report(&mut self) -> Result<HoldReport> {
        let before = self.process.stdout().len();
        self.process.write_line("report")?;
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(line) = self.process.stdout().get(before) {
                return Ok(serde_json::from_str(line)?);
            }
            ensure!(Instant::now() < deadline, "{}", self.process.describe("did not report"));
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends all connections in order and gives back the last report.
    pub fn end(mut self) -> Result<HoldReport> {
        self.process.close_stdin();
        let finished = self.process.wait(SOON)?;
        Ok(hold_report(finished.stdout.last().map_or("", String::as_str)))
    }
}

fn hold_report(line: &str) -> HoldReport {
    serde_json::from_str(line).unwrap_or_default()
}

/// Waits until a condition holds.
pub fn eventually(what: &str, within: Duration, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + within;
    while !holds()? {
        ensure!(Instant::now() < deadline, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// `address:port` of several ports, for `connect --to`.
pub fn list(addresses: impl IntoIterator<Item = SocketAddr>) -> String {
    addresses.into_iter().map(|address| address.to_string()).collect::<Vec<_>>().join(",")
}

/// What went wrong, each thing once with its count, as the agents saw it.
pub fn failures(agents: &[&Agent]) -> Result<String> {
    let mut counts = BTreeMap::<String, f64>::new();
    for agent in agents {
        for line in agent.access_log().iter().filter(|line| line["flag"] != "-") {
            *counts.entry(format!("{} {} {}", line["direction"], line["flag"], line["error"])).or_default() += 1.0;
        }
        let metrics = agent.metrics()?;
        for name in ["heddle_refused_connections_total", "heddle_kernel_events_total"] {
            for sample in metrics.matching(name, &[]).filter(|sample| sample.value > 0.0) {
                *counts.entry(format!("{name} {:?}", sample.labels)).or_default() += sample.value;
            }
        }
    }
    Ok(counts.into_iter().map(|(what, count)| format!("  {count} x {what}\n")).collect())
}

/// A client and a server on two nodes without agents.
pub fn pair(name: &str) -> Result<(Bed, Pod, Pod)> {
    let bed = Bed::new(name)?;
    let client = bed.node("a")?.pod("client").start()?;
    let server = bed.node("b")?.pod("server").start()?;
    Ok((bed, client, server))
}
