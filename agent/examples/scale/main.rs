//! What a change of the mesh costs, what the mesh weighs, and what a request's decision costs, as it grows: `cargo xtask
//! bench --scale`.
//!
//! In: sizes of a mesh that is made up. Out: one line for each size, and with `--json` the same as JSON. Each size is
//! measured in a process of its own, so that its memory is not what another left behind. Nothing of the network or of
//! the kernel takes part: what is measured is the compiler, one thread, from objects to a published snapshot.

#![expect(clippy::print_stdout, reason = "a program for a person at a terminal")]

mod decisions;
mod measure;
mod world;

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, Subcommand};
use serde::{Serialize, de::DeserializeOwned};

use decisions::Decisions;
use measure::Figures;

/// The agent's own allocator, or memory would mean something else.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Measure the mesh compiler at 100 to 100,000 endpoints, and decisions over 10 to 1,000 rules.
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
    /// Measure decisions over requests and print them as JSON
    Decisions,
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

/// Everything that was measured.
#[derive(Serialize)]
struct All {
    sizes: Vec<Figures>,
    decisions: Vec<Decisions>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    match options.one {
        Some(One::Size(size)) => {
            println!("{}", serde_json::to_string(&measure::measure(size.endpoints, size.per_service)?)?);
            return Ok(());
        }
        Some(One::Decisions) => {
            println!("{}", serde_json::to_string(&decisions::measure()?)?);
            return Ok(());
        }
        None => {}
    }
    println!("{}", Figures::HEAD);
    let mut sizes = Vec::new();
    for (endpoints, per_service) in SIZES {
        let figures: Figures = in_a_process(&["size", &endpoints.to_string(), &per_service.to_string()])?;
        println!("{figures}");
        sizes.push(figures);
    }
    println!("\n{}", Decisions::HEAD);
    let decisions: Vec<Decisions> = in_a_process(&["decisions"])?;
    decisions.iter().for_each(|row| println!("{row}"));
    println!("\ntimes in microseconds, one thread; memory in bytes of RSS");
    if let Some(file) = options.json {
        let text = serde_json::to_string_pretty(&All { sizes, decisions })? + "\n";
        std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}

fn in_a_process<T: DeserializeOwned>(measurement: &[&str]) -> Result<T> {
    let program = std::env::current_exe().context("finding this program")?;
    let output = Command::new(program)
        .args(measurement)
        // What is freed goes back at once, so that RSS is what is in use.
        .env("_RJEM_MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0")
        .output()
        .context("starting the measurement")?;
    let error = || String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "measuring {}: {}", measurement.join(" "), error());
    serde_json::from_slice(&output.stdout).context("reading the measurement's figures")
}
