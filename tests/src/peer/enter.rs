//! `heddle-peer enter`: the last step before a program of a pod or node runs where it belongs.
//!
//! Order matters: bound to the parent's life first, then the cgroup (its path is valid only outside), then the
//! namespace.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

#[derive(Args)]
pub(super) struct Enter {
    /// The process that starts this one; without it there is nothing to do.
    #[arg(long)]
    parent: i32,
    /// The network namespace to enter.
    #[arg(long)]
    netns: PathBuf,
    /// The cgroup to join.
    #[arg(long)]
    cgroup: PathBuf,
    /// The program to become, and its arguments.
    #[arg(last = true, required = true)]
    program: Vec<OsString>,
}

/// Returns only on failure.
pub(super) fn run(enter: &Enter) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("asking to be killed with the parent")?;
    let parent = getppid().map(|pid| pid.as_raw_nonzero().get());
    // It may have died before the line above took effect.
    ensure!(parent == Some(enter.parent), "the parent {} is gone", enter.parent);
    let procs = enter.cgroup.join("cgroup.procs");
    fs::write(&procs, std::process::id().to_string()).with_context(|| format!("joining {}", procs.display()))?;
    let netns = File::open(&enter.netns).with_context(|| format!("opening {}", enter.netns.display()))?;
    move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("entering {}", enter.netns.display()))?;
    let Some((program, args)) = enter.program.split_first() else { bail!("no program is given") };
    let error = Command::new(program).args(args).exec();
    Err(error).with_context(|| format!("starting {}", program.display()))
}
