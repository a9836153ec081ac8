//! `cargo xtask build`: the agent with its kernel programs inside, and where the binary is.

use anyhow::Result;
use clap::Args;

use crate::{project::Project, setup, ui};

/// Build the agent, with the kernel programs inside.
///
/// Sets the machine up first if it was not (see `setup`), then runs cargo for the one binary `heddle`. Without
/// --release it is the profile that the tests use.
#[derive(Args)]
pub(crate) struct Build {
    /// Optimise: link-time optimisation over all crates, a few minutes.
    #[arg(long)]
    release: bool,
}

impl Build {
    pub(crate) fn run(&self, project: &Project) -> Result<()> {
        setup::ensure_toolchain(project)?;
        let profile = if self.release { "release" } else { "dev" };
        let cargo = project.cargo().args(["build", "--package", "heddle", "--bin", "heddle", "--profile", profile]);
        cargo.quiet().run()?;
        let folder = if self.release { "release" } else { "debug" };
        ui::say(&project.target_dir()?.join(folder).join("heddle").display().to_string());
        Ok(())
    }
}
