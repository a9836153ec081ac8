//! The program `heddle-bench`: what the mesh costs, measured beside the same traffic without the mesh.
//!
//! In: a built agent, and nginx, haproxy, wrk and iperf3. Out: a line per round while it runs, one table, and with `--json` the
//! figures of every round. It builds a test bed of its own and takes it back, on Ctrl-C too. A missed target is a row
//! of the table and not a failure: machines differ, and only ratios of one run mean something.

mod case;
mod crowd;
mod format;
mod ground;
mod iperf;
mod machine;
mod measure;
mod memory;
mod nginx;
mod noise;
mod peers;
mod record;
mod rows;
mod scraper;
mod start;
mod table;
mod wrk;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;

use case::{Case, Path};
use ground::Ground;
use machine::Machine;
use memory::Memory;
use record::{Record, Round};
use start::Starts;

use crate::interrupt;

/// Measure the mesh against direct connections, in network namespaces of its own.
#[derive(Parser)]
#[command(name = "heddle-bench", version)]
struct Options {
    /// Short rounds and fewer cases: done within 3 minutes
    #[arg(long)]
    quick: bool,
    /// Write machine, options and every round's figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only the cases whose names begin so; may be given several times
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<String>,
    /// Rounds per case; each measures direct, then what the case is about [default: 5, with --quick 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Seconds per measurement [default: 5, with --quick 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    /// A setting of both agents' agent.yaml, such as limits.dataThreads=1; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_and_value)]
    settings: Vec<(String, serde_json::Value)>,
}

impl Options {
    fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 3 } else { 5 })
    }

    fn seconds(&self) -> u64 {
        self.seconds.unwrap_or(if self.quick { 2 } else { 5 })
    }
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let Err(error) = run(&Options::parse()) else { return ExitCode::SUCCESS };
    if interrupt::happened() {
        format::complain("interrupted; everything that was built is taken back");
        return ExitCode::from(130);
    }
    format::complain(&format!("{error:#}"));
    ExitCode::FAILURE
}

fn run(options: &Options) -> Result<()> {
    let plan = Plan::new(options)?;
    let machine = Machine::look()?;
    format::say(&machine.describe());
    let mut ground = Ground::build(&options.settings)?;
    format::say(&ground.describe());
    let mut record = Record::new(machine, ground.agent_version()?, options.rounds(), options.seconds());
    // What was measured before something went wrong is told all the same: it took minutes.
    let measured = measure(&mut ground, plan, options, &mut record);
    format::say(&table::render(&rows::of(&record)));
    format::say(&record.describe_noise());
    if let Some(file) = &options.json {
        let json = serde_json::to_string_pretty(&record)?;
        std::fs::write(file, json + "\n").with_context(|| format!("writing {}", file.display()))?;
    }
    measured.and(ground.close())
}

fn measure(ground: &mut Ground, plan: Plan, options: &Options, record: &mut Record) -> Result<()> {
    // First, because "idle" is an agent that has carried nothing yet.
    if plan.memory {
        record.memory = Some(Memory::measure(ground, options.quick)?);
    }
    if plan.start {
        record.starts = Some(Starts::measure(ground)?);
    }
    for case in plan.cases {
        let rounds = measure_case(ground, case, options)?;
        record.add(case, rounds);
    }
    Ok(())
}

/// What this run shall measure.
struct Plan {
    memory: bool,
    start: bool,
    cases: Vec<&'static Case>,
}

impl Plan {
    fn new(options: &Options) -> Result<Self> {
        let named = |name: &str| options.cases.iter().any(|wanted| name.starts_with(wanted.as_str()));
        let all = options.cases.is_empty();
        let wanted = |case: &&Case| if all { !options.quick || case.in_quick } else { named(case.name) };
        let plan = Self {
            memory: (all && !options.quick) || named(memory::NAME),
            start: (all && !options.quick) || named(start::NAME),
            cases: case::ALL.iter().filter(wanted).collect(),
        };
        let known = || case::ALL.iter().map(|case| case.name).chain([memory::NAME, start::NAME]);
        for name in &options.cases {
            if !known().any(|known| known.starts_with(name.as_str())) {
                let list = known().collect::<Vec<_>>().join(", ");
                bail!("no case's name begins with `{name}`; the cases are {list}");
            }
        }
        Ok(plan)
    }
}

fn measure_case(ground: &mut Ground, case: &'static Case, options: &Options) -> Result<Vec<Round>> {
    format::say(&format!("\n{}: {}", case.name, case.title()));
    match case.path {
        Path::Bytes => {}
        Path::Crowded => ground.make_crowds().context("starting pods beside those that are measured")?,
        Path::Requests => ground.prove_route().context("looking whether agents route requests")?,
        Path::Observed(_) => ground.make_series().context("having agents count in many series")?,
        Path::Peer(kind) => ground.use_peer(Some(kind)).with_context(|| format!("starting {}", kind.program()))?,
    }
    let mut rounds = Vec::new();
    for number in 1..=options.rounds() {
        let round = measure::round(ground, case, options.seconds())
            .with_context(|| format!("measuring {}, round {number}", case.name))?;
        format::say(&format!("  round {number} of {}: {}", options.rounds(), round.describe(case)));
        rounds.push(round);
    }
    ground.use_peer(None)?;
    Ok(rounds)
}

/// The value is JSON if it reads as such, else a string.
fn key_and_value(text: &str) -> Result<(String, serde_json::Value), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not KEY=VALUE"))?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((key.to_owned(), value))
}
