//! `cargo xtask fuzz`: searches for inputs that break a promise of their readers, for a bounded time.
//!
//! A loop of our own, in agent/examples/fuzz: the coverage that libFuzzer goes by takes a compiler and a tool that are not
//! pinned here. What a search finds becomes a test, or an input that is kept in agent/corpus.

use std::{
    num::NonZero, os::unix::process::CommandExt as _, path::PathBuf, process::Command, thread::available_parallelism,
};

use anyhow::{Context as _, Result};
use clap::Args;
use xshell::Cmd;

use crate::{
    project::{self, MEMBERS, Project},
    setup, ui,
};

/// Search for inputs that break a promise of their readers.
///
/// The targets: `config` (mesh documents, Kubernetes objects), `settings` (agent.yaml, the authority's), `http` (what clients
/// send first), `http2` (frames, tunnels), `head` (heads of requests), `token` (tokens and keys), `certificate` (certificates,
/// identities, revocation lists, authorities' messages), `admin` (queries, recordings, the state on disk), `kernel` (netlink,
/// packets, /proc); `all` of them, side by side as there are CPUs. Prints inputs per second and the ways in which they were
/// read, and the path of the first input that makes a reader panic, take too long, or break a promise of its own. Ctrl-C ends
/// it with the same lines. Sets the machine up first if it was not (see `setup`).
#[derive(Args)]
pub(crate) struct Fuzz {
    /// What is given inputs
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<String>,
    /// How long each
    #[arg(long, value_name = "N", default_value_t = SECONDS)]
    seconds: u64,
    /// The same seed gives the same inputs
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Put the smallest inputs that are read in ways of their own into agent/corpus
    #[arg(long)]
    keep: bool,
    /// Give only this file to the readers, once, and show how it is read
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
}

/// Enough for each target's loop to go through what it begins with and far beyond, in a debug build on a busy machine.
const SECONDS: u64 = 60;

impl Fuzz {
    pub(crate) fn run(&self, project: &Project) -> Result<()> {
        let mut search = search(project, self.seconds)?.args(["--seed", &self.seed.to_string()]);
        search = search.args(self.targets.iter().filter(|target| *target != "all"));
        if self.keep {
            search = search.arg("--keep");
        }
        if let Some(file) = &self.replay {
            search = search.arg("--replay").arg(std::path::absolute(file)?);
        }
        ui::heading(&format!("fuzz: {}", self.targets.join(", ")));
        // In the place of this process: Ctrl-C is the search's own.
        Err(Command::from(search).exec()).context("starting the search failed")
    }
}

/// All targets, as the gate has them.
pub(crate) fn everything(project: &Project) -> Result<()> {
    project::stream(search(project, SECONDS)?, |_| {})
}

/// The search, compiled with the features that the tests compile the agent with.
fn search(project: &Project, seconds: u64) -> Result<Cmd<'_>> {
    setup::ensure_toolchain(project)?;
    project.cargo().arg("build").args(MEMBERS).args(["--example", "fuzz"]).quiet().run()?;
    let target = project.target_dir()?;
    let search = project.shell.cmd(target.join("debug/examples/fuzz")).arg("--found").arg(target.join("fuzz"));
    let jobs = available_parallelism().map_or(1, NonZero::get);
    Ok(search.args(["--seconds", &seconds.to_string(), "--jobs", &jobs.to_string()]))
}
