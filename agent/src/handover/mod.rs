//! From one agent to the next on a node, while both run: the listeners of pods and of the node's endpoints change hands, so
//! that no connection finds nobody.
//!
//! The new agent prepares all that can fail, then asks the one before by a unix socket. That one stops to write to the kernel,
//! gives the listeners, and accepts on while the new one puts its programs in force and enrols the pods. When the new one
//! serves, the old one stops to accept and drains. They stay connected: the new one hears how many connections the old one
//! still has, the old one whether the new one lives. Until it serves the old one can go on as before.

mod message;
mod predecessor;
mod socket;
mod successor;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, io, os::fd::OwnedFd, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

pub use predecessor::{Draining, Inheritance, Predecessor};
pub use successor::{Claims, Successor};

use crate::capture::Listeners;

/// How long either may take to say what comes next. To read a message and to send it takes no time, so who is silent for
/// longer hangs.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a new agent may take from the listeners to serving: all its pods may wait for certificates.
const UNTIL_SERVING: Duration = Duration::from_secs(30);

/// Who may hand over to whom: agents of one node, with the same pins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Name of the node.
    pub node: String,
    /// `capture.pins`.
    pub pins: PathBuf,
}

/// A listener of the node's endpoints, as one agent tells the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Endpoint {
    /// `metrics.address`.
    Metrics,
    /// `health.address`.
    Health,
    /// `admin.address`.
    Admin,
    /// `admin.socket`.
    AdminSocket,
    /// `handover.socket`.
    Handover,
}

/// Listeners of the node's endpoints, by what each is for.
pub type EndpointSockets = HashMap<Endpoint, OwnedFd>;

/// All listeners of an agent.
#[derive(Debug, Default)]
pub struct Sockets {
    /// In pods.
    pub pods: Listeners,
    /// Of the node.
    pub endpoints: EndpointSockets,
}

impl HandoverError {
    /// Whether the other one has ended.
    pub fn is_gone(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        matches!(self, Self::Broken { source, .. } if matches!(source.kind(), UnexpectedEof | ConnectionReset | BrokenPipe))
    }
}

/// Why nothing was handed over.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// Nobody can ask for it.
    #[error("listen for the next agent on {path}: {source}; make its directory writable, or set handover.socket", path = path.display())]
    Listen {
        /// `handover.socket`.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The other one said no.
    #[error("the agent that runs here refused to hand over: {0}")]
    Refused(String),
    /// The other one does not answer.
    #[error(
        "the agent that runs here (process {process}) did not hand over: {source}; end it, and this one will start without it"
    )]
    Broken {
        /// Its process id.
        process: i32,
        /// What happened.
        source: io::Error,
    },
}
