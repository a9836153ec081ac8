//! Arguments that several commands have.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::config::MtlsMode;

/// The agent that is asked.
#[derive(Debug, Args)]
pub(super) struct AskedAgent {
    /// The agent's admin.socket.
    #[arg(long, value_name = "PATH", default_value = "/run/heddle/admin.sock")]
    pub(super) socket: PathBuf,
}

/// Whom the output is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    Text,
    Json,
}

/// `mtls.mode` of agent.yaml, where no agent is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Mode {
    Strict,
    Permissive,
}

impl From<Mode> for MtlsMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Strict => Self::Strict,
            Mode::Permissive => Self::Permissive,
        }
    }
}
