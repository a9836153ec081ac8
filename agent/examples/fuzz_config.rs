//! The loop behind `cargo xtask fuzz config`: mutates a corpus of mesh configuration and gives it to the agent's readers.
//!
//! It knows nothing of the readers' branches: an input that makes them say something new joins the corpus for the rest of
//! the run. It stops at the first input that breaks a promise: a panic, a rule that does not come back, or too long a time.

#![expect(clippy::print_stdout, reason = "a tool for people")]

use std::{
    collections::HashSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use fastrand::Rng;
use heddle::check::fuzz::{Exercise, Exercised, mutate, seeds};

/// Give mutated mesh configuration to the agent's readers.
#[derive(Parser)]
struct Arguments {
    /// How long.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The same seed gives the same inputs.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Files to begin with; the objects of its `shop.yaml` are there in every run.
    #[arg(long, value_name = "DIR")]
    corpus: PathBuf,
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
    let cluster = arguments.corpus.join("shop.yaml");
    let cluster = fs::read_to_string(&cluster).with_context(|| format!("reading {} failed", cluster.display()))?;
    let exercise = Exercise::new(&cluster, "cluster.local".parse()?);
    let longest = Duration::from_millis(arguments.most_milliseconds);
    if let Some(file) = &arguments.replay {
        let input = fs::read(file).with_context(|| format!("reading {} failed", file.display()))?;
        return Ok(match run_one(&input, &exercise, longest) {
            Ok(exercised) => {
                println!("{} rules; {}", exercised.rules, exercised.messages.join("\n"));
                ExitCode::SUCCESS
            }
            Err(broken) => {
                println!("{broken}");
                ExitCode::FAILURE
            }
        });
    }
    fs::create_dir_all(&arguments.found).with_context(|| format!("making {} failed", arguments.found.display()))?;
    search(&arguments, &exercise, longest)
}

fn search(arguments: &Arguments, exercise: &Exercise, longest: Duration) -> Result<ExitCode> {
    let (mut rng, mut corpus) = (Rng::with_seed(arguments.seed), seeds(read(&arguments.corpus)?));
    let begun = Instant::now();
    let (mut count, mut rules, mut slowest, mut said) = (0u64, 0, Duration::ZERO, HashSet::new());
    // Left behind where the process dies without a panic, such as by an overflow of the stack.
    let current = arguments.found.join("current.yaml");
    let first_inputs = corpus.len();
    while begun.elapsed() < Duration::from_secs(arguments.seconds) {
        // Half of the time from the beginning: what was kept since is mostly further from a whole document.
        let range = if rng.bool() { first_inputs } else { corpus.len() };
        let (text, other) = (&corpus[rng.usize(..range)], &corpus[rng.usize(..corpus.len())]);
        let input = mutate(&mut rng, text, other);
        fs::write(&current, &input).with_context(|| format!("writing {} failed", current.display()))?;
        let given = Instant::now();
        let outcome = run_one(&input, exercise, longest);
        slowest = slowest.max(given.elapsed());
        count += 1;
        match outcome {
            Ok(exercised) => {
                rules += exercised.rules;
                let before = said.len();
                said.extend(exercised.messages.iter().map(|message| shape(message)));
                let is_new = said.len() > before;
                match is_new {
                    true if corpus.len() < MOST_INPUTS => corpus.push(input),
                    true => corpus[rng.usize(first_inputs..MOST_INPUTS)] = input,
                    false => {}
                }
            }
            Err(broken) => {
                let file = arguments.found.join(format!("seed-{}-{count}.yaml", arguments.seed));
                fs::rename(&current, &file)?;
                println!("{broken}\nfound after {count} inputs: {}", file.display());
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    fs::remove_file(&current)?;
    let per_second = count as f64 / begun.elapsed().as_secs_f64();
    println!(
        "{count} inputs, {per_second:.0} per second, seed {}; {rules} rules accepted, {} kinds of messages, {} inputs kept, \
         slowest {} ms; no promise broken",
        arguments.seed,
        said.len(),
        corpus.len(),
        slowest.as_millis()
    );
    Ok(ExitCode::SUCCESS)
}

fn run_one(input: &[u8], exercise: &Exercise, longest: Duration) -> Result<Exercised, String> {
    let begun = Instant::now();
    let outcome =
        catch_unwind(AssertUnwindSafe(|| exercise.run(input))).unwrap_or_else(|_| Err("a reader panicked".to_owned()));
    match begun.elapsed() {
        took if took > longest => Err(format!("took {} ms", took.as_millis())),
        _ => outcome,
    }
}

/// What a message says, whatever it says it about.
fn shape(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    let mut quoted = false;
    let outside = |c: &char| {
        quoted ^= *c == '"';
        !quoted && !c.is_ascii_digit()
    };
    first.chars().filter(outside).collect()
}

fn read(directory: &Path) -> Result<Vec<Vec<u8>>> {
    let entries = fs::read_dir(directory).with_context(|| format!("listing {} failed", directory.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    // The order of the file system must not decide what a seed gives.
    paths.sort();
    let files = paths.iter().filter(|path| path.is_file());
    let texts = files.map(|path| fs::read(path).with_context(|| format!("reading {} failed", path.display())));
    let texts = texts.collect::<Result<Vec<_>>>()?;
    ensure!(!texts.is_empty(), "{} has no files: name a directory with mesh configuration", directory.display());
    Ok(texts)
}
