//! `heddle uninstall`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use crate::{capture::Kernel, cli, config::Config};

/// Take Heddle out of this node's kernel: from then on all pods connect as if it had never been there.
///
/// Removes the pinned programs, links and maps. Connections in an agent that still runs end with it: stop it first.
#[derive(Debug, Args)]
pub(super) struct Uninstall {
    /// The agent's configuration, which says where the pins are.
    #[arg(long, short, value_name = "FILE", default_value = "/etc/heddle/agent.yaml")]
    config: PathBuf,
}

impl Uninstall {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let pins = Config::load(&self.config)?.capture.pins;
        let text = match Kernel::unload(&pins)? {
            true => format!("removed Heddle's programs, links and maps from {}", pins.display()),
            false => format!("nothing to remove: {} does not exist", pins.display()),
        };
        cli::print(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}
