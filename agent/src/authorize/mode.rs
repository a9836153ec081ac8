//! Which connections a port of a workload takes: what PeerAuthentications say, else what agent.yaml says.

use std::fmt;

use crate::{
    config::MtlsMode,
    mesh::{Level, Mode, Snapshot, Statement, Workload},
    objects::ObjectName,
};

/// A mode, and who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecidedMode<'a> {
    /// The mode.
    pub mode: Mode,
    said: Option<Statement<'a>>,
}

/// Who decided over a mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModeSource {
    /// `mtls.mode` of agent.yaml: no document says anything.
    Agent,
    /// A PeerAuthentication.
    Document {
        /// Its namespace and name.
        document: ObjectName,
        /// What it says the mode of.
        level: Level,
    },
}

impl DecidedMode<'_> {
    /// Who says it.
    pub fn source(&self) -> ModeSource {
        match self.said {
            None => ModeSource::Agent,
            Some(said) => ModeSource::Document { document: said.document.clone(), level: said.level },
        }
    }
}

/// The mode of a workload's port at the workload's own node, whose agent.yaml says `default`.
pub fn mode<'a>(snapshot: &'a Snapshot, default: MtlsMode, workload: &Workload, port: u16) -> DecidedMode<'a> {
    let said = snapshot.modes().of(workload, port);
    let default = match default {
        MtlsMode::Strict => Mode::Strict,
        MtlsMode::Permissive => Mode::Permissive,
    };
    DecidedMode { mode: said.map_or(default, |said| said.mode), said }
}

/// Whether clients in the mesh come to this port in plaintext. No agent.yaml can say so, hence every node knows it of
/// every workload.
pub fn takes_plaintext_only(snapshot: &Snapshot, workload: &Workload, port: u16) -> bool {
    snapshot.modes().of(workload, port).is_some_and(|said| said.mode == Mode::Disable)
}

/// The name by which logs call it.
impl fmt::Display for ModeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent => f.write_str("mtls.mode of agent.yaml"),
            Self::Document { document, .. } => write!(f, "PeerAuthentication {document}"),
        }
    }
}
