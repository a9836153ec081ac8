//! The shapes of what `heddle-peer` prints, shared by the program and the tests that read it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// What a server says while it runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum ServerEvent {
    /// All ports are bound.
    Listening {
        /// The bound addresses.
        addresses: Vec<SocketAddr>,
    },
    /// With `--stats`: a connection was accepted.
    Accepted {
        /// The client as the application sees it.
        peer: SocketAddr,
        /// The address that the application was called at.
        local: SocketAddr,
    },
    /// A name server was asked.
    Asked {
        /// The name, in lower case and without a dot at its end.
        name: String,
        /// `A`, `AAAA` or `other`.
        record: String,
        /// Over TCP, not UDP.
        tcp: bool,
    },
    /// With `--stats`: a connection ended.
    Ended {
        /// The client as the application sees it.
        peer: SocketAddr,
        /// The bytes received from it.
        received: u64,
        /// The error's name, or nothing if both sides closed in order.
        error: Option<String>,
    },
}

/// The first line of `serve --ident`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ident {
    /// The client as the application sees it.
    pub peer: SocketAddr,
    /// The address that the application was called at.
    pub local: SocketAddr,
    /// What `--greet` gave the server, if anything.
    pub tag: Option<String>,
}

/// What `serve --mode sink` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The bytes that arrived.
    pub bytes: u64,
    /// Their SHA-256 in hexadecimal.
    pub sha256: String,
}

/// A few quantiles of durations in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Half were at most this.
    pub p50: u64,
    /// 99 of 100 were at most this.
    pub p99: u64,
    /// The longest.
    pub max: u64,
}

impl Quantiles {
    /// Quantiles of a sample; all 0 for an empty one.
    #[must_use]
    pub fn of(mut sample: Vec<u64>) -> Self {
        sample.sort_unstable();
        let at = |share: usize| sample.get((sample.len().saturating_sub(1)) * share / 100).copied().unwrap_or(0);
        Self { p50: at(50), p99: at(99), max: at(100) }
    }
}

/// What `connect` found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConnectReport {
    /// Connections begun.
    pub attempted: u64,
    /// Connections on which everything was as it must be.
    pub succeeded: u64,
    /// The others, by `stage: error`, such as `connect: ECONNREFUSED` or `greeting: wrong server`.
    pub failures: BTreeMap<String, u64>,
    /// With `--ident`: the client's IP addresses as the servers saw them.
    pub sources: BTreeMap<String, u64>,
    /// Connections by the greeting of the server that answered.
    pub servers: BTreeMap<String, u64>,
    /// Echoed bytes that were verified.
    pub bytes: u64,
    /// How long connect() took.
    pub connect_us: Quantiles,
    /// How long whole connections took.
    pub total_us: Quantiles,
    /// How long all took.
    pub seconds: f64,
}

impl ConnectReport {
    /// Whether every one of `count` connections was as it must be.
    #[must_use]
    pub fn all_good(&self, count: u64) -> bool {
        self.attempted == count && self.succeeded == count && self.failures.is_empty()
    }
}

/// What `first` found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FirstReport {
    /// Tries before the one that worked.
    pub failed: u64,
    /// When that one had worked, in microseconds since 1970.
    pub at_us: u64,
}

/// What `bulk` and `stall` found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BulkReport {
    /// Streams whose every byte was verified at the far end of the transfer.
    pub verified: u64,
    /// The others, in words.
    pub failures: Vec<String>,
    /// Bytes verified, in one direction.
    pub bytes: u64,
    /// How long all took.
    pub seconds: f64,
    /// Verified MiB per second.
    pub mib_per_second: f64,
}

/// What `hold` prints once everything is open, on each `report` line, and at its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HoldReport {
    /// Connections that were opened.
    pub opened: u64,
    /// Those that still answer.
    pub healthy: u64,
    /// The others, by error.
    pub broken: BTreeMap<String, u64>,
    /// Verified exchanges over all connections.
    pub exchanges: u64,
}

/// What `probe` found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// `connected`, or the error's name.
    pub connect: String,
    /// After connecting: `open`, `data`, `eof`, or the error's name.
    pub after: Option<String>,
    /// How long connect() took.
    pub connect_ms: f64,
    /// How long until `after` was known.
    pub after_ms: Option<f64>,
    /// The first bytes that came, as text.
    pub data: Option<String>,
}

/// What `http-get` found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HttpReport {
    /// The status code.
    pub status: u16,
    /// The body as text.
    pub body: String,
}

/// What `udp-ping` found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PingReport {
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams that came back unchanged from where they were sent to.
    pub answered: u64,
}

/// What `raw-syn` found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RawReport {
    /// Times that it was sent.
    pub sent: u32,
    /// Whether the other end accepted the connection.
    pub answered: bool,
}

/// What `hbone` found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HboneReport {
    /// Whether the TCP connection was made.
    pub connected: bool,
    /// TLS version of a finished handshake.
    pub tls_version: Option<String>,
    /// Key exchange group of a finished handshake.
    pub group: Option<String>,
    /// SPIFFE id that the server proved.
    pub server_identity: Option<String>,
    /// Status of the CONNECT.
    pub status: Option<u16>,
    /// `baggage` of the answer.
    pub baggage: Option<String>,
    /// Whether bytes came back through the tunnel unchanged.
    pub echoed: bool,
    /// What ended the attempt, in words; a TLS alert is named as rustls names it.
    pub error: Option<String>,
    /// How long everything took.
    pub ms: f64,
}
