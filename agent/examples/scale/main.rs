//! What a change of the mesh costs, and what the mesh weighs, as it grows: `cargo xtask bench --scale`.
//!
//! In: sizes of a mesh that is made up, and numbers of AuthorizationPolicies. Out: one line for each, and with `--json`
//! the same as JSON. Each is measured in a process of its own, so that its memory is not what another left behind. Nothing
//! of the network or of the kernel takes part: what is measured is the compiler, one thread, from objects to a published
//! snapshot, and what reads the snapshot.

#![expect(clippy::print_stdout, reason = "a program for a person at a terminal")]

mod decisions;
mod measure;
mod policies;
mod telemetry;
mod world;

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, Subcommand};

use decisions::Decisions;
use measure::Figures;
use policies::PolicyFigures;
use serde::{Serialize, de::DeserializeOwned};
use telemetry::TelemetryFigures;

/// The agent's own allocator, or memory would mean something else.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Measure the mesh compiler at 100 to 100,000 endpoints, decisions at 10 to 10,000 policies and 10 to 1,000 rules of
/// routes, and what telling of requests costs.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    one: Option<One>,
    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Subcommand)]
enum One {
    /// Measure one size and print its figures as JSON
    Size(Size),
    /// Measure one number of policies and print its figures as JSON
    Policies {
        /// Policies in all
        policies: usize,
    },
    /// Measure decisions over requests and print them as JSON
    Decisions,
    /// Measure what telling of requests costs and print it as JSON
    Telemetry,
}

/// How large the mesh is.
#[derive(Args, Clone, Copy)]
struct Size {
    /// Endpoints in all, each with its pod
    endpoints: usize,
    /// Endpoints of each Service
    per_service: usize,
}

const SIZES: [(usize, usize); 5] = [(100, 100), (1_000, 100), (10_000, 100), (100_000, 100), (100_000, 100_000)];
const POLICIES: [usize; 4] = [10, 100, 1_000, 10_000];

/// What `--json` writes.
#[derive(Default, Serialize)]
struct All {
    sizes: Vec<Figures>,
    policies: Vec<PolicyFigures>,
    decisions: Vec<Decisions>,
    telemetry: Option<TelemetryFigures>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    match options.one {
        Some(One::Size(size)) => print(&measure::measure(size.endpoints, size.per_service)?),
        Some(One::Policies { policies }) => print(&policies::measure(policies)?),
        Some(One::Decisions) => print(&decisions::measure()?),
        Some(One::Telemetry) => print(&telemetry::measure()?),
        None => measure_all(options.json),
    }
}

fn print(figures: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(figures)?);
    Ok(())
}

fn measure_all(file: Option<PathBuf>) -> Result<()> {
    let mut all = All::default();
    println!("{}", Figures::HEAD);
    for (endpoints, per_service) in SIZES {
        let figures: Figures = in_a_process(&["size", &endpoints.to_string(), &per_service.to_string()])?;
        println!("{figures}");
        all.sizes.push(figures);
    }
    println!("\n{}", PolicyFigures::HEAD);
    for policies in POLICIES {
        let figures: PolicyFigures = in_a_process(&["policies", &policies.to_string()])?;
        println!("{figures}");
        all.policies.push(figures);
    }
    println!("\n{}", Decisions::HEAD);
    all.decisions = in_a_process(&["decisions"])?;
    all.decisions.iter().for_each(|row| println!("{row}"));
    println!("\n{}", TelemetryFigures::HEAD);
    let telemetry: TelemetryFigures = in_a_process(&["telemetry"])?;
    println!("{telemetry}");
    all.telemetry = Some(telemetry);
    println!("times in microseconds, one thread; memory in bytes of RSS");
    if let Some(file) = file {
        let text = serde_json::to_string_pretty(&all)? + "\n";
        std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}

fn in_a_process<T: DeserializeOwned>(arguments: &[&str]) -> Result<T> {
    let program = std::env::current_exe().context("finding this program")?;
    let output = Command::new(program)
        .args(arguments)
        // What is freed goes back at once, so that RSS is what is in use.
        .env("_RJEM_MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0")
        .output()
        .context("starting the measurement")?;
    ensure!(output.status.success(), "measuring {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("reading the measurement's figures")
}
