//! The words in which the story of a connection or request is told: who, in which direction, how protected, how many bytes, how it ended.
//!
//! Every step fills its part into a [`ConnectionRecord`](super::ConnectionRecord) with these types. Nothing here counts or
//! writes; that is `record.rs`.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    ResponseFlag, RootName,
    socket::{Ends, SocketEnd, SocketFacts},
};
use crate::mesh::{SpiffeId, Workload};

/// Which side of the connection this agent saw: Istio's label `reporter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reporter {
    /// The client's side: an enrolled pod of this node dialled.
    Source,
    /// The server's side: an enrolled pod of this node was dialled.
    Destination,
}

impl Reporter {
    /// The value of Istio's label `reporter`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
        }
    }

    /// The access log's word for it, as seen from the pod of this node.
    pub fn direction(self) -> &'static str {
        match self {
            Self::Source => "outbound",
            Self::Destination => "inbound",
        }
    }
}

/// How the bytes travelled between the two nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Not at all: it failed before anything was sent, or has not come so far.
    #[default]
    Unsent,
    /// Plain TCP.
    Plain,
    /// A stream of an HBONE tunnel with mutual TLS.
    Hbone {
        /// TLS version as in the access log, `TLSv1.3`.
        tls_version: &'static str,
        /// Key exchange group, `X25519MLKEM768`.
        group: &'static str,
        /// The root that vouches for the peer.
        root: RootName,
    },
    /// Within the node, by the kernel alone, which proves both ends.
    Native,
}

impl Transport {
    /// The value of Istio's label `connection_security_policy`.
    pub fn security_policy(self) -> &'static str {
        match self {
            Self::Unsent | Self::Plain => "none",
            Self::Native => "native",
            Self::Hbone { .. } => "mutual_tls",
        }
    }
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// Its address as this agent saw it.
    pub address: SocketAddr,
    /// The pod at that address, if the mesh knows one.
    pub workload: Option<Arc<Workload>>,
    /// Its identity, only where a certificate or the kernel proved it.
    pub identity: Option<SpiffeId>,
}

/// What is known of a connection when it is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionStart {
    /// The side that reports.
    pub reporter: Reporter,
    /// Who dialled.
    pub client: Party,
    /// What the client dialled, before any choice of an endpoint.
    pub original_dst: SocketAddr,
    /// Generation of the snapshot that is read first.
    pub generation: u64,
}

/// Why a connection or request did not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The reason out of the closed list.
    pub flag: ResponseFlag,
    /// The error in words, for the access log only: never a label.
    pub error: String,
    /// What denied it, where anything did, for the access log.
    pub denied_by: Option<String>,
}

/// Bytes of one connection, or of the bodies of one request, added up by the relay while it runs and read by whoever counts them.
#[derive(Debug, Default)]
pub struct ByteCounts {
    /// The sockets between which they pass, where somebody will want to know about those.
    ends: Option<Box<Ends>>,
    /// From the client to the server.
    pub sent: AtomicU64,
    /// From the server to the client.
    pub received: AtomicU64,
}

impl ByteCounts {
    /// The same, and the sockets will be looked at.
    pub(super) fn with_ends() -> Self {
        Self { ends: Some(Box::default()), ..Self::default() }
    }

    /// Shows the sockets between which the bytes pass, while what this returns lives: to be dropped before they are.
    pub fn show(&self, client: SocketEnd, server: SocketEnd) -> ShownEnds<'_> {
        let ends = self.ends.as_deref();
        if let Some(ends) = ends {
            ends.show(client, server);
        }
        ShownEnds(ends)
    }

    /// How the packets of the socket to the client travel, and of the one to the server.
    pub(super) fn socket_facts(&self) -> [Option<SocketFacts>; 2] {
        self.ends.as_deref().map_or([None; 2], Ends::facts)
    }

    /// Adds bytes that went from the client to the server.
    pub fn add_sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Relaxed);
    }

    /// Adds bytes that went from the server to the client.
    pub fn add_received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Relaxed);
    }

    /// The connection has ended, of which nobody has added up anything: so much went, by a socket to the server of which this is
    /// known.
    pub fn set_ended(&self, sent: u64, received: u64, server: SocketFacts) {
        self.sent.store(sent, Relaxed);
        self.received.store(received, Relaxed);
        if let Some(ends) = self.ends.as_deref() {
            ends.set_server(server);
        }
    }

    /// Both sums as of now: (sent, received).
    pub fn read(&self) -> (u64, u64) {
        (self.sent.load(Relaxed), self.received.load(Relaxed))
    }
}

/// Bytes that passed since somebody looked before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moved {
    /// From the client to the server.
    pub(super) sent: u64,
    /// From the server to the client.
    pub(super) received: u64,
}

/// Shows two sockets while it lives.
#[derive(Debug)]
#[must_use = "the sockets are shown no longer once this is dropped"]
pub struct ShownEnds<'a>(Option<&'a Ends>);

impl Drop for ShownEnds<'_> {
    fn drop(&mut self) {
        if let Some(ends) = self.0 {
            ends.hide();
        }
    }
}
