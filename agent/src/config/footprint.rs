//! What an agent leaves on its node, for who takes it away again: also where there is no `agent.yaml` any more.

use std::path::PathBuf;

use super::{Config, defaults};

/// Where an agent's traces are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// `capture.pins`.
    pub pins: PathBuf,
    /// `capture.proc`.
    pub proc: PathBuf,
    /// `state.path`.
    pub state: Option<PathBuf>,
    /// `admin.socket` and `handover.socket`.
    pub sockets: Vec<PathBuf>,
}

impl Footprint {
    /// That of an agent with this configuration.
    pub fn of(config: Config) -> Self {
        Self {
            pins: config.capture.pins,
            proc: config.capture.proc,
            state: config.state,
            sockets: config.admin.socket.into_iter().chain(config.handover.socket).collect(),
        }
    }
}

impl Default for Footprint {
    fn default() -> Self {
        Self {
            pins: defaults::PINS.into(),
            proc: defaults::PROC.into(),
            state: Some(defaults::STATE.into()),
            sockets: vec![defaults::ADMIN_SOCKET.into(), defaults::HANDOVER_SOCKET.into()],
        }
    }
}
