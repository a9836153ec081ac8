//! Other proxies in the agents' place, for comparison: one on each node, with mutual TLS 1.3 between them.
//!
//! What they are asked for is what the agents do with requests: HTTP/1.1 in, one rule by the path's prefix on either side,
//! TLS 1.3 with a client's certificate that the other side verifies, HTTP/1.1 to the application, connections kept alive
//! everywhere. Each may use as many workers as an agent has data threads. They write no access log and count nothing,
//! which the agents do, and they are not looked for by the kernel: the client dials the proxy itself.

mod certificates;
mod haproxy;
mod nginx;
mod stranger;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::case::Kind;
use super::ground::{ASKED, UNRULED};
use crate::bed::{Cgroup, Node, Process};
use certificates::Certificates;

/// Where the client's proxy takes HTTP, and the server's proxy TLS.
const HTTP_IN: u16 = 9080;
const TLS_IN: u16 = 9443;
/// The name in the certificate of the server's proxy.
const NAME: &str = "server.peers.example";
const READY_WITHIN: Duration = Duration::from_secs(10);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Two proxies of one kind; they end when this is dropped.
pub(super) struct Peer {
    client: Proxy,
    server: Proxy,
    address: SocketAddr,
}

/// What one proxy is told.
struct Plan<'a> {
    side: Side,
    workers: usize,
    certificates: &'a Certificates,
    /// A directory of its own.
    directory: &'a Path,
}

/// Which of the two, and where it sends what it takes.
#[derive(Clone, Copy)]
enum Side {
    Client { to: SocketAddr },
    Server { to: SocketAddr },
}

struct Proxy {
    process: Process,
    /// Of it and its workers.
    cgroup: Cgroup,
}

impl Peer {
    /// Starts both on the nodes of client and server, and proves that they do what they are there for.
    pub(super) fn start(
        kind: Kind,
        workers: usize,
        [client, server]: [&Node; 2],
        application: SocketAddr,
        directory: &Path,
    ) -> Result<Self> {
        let certificates = Certificates::make(&directory.join("peers"))?;
        let address = SocketAddr::from((client.wire_v4(), HTTP_IN));
        let tls = SocketAddr::from((server.wire_v4(), TLS_IN));
        let start = |node: &Node, side: Side| {
            let directory = directory.join(format!("{}-{}", kind.program(), node.name()));
            std::fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
            let plan = Plan { side, workers, certificates: &certificates, directory: &directory };
            Proxy::start(kind, node, &plan)
        };
        let server_proxy = start(server, Side::Server { to: application })?;
        let mut peer = Self { client: start(client, Side::Client { to: tls })?, server: server_proxy, address };
        peer.wait_ready(client)?;
        let unruled = client.netns().get(address, UNRULED, ANSWER_WITHIN)?;
        ensure!(unruled.status != 200, "{} answers what it has no rule for", kind.program());
        stranger::is_refused(client.netns(), tls, &certificates)?;
        Ok(peer)
    }

    /// Where clients call.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// CPU time so far, of the client's proxy and the server's.
    pub(super) fn cpu_seconds(&self) -> Result<[f64; 2]> {
        Ok([self.client.cgroup.cpu_seconds()?, self.server.cgroup.cpu_seconds()?])
    }

    fn wait_ready(&mut self, client: &Node) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let last = match client.netns().get(self.address, ASKED, ANSWER_WITHIN) {
                Ok(answer) if answer.status == 200 => return Ok(()),
                Ok(answer) => format!("{}: {}", answer.status, answer.text()),
                Err(error) => format!("{error:#}"),
            };
            for proxy in [&mut self.client, &mut self.server] {
                if !proxy.process.running()? {
                    bail!("{}", proxy.process.describe("ended at once"));
                }
            }
            ensure!(
                Instant::now() < deadline,
                "{}\n{}",
                self.client.process.describe(&format!("passes nothing on; the last answer: {last}")),
                self.server.process.describe("is behind it")
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Proxy {
    fn start(kind: Kind, node: &Node, plan: &Plan<'_>) -> Result<Self> {
        let (launch, cgroup) = node.command_apart(&format!("peer-{}", kind.program()), kind.program())?;
        let text = match kind {
            Kind::Nginx => nginx::config(plan),
            Kind::Haproxy => haproxy::config(plan),
        };
        let file = plan.directory.join("proxy.conf");
        std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        let launch = match kind {
            Kind::Nginx => launch.words("-e stderr -p").arg(plan.directory).arg("-c").arg(file),
            // In the foreground, with no process that only watches.
            Kind::Haproxy => launch.words("-db -f").arg(file),
        };
        Ok(Self { process: launch.start()?, cgroup })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Workers outlive the process that started them. The bed kills again, and reports what could not be killed.
        let _ = self.cgroup.kill();
    }
}
