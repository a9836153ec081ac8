//! The command line: one file per command. Each returns its exit code, or an error that `main` prints.

mod agent;
mod arguments;
mod ask;
mod ca;
mod check;
mod connections;
mod events;
mod explain;
mod log_level;
mod outcomes;
mod record;
mod simulate;
mod status;
mod table;
mod tap;
mod top;
mod uninstall;
mod version;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A service mesh without sidecars: one agent per Kubernetes node.
#[derive(Debug, Parser)]
#[command(name = "heddle", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Agent(agent::Agent),
    Ca(ca::Ca),
    Check(check::Check),
    Connections(connections::Connections),
    Events(events::Events),
    Explain(Box<explain::Explain>),
    LogLevel(log_level::LogLevel),
    Record(record::Record),
    Simulate(simulate::Simulate),
    Status(status::ShowStatus),
    Tap(tap::Tap),
    Top(top::Top),
    Uninstall(uninstall::Uninstall),
    Version(version::Version),
}

impl Cli {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Agent(command) => command.run(),
            Command::Ca(command) => command.run(),
            Command::Check(command) => command.run(),
            Command::Connections(command) => command.run(),
            Command::Events(command) => command.run(),
            Command::Explain(command) => command.run(),
            Command::LogLevel(command) => command.run(),
            Command::Record(command) => command.run(),
            Command::Simulate(command) => command.run(),
            Command::Status(command) => command.run(),
            Command::Tap(command) => command.run(),
            Command::Top(command) => command.run(),
            Command::Uninstall(command) => command.run(),
            Command::Version(command) => command.run(),
        }
    }
}

/// Prints a line; a reader that has gone away is an error like any other.
fn print(text: &str) -> std::io::Result<()> {
    use std::io::Write;
    writeln!(std::io::stdout(), "{text}")
}

/// Whether an error is that nobody reads any more, as of `... | head`: that is enough, and no failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Prints an error as `main` does, and ends with an exit code of its own.
fn failed(code: u8, error: &anyhow::Error) -> anyhow::Result<ExitCode> {
    use std::io::Write;
    writeln!(std::io::stderr(), "heddle: {error:#}")?;
    Ok(ExitCode::from(code))
}
