//! Step 3: may they? Evaluated at the server's node, on proven identities only.
//!
//! [`inbound`] is the one decision, of every connection that comes to a pod of this node, by a tunnel or without. A
//! [`Permitted`] can only be made here, and the application is dialled only with one: a path that forgets to authorize
//! does not compile. The mode of the port comes first (PeerAuthentication, else agent.yaml). [`Admissions`] keeps what an
//! open connection was decided on, and decides again when access changes.

mod admissions;
mod mode;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

pub use admissions::{Admission, Admissions, Withdrawn, follow};
pub use mode::{DecidedMode, ModeSource, mode, takes_plaintext_only};

use crate::{
    config::MtlsMode,
    identify::VerifiedPeer,
    mesh::{Mode, Snapshot, Workload},
    observe::DenialReason,
};

/// What is known of a connection to a pod of this node.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Who its client has proved to be; `None` without a tunnel.
    pub peer: Option<&'a VerifiedPeer>,
    /// The client's address, which proves nothing.
    pub client: IpAddr,
    /// The pod's address and port.
    pub to: SocketAddr,
}

/// Leave to connect to the application.
#[derive(Debug)]
pub struct Permitted {
    mode: Mode,
}

/// Why a connection may not reach the application.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It came without a tunnel and the mode is STRICT.
    #[error("plaintext, and {}: enrol the client's pod, or say PERMISSIVE there", strict(.0))]
    Plaintext(ModeSource),
}

/// Decides over a connection to a workload of this node, whose agent.yaml says `default`. It reads nothing else.
pub fn inbound(
    snapshot: &Snapshot,
    default: MtlsMode,
    workload: &Workload,
    facts: Facts<'_>,
) -> Result<Permitted, Denied> {
    let decided = mode(snapshot, default, workload, facts.to.port());
    if !takes(decided.mode, facts.peer.is_some()) {
        return Err(Denied::Plaintext(decided.source()));
    }
    Ok(Permitted { mode: decided.mode })
}

/// Whether a mode takes a connection whose client has proved who it is, or has not. Under DISABLE, tunnels still come from
/// nodes that have not seen the document yet: what is protected is no reason to refuse.
fn takes(mode: Mode, is_proven: bool) -> bool {
    match mode {
        Mode::Strict => is_proven,
        Mode::Permissive | Mode::Disable => true,
    }
}

impl Permitted {
    /// The mode of the port.
    pub fn mode(&self) -> Mode {
        self.mode
    }
}

impl Denied {
    /// The reason as metrics have it.
    pub fn reason(&self) -> DenialReason {
        match self {
            Self::Plaintext(_) => DenialReason::StrictMode,
        }
    }

    /// What decided, by the name that logs give it.
    pub fn decided_by(&self) -> String {
        match self {
            Self::Plaintext(source) => source.to_string(),
        }
    }
}

fn strict(source: &ModeSource) -> String {
    match source {
        ModeSource::Agent => format!("{source} is STRICT"),
        ModeSource::Document { level, .. } => format!("{source} says STRICT of {level}"),
    }
}
