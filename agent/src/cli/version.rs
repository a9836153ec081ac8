//! `heddle version`.

use std::process::ExitCode;

use clap::Args;

use crate::cli;

/// Print the version.
#[derive(Debug, Args)]
pub(super) struct Version {}

impl Version {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        cli::print(&format!("heddle {}", env!("CARGO_PKG_VERSION")))?;
        Ok(ExitCode::SUCCESS)
    }
}
