//! `cargo xtask fuzz`: searches for inputs that break a promise of a reader, for a bounded time.
//!
//! A loop of our own, in agent/examples: the coverage that libFuzzer goes by takes a compiler and a tool that are not
//! pinned here. What a search finds becomes a test.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

use crate::{project::Project, setup, ui};

/// Search for inputs that break a promise of a reader.
///
/// Prints inputs per second, and the path of the first input that makes the reader panic, take too long, or break a promise
/// of its own: configuration reads back as something else than was written, a request is framed differently by different
/// readers or under different splits. Sets the machine up first if it was not (see `setup`).
#[derive(Args)]
pub(crate) struct Fuzz {
    /// What is given inputs
    #[arg(value_enum)]
    target: Target,
    /// How long
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// The same seed gives the same inputs; to `--replay` for http, the same splits
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Give only this file to the reader, once, and show what it says
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Target {
    /// Mesh configuration, from deploy/examples
    Config,
    /// What clients send first: HTTP/1 requests, TLS hellos, anything
    Http,
}

impl Fuzz {
    pub(crate) fn run(&self, project: &Project) -> Result<()> {
        setup::ensure_toolchain(project)?;
        let (name, example) = match self.target {
            Target::Config => ("config", "fuzz_config"),
            Target::Http => ("http", "fuzz_http"),
        };
        let found = project.target_dir()?.join("fuzz").join(name);
        let mut command = project.cargo().args(["run", "--quiet", "--package", "heddle", "--example", example, "--"]);
        if let Target::Config = self.target {
            command = command.arg("--corpus").arg(project.root.join("deploy/examples"));
        }
        command = command.arg("--found").arg(&found).args(["--seconds", &self.seconds.to_string()]);
        command = command.args(["--seed", &self.seed.to_string()]);
        if let Some(file) = &self.replay {
            command = command.arg("--replay").arg(std::path::absolute(file)?);
        }
        ui::heading(&format!("fuzz: {name}"));
        let outcome = command.quiet().run();
        let current = found.join(if let Target::Config = self.target { "current.yaml" } else { "current" });
        ensure!(outcome.is_ok() || !current.exists(), "the reader died of the input in {}", current.display());
        Ok(outcome?)
    }
}
