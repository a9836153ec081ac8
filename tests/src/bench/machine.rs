//! The machine on which the figures were taken: part of the output, because they mean nothing without it.

use std::fs;

use anyhow::{Context, Result};
use serde::Serialize;

/// See the module.
#[derive(Serialize)]
pub(super) struct Machine {
    cores: usize,
    processor: String,
    kernel: String,
    /// Runnable tasks, average over the minute before the run: anything above 0 distorts.
    load_before: f64,
}

impl Machine {
    pub(super) fn look() -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).with_context(|| format!("reading {path}"));
        let cpuinfo = read("/proc/cpuinfo")?;
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let load = read("/proc/loadavg")?;
        Ok(Self {
            cores: std::thread::available_parallelism().context("counting cores")?.get(),
            processor: model.map_or("unknown processor", |(_, name)| name).to_owned(),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            load_before: load
                .split(' ')
                .next()
                .and_then(|word| word.parse().ok())
                .context("no load in /proc/loadavg")?,
        })
    }

    pub(super) fn describe(&self) -> String {
        let Self { cores, processor, kernel, load_before } = self;
        let busy = if *load_before > 0.3 * *cores as f64 { " (busy: expect noise)" } else { "" };
        format!("machine: {cores} cores, {processor}, Linux {kernel}, load before {load_before:.2}{busy}")
    }
}
