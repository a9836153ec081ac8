//! The file of recorded flows: lines of JSON, the first about the file, the last about its end, and one for each distinct flow
//! between them.
//!
//! ```text
//! {"heddleFlows":1,"node":"node-a","started":"2026-07-30T10:00:00.000Z"}
//! {"identity":"spiffe://cluster.local/ns/shop/sa/web","namespace":"shop","workload":"cart","port":8080,"method":"GET","path":"/items","host":"cart","count":41}
//! {"address":"192.0.2.7","namespace":"shop","workload":"cart","port":9000,"count":2,"open":1}
//! {"ended":"2026-07-30T10:10:00.000Z","flows":2,"overflow":0}
//! ```
//!
//! A client is told by the identity that it proved, else by its address. Headers, tokens and queries are never in it. What was
//! open at the end of the recording is among the counts, and counted by itself: a long one is what a new policy cuts.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{ConnectionStart, Party, Reporter};
use crate::mesh::SpiffeId;

/// The version of the format. A reader refuses others.
pub const VERSION: u32 = 1;

/// What stands at the end of a path that was cut, as in the access log.
pub const CUT: &str = "...";

/// A recording.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flows {
    /// What is said of it at its begin.
    pub head: FlowsHead,
    /// Each distinct flow.
    pub flows: Vec<Flow>,
    /// What is said of it at its end.
    pub end: FlowsEnd,
}

/// The first line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowsHead {
    /// The version.
    #[serde(rename = "heddleFlows")]
    pub version: u32,
    /// The node.
    pub node: String,
    /// When the recording began.
    pub started: String,
}

/// The last line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowsEnd {
    /// When it ended.
    pub ended: String,
    /// How many distinct flows there are.
    pub flows: u64,
    /// How many connections and requests were not kept: there were too many distinct flows, or nobody had remembered what a
    /// request is that was open at the end.
    pub overflow: u64,
}

/// Connections or requests that are alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Flow {
    /// Who asked.
    #[serde(flatten)]
    pub client: FlowClient,
    /// The namespace of who was asked.
    pub namespace: String,
    /// The workload that was asked: what owns the pod.
    pub workload: String,
    /// The pod's port.
    pub port: u16,
    /// The request; absent for a connection without any.
    #[serde(flatten)]
    pub request: Option<FlowRequest>,
    /// How many there were, with those that were open at the end of the recording.
    pub count: u64,
    /// How many of these were open at the end of the recording.
    #[serde(default, skip_serializing_if = "is_none")]
    pub open: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

/// Who asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowClient {
    /// One that proved who it is.
    #[serde(with = "identity")]
    Identity(SpiffeId),
    /// Any other.
    Address(IpAddr),
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FlowRequest {
    /// Its method.
    pub method: String,
    /// Its path, without the query.
    pub path: String,
    /// Its host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

impl Flow {
    /// The flow of what a pod of this node was asked, whatever it was answered; without counts.
    pub(super) fn of(start: &ConnectionStart, server: Option<&Party>, request: Option<FlowRequest>) -> Option<Self> {
        if start.reporter != Reporter::Destination {
            return None;
        }
        let workload = server?.workload.as_deref()?;
        Some(Self {
            client: match &start.client.identity {
                Some(identity) => FlowClient::Identity(identity.clone()),
                None => FlowClient::Address(start.client.address.ip()),
            },
            namespace: workload.namespace.to_string(),
            workload: workload.owner.to_string(),
            port: start.original_dst.port(),
            request,
            count: 0,
            open: 0,
        })
    }
}

mod identity {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::mesh::SpiffeId;

    pub(super) fn serialize<S: Serializer>(identity: &SpiffeId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(identity)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SpiffeId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Why a file is no recording.
#[derive(Debug, thiserror::Error)]
pub enum BadFlows {
    /// The first line.
    #[error("line 1 is not the head of recorded flows (heddleFlows): {0}; record with heddle record")]
    Head(serde_json::Error),
    /// Of another version.
    #[error("the flows are of version {0} of the format, and this build reads {VERSION}; record anew")]
    Version(u32),
    /// A flow.
    #[error("line {line} is no flow: {source}; record anew")]
    Flow {
        /// From 1.
        line: usize,
        /// What is the matter.
        source: serde_json::Error,
    },
    /// The end is missing.
    #[error("the last line is not the end of a recording: it was broken off; record anew")]
    Unfinished,
}

impl Flows {
    /// Reads a file.
    ///
    /// # Errors
    /// It is none.
    pub fn read(text: &str) -> Result<Self, BadFlows> {
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let (_, head) = lines.next().unwrap_or_default();
        let head: FlowsHead = serde_json::from_str(head).map_err(BadFlows::Head)?;
        if head.version != VERSION {
            return Err(BadFlows::Version(head.version));
        }
        let mut lines: Vec<(usize, &str)> = lines.collect();
        let end = lines.pop().and_then(|(_, line)| serde_json::from_str(line).ok()).ok_or(BadFlows::Unfinished)?;
        let flow = |(index, line): (usize, &str)| {
            serde_json::from_str(line).map_err(|source| BadFlows::Flow { line: index + 1, source })
        };
        Ok(Self { head, flows: lines.into_iter().map(flow).collect::<Result<_, _>>()?, end })
    }

    /// As a file.
    ///
    /// # Errors
    /// None that is known: every part can be written.
    pub fn write(&self) -> Result<String, serde_json::Error> {
        let mut text = serde_json::to_string(&self.head)? + "\n";
        for flow in &self.flows {
            text += &serde_json::to_string(flow)?;
            text.push('\n');
        }
        Ok(text + &serde_json::to_string(&self.end)? + "\n")
    }
}
