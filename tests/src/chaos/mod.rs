//! The program `heddle-chaos`: the mesh under hostile conditions, with what must hold checked all the time.
//!
//! In: a built agent. Out: a line for each scenario as it goes, one table, and with `--json` the same for programs; exit code 1 if
//! something that must hold did not. It builds beds of its own and takes them back, on Ctrl-C too. What is random follows from a seed,
//! which is printed. The mesh tests play the same scenarios for a shorter time. It measures no speed.

mod clock;
mod frames;
mod ground;
mod load;
mod memory;
mod mutate;
mod play;
mod report;
mod reporter;
mod scenarios;
mod stage;
mod tunnels;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;

pub use play::{Sabotage, play_alone, sabotage};
pub use report::{Counts, Played};
pub use scenarios::{ALL, Scenario};

use crate::interrupt;
use ground::{Ground, Setting};

/// Ports of the guarded pods: streams for the client, streams for nobody, requests.
const STREAMS: u16 = 9000;
const GUARDED: u16 = 9001;
const REQUESTS: u16 = 8080;
/// And one that scenarios serve as they like.
const LOOSE: u16 = 9005;

/// What the shell says of a program that SIGINT ended.
const INTERRUPTED: u8 = 130;

/// Play hostile conditions against the mesh, and check what must hold.
#[derive(Parser)]
#[command(name = "heddle-chaos", version)]
struct Options {
    /// What is random follows from it; without one it is the time of day
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How long each scenario makes trouble
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Play all of them again and again, with other seeds, until so many minutes have passed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1440))]
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

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let ended = run(&Options::parse());
    if interrupt::happened() {
        complain("interrupted; everything that was built is taken back");
        return ExitCode::from(INTERRUPTED);
    }
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether everything held.
fn run(options: &Options) -> Result<bool> {
    if options.list {
        ALL.iter().for_each(|scenario| say(&format!("{:<14} {}", scenario.name, scenario.about)));
        return Ok(true);
    }
    let wanted = wanted(&options.scenarios)?;
    let seed = options.seed.unwrap_or_else(seed_of_now);
    say(&format!("seed {seed}; {} scenarios, {} s of trouble each", wanted.len(), options.seconds));
    let (begun, mut played) = (Instant::now(), Vec::new());
    for round in 0.. {
        round_of(&wanted, seed.wrapping_add(round), Duration::from_secs(options.seconds), &mut played)?;
        let over = options.minutes.is_none_or(|minutes| begun.elapsed() >= Duration::from_secs(minutes * 60));
        if over || interrupt::happened() {
            break;
        }
    }
    if !played.is_empty() {
        say(&report::table(&played));
    }
    if let Some(file) = &options.json {
        let json = serde_json::to_string_pretty(&played)?;
        std::fs::write(file, json + "\n").with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(played.iter().all(Played::held))
}

/// Plays all of them once; those that want the same ground share one.
fn round_of(wanted: &[&'static Scenario], seed: u64, time: Duration, played: &mut Vec<Played>) -> Result<()> {
    let mut ground: Option<Ground> = None;
    for scenario in wanted {
        if ground.as_ref().is_some_and(|ground| ground.kind != scenario.kind) {
            ground.take().map_or(Ok(()), Ground::close)?;
        }
        say(&format!("\n{}: {}", scenario.name, scenario.about));
        let on = match &mut ground {
            Some(ground) => ground,
            none => none.insert(play::prepared(scenario.kind, Setting { interruptible: true, ..Setting::default() })?),
        };
        let one = play::play(scenario, on, seed, time);
        if interrupt::happened() {
            break;
        }
        say(&one.describe());
        if !one.held() {
            // What is wrong must not be told again of the next one.
            ground.take().map_or(Ok(()), Ground::close)?;
        }
        played.push(one);
    }
    ground.map_or(Ok(()), Ground::close)
}

fn wanted(names: &[String]) -> Result<Vec<&'static Scenario>> {
    let known = || ALL.iter().map(|scenario| scenario.name);
    for name in names {
        if !known().any(|known| known.starts_with(name.as_str())) {
            bail!("no scenario's name begins with `{name}`; they are {}", known().collect::<Vec<_>>().join(", "));
        }
    }
    let named = |scenario: &&Scenario| names.iter().any(|name| scenario.name.starts_with(name.as_str()));
    Ok(ALL.iter().filter(|scenario| names.is_empty() || named(scenario)).collect())
}

/// Any number will do, if it is told.
fn seed_of_now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    now.as_secs() % 1_000_000
}

/// A line of standard output. A closed pipe is no reason to stop.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "heddle-chaos: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_named_apart_and_found_by_the_beginning_of_their_names() {
        let found = |names: &[&str]| wanted(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let names = |found: Result<Vec<&'static Scenario>>| {
            found.map(|all| all.iter().map(|one| one.name).collect::<Vec<_>>()).unwrap_or_default()
        };
        assert_eq!(found(&[]).map(|all| all.len()).unwrap_or_default(), ALL.len());
        assert_eq!(names(found(&["los", "loss"])), ["loss"]);
        assert!(found(&["nothing"]).is_err_and(|error| error.to_string().contains("they are loss, ")));
        let mut apart: Vec<_> = ALL.iter().map(|scenario| scenario.name).collect();
        apart.sort_unstable();
        apart.dedup();
        assert_eq!(apart.len(), ALL.len());
    }
}
