//! The loop behind `cargo xtask fuzz http`: mutates requests and hellos and gives them to detection, the guard and hyper.
//!
//! It knows nothing of the readers' branches: an input that is read in a new way joins the corpus for the rest of the run.
//! It stops at the first input that breaks a promise: a panic, other answers under other splits, another framing than that
//! of a plain reader, or too long a time.

#![expect(clippy::print_stdout, reason = "a tool for people")]

use std::{
    collections::HashSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::Parser;
use fastrand::Rng;
use heddle::connect::http::fuzz::{Exercised, exercise, mutate, seeds};
use tokio::runtime::{Builder, Runtime};

/// Give mutated requests and hellos to the agent's readers.
#[derive(Parser)]
struct Arguments {
    /// How long.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The same seed gives the same inputs; of a file that is replayed, the same splits.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where an input that breaks a promise is left.
    #[arg(long, value_name = "DIR")]
    found: PathBuf,
    /// The longest time for one input, in milliseconds.
    #[arg(long, default_value_t = 5000)]
    most_milliseconds: u64,
    /// Give only this file to the readers, once.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
}

/// Inputs of the corpus, at most: then new ones take the places of old ones.
const MOST_INPUTS: usize = 2000;

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let longest = Duration::from_millis(arguments.most_milliseconds);
    let runtime = runtime()?;
    if let Some(file) = &arguments.replay {
        let input = fs::read(file).with_context(|| format!("reading {} failed", file.display()))?;
        return Ok(match run_one(&runtime, &input, arguments.seed, longest) {
            Ok(exercised) => {
                println!("{} requests; {}", exercised.requests, exercised.shape);
                ExitCode::SUCCESS
            }
            Err(broken) => {
                println!("{broken}");
                ExitCode::FAILURE
            }
        });
    }
    fs::create_dir_all(&arguments.found).with_context(|| format!("making {} failed", arguments.found.display()))?;
    search(&arguments, &runtime, longest)
}

/// Its clock stands still: waiting costs no time.
fn runtime() -> Result<Runtime> {
    Builder::new_current_thread().enable_time().start_paused(true).build().context("making a runtime failed")
}

fn search(arguments: &Arguments, runtime: &Runtime, longest: Duration) -> Result<ExitCode> {
    let (mut rng, mut corpus) = (Rng::with_seed(arguments.seed), seeds());
    let begun = Instant::now();
    let (mut count, mut requests, mut refused, mut slowest) = (0u64, 0, 0u64, Duration::ZERO);
    let mut shapes = HashSet::new();
    // Left behind where the process dies without a panic, such as by an overflow of the stack.
    let current = arguments.found.join("current");
    let first_inputs = corpus.len();
    while begun.elapsed() < Duration::from_secs(arguments.seconds) {
        // Half of the time from the beginning: what was kept since is mostly further from a whole request.
        let range = if rng.bool() { first_inputs } else { corpus.len() };
        let (input, other) = (&corpus[rng.usize(..range)], &corpus[rng.usize(..corpus.len())]);
        let (input, splits) = (mutate(&mut rng, input, other), rng.u64(..));
        fs::write(&current, &input).with_context(|| format!("writing {} failed", current.display()))?;
        let given = Instant::now();
        let outcome = run_one(runtime, &input, splits, longest);
        slowest = slowest.max(given.elapsed());
        count += 1;
        match outcome {
            Ok(exercised) => {
                requests += exercised.requests;
                refused += u64::from(exercised.refused.is_some());
                match shapes.insert(exercised.shape) {
                    true if corpus.len() < MOST_INPUTS => corpus.push(input),
                    true => corpus[rng.usize(first_inputs..MOST_INPUTS)] = input,
                    false => {}
                }
            }
            Err(broken) => {
                println!("{broken}\nfound after {count} inputs");
                return keep(arguments, &current, count, splits);
            }
        }
    }
    fs::remove_file(&current)?;
    let per_second = count as f64 / begun.elapsed().as_secs_f64();
    println!(
        "{count} inputs, {per_second:.0} per second, seed {}; {requests} requests served, {refused} inputs refused, {} ways \
         of reading, {} inputs kept, slowest {} ms; no promise broken",
        arguments.seed,
        shapes.len(),
        corpus.len(),
        slowest.as_millis()
    );
    Ok(ExitCode::SUCCESS)
}

fn keep(arguments: &Arguments, current: &Path, count: u64, splits: u64) -> Result<ExitCode> {
    let file = arguments.found.join(format!("seed-{}-{count}", arguments.seed));
    fs::rename(current, &file)?;
    println!("again: cargo xtask fuzz http --seed {splits} --replay {}", file.display());
    Ok(ExitCode::FAILURE)
}

fn run_one(runtime: &Runtime, input: &[u8], splits: u64, longest: Duration) -> Result<Exercised, String> {
    let begun = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| exercise(runtime, input, splits)));
    let outcome = outcome.unwrap_or_else(|_| Err("a reader panicked".to_owned()));
    match begun.elapsed() {
        took if took > longest => Err(format!("took {} ms", took.as_millis())),
        _ => outcome,
    }
}
