//! The stages of `cargo xtask test` and the programs that each runs.
//!
//! The kernel programs build for their own target only, so cargo is told to leave `heddle-ebpf` out; the agent's build
//! script compiles it in every stage that compiles the agent.

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use xshell::Cmd;

use super::tally::Tally;
use crate::{
    project::{self, Project},
    setup, tidy, ui,
};

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Stage {
    /// rustfmt changes nothing
    Fmt,
    /// no warning of rustc or clippy; compiles the kernel programs
    Clippy,
    /// the house rules: sizes, headers, links, dependencies
    Tidy,
    /// unit, property and documentation tests
    Unit,
    /// real agents between network namespaces; needs root
    Mesh,
}

impl Stage {
    pub(super) const ALL: [Self; 5] = [Self::Fmt, Self::Tidy, Self::Clippy, Self::Unit, Self::Mesh];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Clippy => "clippy",
            Self::Tidy => "tidy",
            Self::Unit => "unit",
            Self::Mesh => "mesh",
        }
    }

    /// Whether a filter by name can choose among the tests of this stage.
    pub(super) fn has_named_tests(self) -> bool {
        matches!(self, Self::Unit | Self::Mesh)
    }

    pub(super) fn run(self, project: &Project, filter: Option<&str>, tally: &mut Tally) -> Result<()> {
        match self {
            Self::Fmt => {
                run(project.cargo().args(["fmt", "--all", "--check"])).context("run `cargo fmt --all` to put it right")
            }
            Self::Clippy => clippy(project),
            Self::Tidy => tidy::check(project),
            Self::Unit => unit(project, filter, tally),
            Self::Mesh => mesh(project, filter, tally),
        }
    }
}

fn clippy(project: &Project) -> Result<()> {
    setup::ensure_toolchain(project)?;
    let clippy = project.cargo().arg("clippy").args(ALL_BUT_KERNEL).arg("--all-targets");
    run(clippy.args(["--", "--deny", "warnings"]))
}

fn unit(project: &Project, filter: Option<&str>, tally: &mut Tally) -> Result<()> {
    setup::ensure_toolchain(project)?;
    let test = || project.cargo().args(["test", "--no-fail-fast"]).args(ALL_BUT_KERNEL);
    let units = run_tests(test().args(["--lib", "--bins"]), filter, tally);
    let documentation = run_tests(test().arg("--doc"), filter, tally);
    units.and(documentation)
}

/// The agent under test is built as `cargo xtask build` builds it, so that no test-only feature of a dependency is in
/// it; the tests and their peer program share what the unit stage compiled.
fn mesh(project: &Project, filter: Option<&str>, tally: &mut Tally) -> Result<()> {
    ensure!(project::is_root()?, "the mesh tests make network namespaces and load kernel programs: run them as root");
    setup::ensure_test_tools(project)?;
    run(project.cargo().args(["build", "--package", "heddle", "--bin", "heddle"]))?;
    let agent = project.target_dir()?.join("debug/heddle");
    let test = project.cargo().args(["test", "--no-fail-fast"]).args(ALL_BUT_KERNEL).args(["--test", "*"]);
    run_tests(test.env("HEDDLE_BIN", agent), filter, tally)
}

fn run_tests(test: Cmd<'_>, filter: Option<&str>, tally: &mut Tally) -> Result<()> {
    let colours = ui::stdout_has_colours().then_some("--color=always");
    project::stream(test.arg("--").args(filter).args(colours), |line| tally.read(line))
}

fn run(command: Cmd<'_>) -> Result<()> {
    Ok(command.quiet().run()?)
}

const ALL_BUT_KERNEL: [&str; 3] = ["--workspace", "--exclude", "heddle-ebpf"];
