//! Resident memory of both agents: idle, with many idle connections open, after those closed, and after a storm.
//!
//! Says nothing about memory of the kernel (sockets, maps), which no process's resident set counts.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;

use super::format::{number, say};
use super::ground::{ECHO, Ground, Side, pause};
use crate::peer::report::ConnectReport;

pub(super) const NAME: &str = "memory";

const HELD: u64 = 1_000;
const STORM: u64 = 20_000;
/// For buffers that shrink when idle, and for the allocator, which gives back what has been free for two seconds.
const SETTLED: Duration = Duration::from_secs(12);
const OPEN_WITHIN: Duration = Duration::from_secs(60);

/// Bytes of the agent of the client's node, and of the server's.
type Resident = [u64; 2];

/// What was measured.
#[derive(Serialize)]
pub(super) struct Memory {
    /// Ready, nothing carried yet.
    pub(super) idle: Resident,
    /// Of that, what is no page of a file.
    pub(super) idle_anonymous: Resident,
    /// One connection was carried and is closed: certificates and tunnels are there.
    pub(super) used: Resident,
    /// With `held` idle connections open.
    pub(super) open: Resident,
    pub(super) held: u64,
    /// After closing them.
    pub(super) closed: Resident,
    /// After `storm` short connections and `quiet_seconds` without any.
    pub(super) after_storm: Resident,
    pub(super) storm: u64,
    pub(super) storm_failures: u64,
    pub(super) quiet_seconds: u64,
}

impl Memory {
    pub(super) fn measure(ground: &mut Ground, quick: bool) -> Result<Self> {
        say(&format!("\n{NAME}: resident memory of the agents"));
        let quiet = Duration::from_secs(if quick { 5 } else { 60 });
        pause(SETTLED)?;
        let idle = shown(ground, "idle")?;
        let [client, server] = ground.agents();
        let idle_anonymous = [client.process().anonymous_bytes()?, server.process().anonymous_bytes()?];
        connections(ground, 1)?;
        pause(SETTLED)?;
        let used = shown(ground, "after one connection")?;
        let open = hold(ground)?;
        pause(SETTLED)?;
        let closed = shown(ground, "after closing them")?;
        let storm_failures = connections(ground, STORM)?;
        pause(quiet)?;
        let after_storm = shown(ground, &format!("{quiet:?} after {STORM} short connections"))?;
        let quiet_seconds = quiet.as_secs();
        Ok(Self {
            idle,
            idle_anonymous,
            used,
            open,
            held: HELD,
            closed,
            after_storm,
            storm: STORM,
            storm_failures,
            quiet_seconds,
        })
    }

    /// Bytes per open connection.
    pub(super) fn per_connection(&self) -> [f64; 2] {
        [0, 1].map(|at| (self.open[at] as f64 - self.used[at] as f64) / self.held as f64)
    }
}

fn hold(ground: &mut Ground) -> Result<Resident> {
    let pods = ground.pods(Side::Bytes);
    // Each exchanges a few bytes at its start and is silent from then on.
    let line = format!("hold --to {} --count {HELD} --interval-ms 3600000", pods.far.at(ECHO));
    let mut holder = pods.client.peer(&line)?.start()?;
    holder.wait_line(OPEN_WITHIN, |line| line.contains("\"opened\""))?;
    pause(SETTLED)?;
    ensure!(holder.running()?, "{}", holder.describe("ended early"));
    shown(ground, &format!("{HELD} idle connections open"))
}

/// Makes short connections that echo a few bytes; gives back how many failed.
fn connections(ground: &Ground, count: u64) -> Result<u64> {
    let pods = ground.pods(Side::Bytes);
    let line = format!("connect --to {} --count {count} --concurrency 16", pods.far.at(ECHO));
    let report: ConnectReport = pods.client.ask(&line)?;
    if !report.failures.is_empty() {
        say(&format!("  failures: {:?}", report.failures));
    }
    ensure!(report.succeeded > 0, "no connection of {count} succeeded: {:?}", report.failures);
    Ok(report.attempted - report.succeeded)
}

fn shown(ground: &mut Ground, when: &str) -> Result<Resident> {
    let [client, server] = ground.agents();
    let resident = [client.process().resident_bytes()?, server.process().resident_bytes()?];
    let [a, b] = resident.map(|bytes| number(bytes as f64 / 1e6));
    say(&format!("  {when}: client's agent {a} MB, server's agent {b} MB"));
    Ok(resident)
}
