//! The program `heddle-demo`, which `cargo xtask demo` builds and starts: the whole mesh on one machine, told step by step.
//!
//! Two nodes with a real agent each, four pods, real traffic. Each scene of [`scenes`] does one thing, shows what was
//! observed (never what was expected) and states what must hold; the exit status says whether all of it held. Everything
//! is taken back at the end, and with `--keep` at Ctrl-C.

mod agents;
mod app;
mod cast;
mod chance;
mod interrupt;
mod keep;
mod pins;
mod scenes;
mod screen;
mod story;
mod summary;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Parser;

use cast::Cast;
use interrupt::Interrupt;
use screen::Screen;
use story::Story;

use crate::bed::Bed;

/// The shell's status for a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Show Heddle at work: two nodes, four pods, two agents, real packets.
#[derive(Parser)]
#[command(name = "heddle-demo", version, args_conflicts_with_subcommands = true)]
struct Cli {
    /// Leave everything running until Ctrl-C or SIGTERM, and say how to look around.
    #[arg(long)]
    keep: bool,
    /// Print a summary in JSON instead of the story.
    #[arg(long)]
    json: bool,
    /// No colours on a terminal either; the environment variable NO_COLOR does the same.
    #[arg(long)]
    no_color: bool,
    #[command(subcommand)]
    app: Option<app::App>,
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.app {
        Some(app) => app::run(app).map(|()| ExitCode::SUCCESS),
        None => demo(&cli),
    };
    result.unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "heddle-demo: {error:#}");
        ExitCode::FAILURE
    })
}

fn demo(cli: &Cli) -> Result<ExitCode> {
    crate::bed::machine()?;
    let interrupt = Interrupt::listen()?;
    let mut story = Story::new(Screen::new(cli.json, cli.no_color), Arc::clone(&interrupt));
    let played = play(&mut story, &interrupt, cli);
    if let (Err(error), true) = (&played, cli.json) {
        print_summary(&story, Some(error))?;
    }
    played?;
    Ok(match (story.is_told(), story.failed()) {
        (true, 0) => ExitCode::SUCCESS,
        (true, _) => ExitCode::FAILURE,
        (false, _) => ExitCode::from(INTERRUPTED),
    })
}

/// Everything between the first namespace and the last; also takes it back when a scene could not be played.
fn play(story: &mut Story, interrupt: &Interrupt, cli: &Cli) -> Result<()> {
    let bed = Bed::new("demo")?;
    interrupt.kill_when_it_comes(bed.cgroup());
    let told = tell(story, interrupt, &bed, cli);
    let closed = bed.close().context("taking everything back");
    if interrupt.came() && !story.is_told() {
        // What failed did so because everything was killed.
        closed?;
        story.aside("Interrupted. Everything that was started is gone.");
        return Ok(());
    }
    told?;
    closed?;
    story.farewell(cli.keep);
    Ok(())
}

fn tell(story: &mut Story, interrupt: &Interrupt, bed: &Bed, cli: &Cli) -> Result<()> {
    story.opening();
    let mut cast = Cast::assemble(bed)?;
    for scene in scenes::ALL {
        scene(story, &mut cast)?;
        if interrupt.came() {
            return Ok(());
        }
    }
    story.verdict();
    if cli.json {
        print_summary(story, None)?;
    }
    if cli.keep {
        keep::until_interrupted(story, &mut cast, interrupt)?;
    }
    Ok(())
}

fn print_summary(story: &Story, error: Option<&anyhow::Error>) -> Result<()> {
    writeln!(std::io::stdout(), "{}", summary::json(story, error)?).context("printing the summary")
}
