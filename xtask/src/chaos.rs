//! `cargo xtask chaos`: builds the agent and becomes `heddle-chaos`, which makes trouble for it.
//!
//! The agent is built as the tests build it: what asserts in a debug build shall assert here. What is done and what must hold:
//! docs/chaos.md.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt as _,
    path::{PathBuf, absolute},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::{project, project::Project, setup, ui};

/// Play hostile conditions against the mesh, and check what must hold.
///
/// Two nodes with real agents, real pods and a load that is checked byte for byte at both ends; packet loss, partitions, peers
/// that stop at each step, machines that vanish, endpoints and configuration that change many times a second, malformed TLS, HBONE
/// and HTTP, an API server that flaps, full disks, an authority that is gone, clocks that jump. Meanwhile no plaintext on the wire, no
/// byte for whom it is not, no lost or changed byte on an open stream, bounded memory, and afterwards new connections work again. Prints
/// a table and, of what did not hold, how to play it again; the exit code is then 1. Takes five minutes after the build, needs root,
/// and leaves nothing behind, after Ctrl-C neither. docs/chaos.md has the scenarios and the bounds.
#[derive(Args)]
pub(crate) struct Chaos {
    /// What is random follows from it; without one it is the time of day
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How long each scenario makes trouble [default: 15]
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Play all of them again and again, with other seeds, until so many minutes have passed
    #[arg(long, value_name = "N")]
    minutes: Option<u64>,
    /// Only the scenarios whose names begin so; may be given several times
    #[arg(long = "scenario", value_name = "NAME")]
    scenarios: Vec<String>,
    /// Say which scenarios there are, and end
    #[arg(long)]
    list: bool,
    /// Write what was done and checked to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Chaos {
    pub(crate) fn run(&self, project: &Project) -> Result<()> {
        ensure!(
            self.list || project::is_root()?,
            "chaos makes network namespaces and loads kernel programs: run it as root"
        );
        let arguments = self.arguments()?;
        setup::ensure_test_tools(project)?;
        ui::heading("chaos: build");
        project.cargo().args(["build", "--package", "heddle", "--bin", "heddle"]).quiet().run()?;
        project.cargo().args(["build", "--package", "heddle-tests", "--bins"]).quiet().run()?;
        ui::heading("chaos: play");
        let target = project.target_dir()?.join("debug");
        let mut chaos = Command::new(target.join("heddle-chaos"));
        chaos.args(arguments).env("HEDDLE_BIN", target.join("heddle"));
        // Not as a child: Ctrl-C then goes to the program that cleans up, and the shell waits for it.
        Err(chaos.exec()).context("starting heddle-chaos failed")
    }

    fn arguments(&self) -> Result<Vec<OsString>> {
        let mut arguments: Vec<OsString> = self.list.then_some("--list".into()).into_iter().collect();
        let mut add = |name: &str, value: OsString| arguments.extend([name.into(), value]);
        if let Some(file) = &self.json {
            let file = absolute(file).with_context(|| format!("finding where {} is failed", file.display()))?;
            add("--json", file.into());
        }
        self.scenarios.iter().for_each(|name| add("--scenario", name.into()));
        for (name, number) in [("--seed", self.seed), ("--seconds", self.seconds), ("--minutes", self.minutes)] {
            number.iter().for_each(|number| add(name, number.to_string().into()));
        }
        Ok(arguments)
    }
}
