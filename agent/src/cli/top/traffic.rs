//! What the agent's `/traffic` says, as far as it is shown.

use std::{fmt, net::IpAddr};

use serde::Deserialize;

/// The sums of a second, or what is open when the agent is asked, with a length of 0.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Second {
    /// How long it was.
    pub(super) milliseconds: u64,
    pub(super) flows: Vec<Flow>,
    /// What was too much to be told apart.
    pub(super) left_out: u64,
}

/// What two had to do with each other.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Flow {
    pub(super) direction: Direction,
    pub(super) source: Peer,
    pub(super) destination: Option<Peer>,
    service: Option<String>,
    pub(super) protocol: String,
    pub(super) route: Option<String>,
    /// Nothing of what never travelled.
    pub(super) mutual_tls: Option<bool>,
    pub(super) count: u64,
    pub(super) failed: u64,
    /// Microseconds, and how many took at most so long.
    pub(super) latencies: Vec<(u64, u64)>,
    /// Connections that were open at the end of the second.
    pub(super) open: u64,
    pub(super) sent: u64,
    pub(super) received: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Direction {
    Outbound,
    Inbound,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Peer {
    Workload { namespace: String, workload: String },
    Address { address: IpAddr },
}

impl Flow {
    /// Who got it; the service that was asked, where nobody was chosen.
    pub(super) fn to(&self) -> String {
        self.destination.as_ref().map_or_else(|| self.service().to_owned(), Peer::to_string)
    }

    /// The service without the cluster's domain.
    pub(super) fn service(&self) -> &str {
        let name = self.service.as_deref().unwrap_or("-");
        name.split_once(".svc.").map_or(name, |(name, _)| name)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload { namespace, workload } => write!(f, "{namespace}/{workload}"),
            Self::Address { address } => address.fmt(f),
        }
    }
}
