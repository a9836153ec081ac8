//! The `heddle` program: parses the command line, runs the command, prints what went wrong.

use std::{io::Write, process::ExitCode};

use clap::Parser;
use heddle::cli::Cli;

/// Connections and their buffers come and go by the thousand: jemalloc gives memory back after a storm.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            // With standard error gone there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "heddle: {error:#}");
            ExitCode::FAILURE
        }
    }
}
