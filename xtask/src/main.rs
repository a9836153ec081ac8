//! Heddle's own tool, `cargo xtask`: prepares a machine, builds, tests and tidies.
//!
//! One file or folder per verb; `project.rs` runs cargo, `ui.rs` prints. It must build on a machine that has nothing
//! but rustup's cargo, so it depends neither on the agent nor on a BPF toolchain.

mod bench;
mod build;
mod chaos;
mod ci;
mod demo;
mod fuzz;
mod image;
mod project;
mod setup;
mod test;
mod tidy;
mod ui;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::project::Project;

/// Heddle's own tool: prepare a machine, build, test, show.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = FIRST_STEPS)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Setup(setup::Setup),
    Build(build::Build),
    Image(image::Image),
    Bench(bench::Bench),
    Test(test::Test),
    Demo(demo::Demo),
    Fuzz(fuzz::Fuzz),
    Chaos(chaos::Chaos),
    Tidy(tidy::Tidy),
    Ci(ci::Ci),
}

fn main() -> ExitCode {
    let verb = Arguments::parse().verb;
    let outcome = Project::find().and_then(|project| match verb {
        Verb::Setup(setup) => setup.run(&project),
        Verb::Build(build) => build.run(&project),
        Verb::Image(image) => image.run(&project),
        Verb::Bench(bench) => bench.run(&project),
        Verb::Test(test) => test.run(&project),
        Verb::Demo(demo) => demo.run(&project),
        Verb::Fuzz(fuzz) => fuzz.run(&project),
        Verb::Chaos(chaos) => chaos.run(&project),
        Verb::Tidy(tidy) => tidy.run(&project),
        Verb::Ci(ci) => ci.run(&project),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ui::error(&error);
            ExitCode::FAILURE
        }
    }
}

const FIRST_STEPS: &str = "\
First steps:
  cargo xtask setup        once per machine: the compiler and linker for the kernel programs
  cargo xtask demo         two nodes, four pods, two agents: what the mesh does, shown with real traffic (root)
  cargo xtask build        the agent, with its kernel programs inside
  cargo xtask image        an OCI image of it, without Docker
  cargo xtask test         everything that must pass before a change lands (root, for network namespaces)

While working:
  cargo xtask test --only clippy         one stage: fmt, tidy, deny, clippy, unit, fuzz, mesh
  cargo xtask test original_destination  the unit and namespace tests whose names contain the word
  cargo xtask fuzz all                   a minute of mutated inputs for all that reads what comes from outside
  cargo xtask fuzz http --seconds 600    ten of requests and hellos
  cargo xtask chaos                      five minutes of hostile conditions, with what must hold checked (root)";
