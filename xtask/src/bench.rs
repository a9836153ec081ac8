//! `cargo xtask bench`: builds the optimised agent and becomes `heddle-bench`, which measures it.
//!
//! The agent is measured; `heddle-bench` and `heddle-peer` only start programs and wait, so they are built as the tests
//! build them. How to read the table: docs/benchmarks.md.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt as _,
    path::{PathBuf, absolute},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::{project, project::Project, setup, ui};

/// Measure the mesh against direct connections, between network namespaces.
///
/// Builds the agent with optimisation, then measures in interleaved rounds and prints one table of ratios beside the
/// targets. A missed target is no failure of the command. Needs root. Nothing else should run on the machine.
///
/// To profile the agents: `--case http-16 --rounds 1 --seconds 20`, and while it runs `perf record -g -p PID` with the
/// process ids that it prints first.
#[derive(Args)]
pub(crate) struct Bench {
    /// Short rounds and fewer cases: done within 3 minutes after the build
    #[arg(long)]
    quick: bool,
    /// Measure the mesh compiler at 100 to 100,000 endpoints, and decisions over requests, instead, without any network
    #[arg(long, conflicts_with_all = ["quick", "cases", "rounds", "seconds", "settings"])]
    scale: bool,
    /// Write machine, options and every round's figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only the cases whose names begin so (http, bulk-1, connections, same-node, l7, peer-nginx, memory, start); may be given
    /// several times
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<String>,
    /// Rounds per case; each measures direct, then what the case is about [default: 5, with --quick 3]
    #[arg(long, value_name = "N")]
    rounds: Option<u32>,
    /// Seconds per measurement [default: 5, with --quick 2]
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// A setting of both agents' agent.yaml, such as limits.dataThreads=1; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

impl Bench {
    pub(crate) fn run(&self, project: &Project) -> Result<()> {
        if self.scale {
            return self.run_scale(project);
        }
        ensure!(project::is_root()?, "bench makes network namespaces and loads kernel programs: run it as root");
        let arguments = self.arguments()?;
        setup::ensure_test_tools(project)?;
        ui::heading("bench: build");
        project.cargo().args(["build", "--release", "--package", "heddle", "--bin", "heddle"]).quiet().run()?;
        project.cargo().args(["build", "--package", "heddle-tests", "--bins"]).quiet().run()?;
        ui::heading("bench: measure");
        let target = project.target_dir()?;
        let mut bench = Command::new(target.join("debug/heddle-bench"));
        bench.args(arguments).env("HEDDLE_BIN", target.join("release/heddle"));
        // Not as a child: Ctrl-C then goes to the program that cleans up, and the shell waits for it.
        Err(bench.exec()).context("starting heddle-bench failed")
    }

    /// The compiler is a function: an example of the agent's library measures it.
    fn run_scale(&self, project: &Project) -> Result<()> {
        ui::heading("bench: build");
        project.cargo().args(["build", "--release", "--package", "heddle", "--example", "scale"]).quiet().run()?;
        ui::heading("bench: measure");
        let mut bench = Command::new(project.target_dir()?.join("release/examples/scale"));
        Err(bench.args(self.arguments()?).exec()).context("starting the example failed")
    }

    fn arguments(&self) -> Result<Vec<OsString>> {
        let mut arguments: Vec<OsString> = self.quick.then_some("--quick".into()).into_iter().collect();
        let mut add = |name: &str, value: OsString| arguments.extend([name.into(), value]);
        if let Some(file) = &self.json {
            let file = absolute(file).with_context(|| format!("finding where {} is failed", file.display()))?;
            add("--json", file.into());
        }
        self.cases.iter().for_each(|name| add("--case", name.into()));
        self.settings.iter().for_each(|setting| add("--set", setting.into()));
        self.rounds.iter().for_each(|number| add("--rounds", number.to_string().into()));
        self.seconds.iter().for_each(|number| add("--seconds", number.to_string().into()));
        Ok(arguments)
    }
}
