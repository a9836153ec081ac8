//! The stages of `cargo xtask test` and the programs that each runs.
//!
//! The kernel programs build for their own target only, so cargo is told to leave `heddle-ebpf` out; the agent's build
//! script compiles it in every stage that compiles the agent.

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use xshell::Cmd;

use super::tally::Tally;
use crate::{
    fuzz,
    project::{self, MEMBERS, MODELS, Project},
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
    /// licences, sources and duplicates of what is compiled in
    Deny,
    /// unit, property and documentation tests
    Unit,
    /// mutated inputs for every reader of what comes from outside, a minute each
    Fuzz,
    /// real agents between network namespaces; needs root
    Mesh,
}

impl Stage {
    pub(super) const ALL: [Self; 7] =
        [Self::Fmt, Self::Tidy, Self::Deny, Self::Clippy, Self::Unit, Self::Fuzz, Self::Mesh];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Clippy => "clippy",
            Self::Tidy => "tidy",
            Self::Deny => "deny",
            Self::Unit => "unit",
            Self::Fuzz => "fuzz",
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
            Self::Deny => deny(project),
            Self::Unit => unit(project, filter, tally),
            Self::Fuzz => fuzz::everything(project),
            Self::Mesh => mesh(project, filter, tally),
        }
    }
}

fn deny(project: &Project) -> Result<()> {
    let deny = setup::ensure_deny(project)?;
    let checks = ["bans", "licenses", "sources"];
    run(project.shell.cmd(deny).args(["--locked", "check", "--hide-inclusion-graph"]).args(checks))
        .context("deny.toml says what is allowed, and why; what cargo-deny says is above")
}

fn clippy(project: &Project) -> Result<()> {
    setup::ensure_toolchain(project)?;
    let clippy = |members: &[&str]| {
        run(project.cargo().arg("clippy").args(members).args(["--all-targets", "--", "--deny", "warnings"]))
    };
    clippy(&MEMBERS).and(clippy(&MODELS))
}

fn unit(project: &Project, filter: Option<&str>, tally: &mut Tally) -> Result<()> {
    setup::ensure_toolchain(project)?;
    let test = || project.cargo().args(["test", "--no-fail-fast"]).args(MEMBERS);
    let units = run_tests(test().args(["--lib", "--bins"]), filter, tally);
    let documentation = run_tests(test().arg("--doc"), filter, tally);
    let models = run_tests(project.cargo().arg("test").args(MODELS), filter, tally);
    units.and(documentation).and(models)
}

/// The agent under test is built as `cargo xtask build` builds it, so that no test-only feature of a dependency is in
/// it; the tests and their peer program share what the unit stage compiled.
fn mesh(project: &Project, filter: Option<&str>, tally: &mut Tally) -> Result<()> {
    ensure!(project::is_root()?, "the mesh tests make network namespaces and load kernel programs: run them as root");
    setup::ensure_test_tools(project)?;
    run(project.cargo().args(["build", "--package", "heddle", "--bin", "heddle"]))?;
    let agent = project.target_dir()?.join("debug/heddle");
    let test = project.cargo().args(["test", "--no-fail-fast"]).args(MEMBERS).args(["--test", "*"]);
    run_tests(test.env("HEDDLE_BIN", agent), filter, tally)
}

fn run_tests(test: Cmd<'_>, filter: Option<&str>, tally: &mut Tally) -> Result<()> {
    let colours = ui::stdout_has_colours().then_some("--color=always");
    project::stream(test.arg("--").args(filter).args(colours), |line| tally.read(line))
}

fn run(command: Cmd<'_>) -> Result<()> {
    Ok(command.quiet().run()?)
}
