//! The cases: what is sent, over which path, and what is to be reached.
//!
//! Targets are ratios to direct and CPU per unit of work, so that they hold on any machine. Beside them stands what
//! ztunnel reached with the same tools on a machine of the same kind: the bar that an L4 mesh has to clear.

/// One case.
pub(super) struct Case {
    /// As `--case` and the JSON name it.
    pub(super) name: &'static str,
    /// What is sent.
    pub(super) load: Load,
    /// What is between client and server, in comparison with nothing.
    pub(super) path: Path,
    /// Where the server is.
    pub(super) server: Server,
    /// Part of `--quick`.
    pub(super) in_quick: bool,
    /// Least ratio of mesh to direct.
    pub(super) rate: Option<Bar>,
    /// Most CPU per agent, in the unit of the load.
    pub(super) cpu: Option<Bar>,
}

/// Where the server is, seen from the client's pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    /// In the mesh, on the other node.
    Far,
    /// In the mesh, on the same node: the kernel carries what the agent has decided over.
    Near,
    /// On the other node and not in the mesh: the same.
    Outside,
}

/// A target and ztunnel's figure for the same.
#[derive(Clone, Copy)]
pub(super) struct Bar {
    pub(super) target: f64,
    pub(super) ztunnel: &'static str,
}

/// What is between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// The mesh, which carries bytes, or leaves them to the kernel: the server's port is one that is never read.
    Bytes,
    /// The mesh, which reads requests: through a Service with a route of one rule.
    Requests,
    /// The same, while the agents are observed in a way; measured beside the same without.
    Observed(Observer),
    /// As bytes, alone and then beside pods that want all that there is.
    Crowded,
    /// Two proxies of another kind, with TLS between them and the same rule in each.
    Peer(Kind),
}

/// In what way agents are observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Observer {
    /// By the lines of the access log, which are written by default.
    AccessLog,
    /// By a scrape of each agent every second.
    Scrapes,
}

impl Observer {
    /// What is without it.
    pub(super) fn without(self) -> &'static str {
        match self {
            Self::AccessLog => "against no access log",
            Self::Scrapes => "against no scrapes",
        }
    }
}

/// Another kind of proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Nginx,
    Haproxy,
}

impl Kind {
    /// The name of its program.
    pub(super) fn program(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
        }
    }
}

/// Least ratio of requests that are read to the same as bytes.
pub(super) const RATE_BESIDE_BYTES: f64 = 0.7;
/// Most CPU for requests that are read, as a multiple of that for the same as bytes.
pub(super) const CPU_BESIDE_BYTES: f64 = 1.6;

/// Least ratio of requests that have lines in the access log to the same without.
pub(super) const RATE_WITH_LOG: f64 = 0.95;
/// Most p99 while agents are scraped, as a multiple of that without: what a median of a few rounds cannot tell from none.
pub(super) const P99_WITH_SCRAPES: f64 = 1.05;

/// Most p99 of a light pod beside a crowd, as a multiple of its p99 alone.
pub(super) const P99_IN_A_CROWD: f64 = 2.0;

/// What is sent.
#[derive(Clone, Copy)]
pub(super) enum Load {
    /// wrk to nginx, a response of 3 bytes, connections kept alive.
    Http { connections: u32 },
    /// The same, each connection with some milliseconds between an answer and the next request.
    Calm { connections: u32 },
    /// iperf3; `reverse` sends from the server to the client.
    Bulk { streams: u32, reverse: bool },
    /// wrk to nginx with one request per connection.
    Connections { clients: u32 },
}

impl Load {
    pub(super) fn title(self) -> String {
        match self {
            Self::Http { connections } => format!("HTTP/1.1 keep-alive, wrk to nginx, connections: {connections}"),
            Self::Calm { connections } => {
                format!(
                    "HTTP/1.1 keep-alive, wrk to nginx, a request every 5 ms on each connection, connections: {connections}"
                )
            }
            Self::Bulk { streams, reverse: false } => format!("bulk TCP, iperf3, streams: {streams}"),
            Self::Bulk { streams, reverse: true } => format!("bulk TCP from the server, iperf3 -R, streams: {streams}"),
            Self::Connections { clients } => format!("one request per connection, wrk to nginx, clients: {clients}"),
        }
    }

    /// The unit in which rates are shown, and how many of what is counted it holds.
    pub(super) fn rate_unit(self) -> (&'static str, f64) {
        match self {
            Self::Http { .. } | Self::Calm { .. } => ("requests/s", 1.0),
            Self::Bulk { .. } => ("MiB/s", 1024.0 * 1024.0),
            Self::Connections { .. } => ("connections/s", 1.0),
        }
    }

    /// The unit in which CPU is shown, and by what CPU seconds per counted thing are multiplied for it.
    pub(super) fn cpu_unit(self) -> (&'static str, f64) {
        match self {
            Self::Http { .. } | Self::Calm { .. } => ("CPU s per 100,000 requests", 1e5),
            Self::Bulk { .. } => ("CPU s per GiB", 1024.0 * 1024.0 * 1024.0),
            Self::Connections { .. } => ("CPU us per connection", 1e6),
        }
    }

    const fn http(connections: u32) -> Self {
        Self::Http { connections }
    }

    const fn bulk(streams: u32) -> Self {
        Self::Bulk { streams, reverse: false }
    }

    const fn bulk_reverse(streams: u32) -> Self {
        Self::Bulk { streams, reverse: true }
    }

    const fn connections(clients: u32) -> Self {
        Self::Connections { clients }
    }
}

impl Case {
    /// What it is, for people.
    pub(super) fn title(&self) -> String {
        let load = self.load.title();
        match self.path {
            Path::Bytes => match self.server {
                Server::Far => load,
                Server::Near => format!("{load}, on one node"),
                Server::Outside => format!("{load}, out of the mesh"),
            },
            Path::Requests => format!("{load}, read and routed by both agents"),
            Path::Observed(Observer::AccessLog) => format!("{load}, read and routed, with and without an access log"),
            Path::Observed(Observer::Scrapes) => format!("{load}, read and routed, with and without a scrape a second"),
            Path::Crowded => format!("{load}, alone, and beside pods that want all there is"),
            Path::Peer(kind) => format!("{load}, through two proxies: {}", kind.program()),
        }
    }

    const fn new(name: &'static str, load: Load) -> Self {
        Self { name, load, path: Path::Bytes, server: Server::Far, in_quick: true, rate: None, cpu: None }
    }

    const fn by(mut self, path: Path) -> Self {
        self.path = path;
        self
    }

    const fn to(mut self, server: Server) -> Self {
        self.server = server;
        self
    }

    const fn not_in_quick(mut self) -> Self {
        self.in_quick = false;
        self
    }

    /// At least this ratio of the rates.
    const fn rate(mut self, target: f64, ztunnel: &'static str) -> Self {
        self.rate = Some(Bar { target, ztunnel });
        self
    }

    /// At most this CPU per agent.
    const fn cpu(mut self, target: f64, ztunnel: &'static str) -> Self {
        self.cpu = Some(Bar { target, ztunnel });
        self
    }
}

const NGINX: Path = Path::Peer(Kind::Nginx);
const HAPROXY: Path = Path::Peer(Kind::Haproxy);

/// All cases, in the order in which they run. ztunnel carries what stays on the node, too, and was not measured so.
pub(super) static ALL: [Case; 27] = [
    Case::new("http-1", Load::http(1)).rate(0.60, "0.44").cpu(2.0, "3.0-3.6"),
    Case::new("http-16", Load::http(16)).rate(0.40, "0.21").cpu(2.0, "3.0-3.6"),
    Case::new("http-64", Load::http(64)).rate(0.45, "0.24").cpu(2.0, "3.0-3.6").not_in_quick(),
    Case::new("bulk-1", Load::bulk(1)).rate(0.5, "0.27").cpu(0.7, "1.4"),
    Case::new("bulk-4", Load::bulk(4)).rate(0.5, "0.17").cpu(0.7, "1.4").not_in_quick(),
    Case::new("bulk-1-reverse", Load::bulk_reverse(1)).not_in_quick(),
    Case::new("bulk-4-reverse", Load::bulk_reverse(4)).not_in_quick(),
    Case::new("connections-1", Load::connections(1)).rate(0.4, "0.20-0.24").cpu(120.0, "190-390").not_in_quick(),
    Case::new("connections-16", Load::connections(16)).rate(0.4, "0.20-0.24").cpu(120.0, "190-390"),
    Case::new("same-node-http-16", Load::http(16)).to(Server::Near).rate(0.97, ""),
    Case::new("same-node-bulk-1", Load::bulk(1)).to(Server::Near).rate(0.97, "").not_in_quick(),
    Case::new("same-node-connections-16", Load::connections(16)).to(Server::Near).rate(0.90, "").not_in_quick(),
    Case::new("outside-http-16", Load::http(16)).to(Server::Outside).rate(0.97, "").not_in_quick(),
    Case::new("outside-bulk-1", Load::bulk(1)).to(Server::Outside).rate(0.97, "").not_in_quick(),
    Case::new("outside-connections-16", Load::connections(16)).to(Server::Outside).rate(0.97, "").not_in_quick(),
    Case::new("l7-http-1", Load::http(1)).by(Path::Requests).not_in_quick(),
    Case::new("l7-http-16", Load::http(16)).by(Path::Requests),
    Case::new("l7-http-64", Load::http(64)).by(Path::Requests).not_in_quick(),
    Case::new("log-http-16", Load::http(16)).by(Path::Observed(Observer::AccessLog)).not_in_quick(),
    Case::new("scrape-http-16", Load::http(16)).by(Path::Observed(Observer::Scrapes)).not_in_quick(),
    Case::new("fairness", Load::Calm { connections: 4 }).by(Path::Crowded).not_in_quick(),
    Case::new("peer-nginx-http-1", Load::http(1)).by(NGINX).not_in_quick(),
    Case::new("peer-nginx-http-16", Load::http(16)).by(NGINX),
    Case::new("peer-nginx-http-64", Load::http(64)).by(NGINX).not_in_quick(),
    Case::new("peer-haproxy-http-1", Load::http(1)).by(HAPROXY).not_in_quick(),
    Case::new("peer-haproxy-http-16", Load::http(16)).by(HAPROXY),
    Case::new("peer-haproxy-http-64", Load::http(64)).by(HAPROXY).not_in_quick(),
];
