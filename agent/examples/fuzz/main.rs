//! The loop behind `cargo xtask fuzz`: gives mutated inputs to the readers of what comes from outside.
//!
//! It stops at the first input that breaks a promise of its readers. Targets run side by side, each in a thread; Ctrl-C ends
//! all of them, each with its closing line.

#![expect(clippy::print_stdout, reason = "a tool for people")]

mod search;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use heddle::fuzz::{Name, attempt};
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};

use search::{Search, Settings};

/// Give mutated inputs to the agent's readers.
#[derive(Parser)]
struct Arguments {
    /// What is given inputs; everything where nothing is named.
    #[arg(value_enum)]
    targets: Vec<Name>,
    /// How long each.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The same seed gives the same inputs.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Targets at a time.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Add the smallest inputs that are read in a way of their own to those that are kept in the source tree.
    #[arg(long)]
    keep: bool,
    /// Where an input that breaks a promise is left.
    #[arg(long, value_name = "DIR")]
    found: PathBuf,
    /// Give only this file to the readers, once.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
}

/// What the process may have of memory: a hundred times of what it needs, and nothing beside the machine's.
const MOST_MEMORY: u64 = 4 << 30;

/// Set by Ctrl-C.
static ENDING: AtomicBool = AtomicBool::new(false);

fn main() -> Result<ExitCode> {
    let mut arguments = Arguments::parse();
    let limit = Rlimit { current: Some(MOST_MEMORY), maximum: Some(MOST_MEMORY) };
    setrlimit(Resource::As, limit).context("bounding memory failed")?;
    if arguments.targets.is_empty() {
        arguments.targets = Name::ALL.to_vec();
    }
    if let Some(file) = &arguments.replay {
        ensure!(arguments.targets.len() == 1, "name the one target that the file is for");
        return replay(arguments.targets[0], file, arguments.seed);
    }
    thread::spawn(end_by_signal);
    thread::spawn(search::watch);
    let broken = search_all(&arguments)?;
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn replay(name: Name, file: &Path, seed: u64) -> Result<ExitCode> {
    let input = fs::read(file).with_context(|| format!("reading {} failed", file.display()))?;
    Ok(match attempt(&*name.target(runtime()?), &input, seed) {
        Ok(exercised) => {
            println!("{} accepted\n{}", exercised.accepted, exercised.ways.join("\n"));
            ExitCode::SUCCESS
        }
        Err(broken) => {
            println!("{broken}");
            ExitCode::FAILURE
        }
    })
}

/// Whether one of them has found something.
fn search_all(arguments: &Arguments) -> Result<bool> {
    let Arguments { seconds, seed, keep, found, .. } = arguments;
    let settings = |name: Name| Settings {
        length: Duration::from_secs(*seconds),
        seed: *seed,
        keep: *keep,
        found: found.join(name.as_str()),
    };
    let waiting = Mutex::new(arguments.targets.iter().rev().copied().collect::<Vec<_>>());
    let next = || waiting.lock().ok().and_then(|mut names| names.pop()).filter(|_| !ENDING.load(Relaxed));
    let work = || -> Result<bool> {
        let mut broken = false;
        while let Some(name) = next() {
            let outcome = Search::new(name, &*name.target(runtime()?), settings(name))?.run(&ENDING)?;
            println!("{outcome}");
            broken |= outcome.is_broken();
        }
        Ok(broken)
    };
    thread::scope(|threads| {
        let all: Vec<_> = (0..arguments.jobs.max(1)).map(|_| threads.spawn(work)).collect();
        let ended = all.into_iter().map(|one| one.join().map_err(|_| anyhow::anyhow!("a search panicked"))?);
        ended.collect::<Vec<_>>().into_iter().try_fold(false, |broken, one| Ok(broken | one?))
    })
}

/// Its clock stands still: waiting costs no time.
fn runtime() -> Result<Runtime> {
    Builder::new_current_thread().enable_time().start_paused(true).build().context("making a runtime failed")
}

fn end_by_signal() {
    let Ok(runtime) = Builder::new_current_thread().enable_all().build() else { return };
    if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
        ENDING.store(true, Relaxed);
    }
}
