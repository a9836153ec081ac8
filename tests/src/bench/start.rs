//! How long an agent takes from its start, and from the end of the one before it, until it has carried a connection of a pod that was
//! there all the time.
//!
//! The agent before is killed: what it leaves are the pins, from which the next one goes on.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde::Serialize;

use super::format::say;
use super::ground::{ECHO, Ground, Side};
use crate::peer::report::FirstReport;

pub(super) const NAME: &str = "start";

const ROUNDS: usize = 11;
const WITHIN: Duration = Duration::from_secs(30);

/// What was measured, in milliseconds, round by round.
#[derive(Serialize)]
pub(super) struct Starts {
    /// From the start of the process.
    pub(super) from_start_ms: Vec<f64>,
    /// From the SIGKILL of the one before.
    pub(super) from_kill_ms: Vec<f64>,
}

impl Starts {
    pub(super) fn measure(ground: &mut Ground) -> Result<Self> {
        say(&format!("\n{NAME}: the client's agent is killed and started again, {ROUNDS} times"));
        let mut starts = Self { from_start_ms: Vec::new(), from_kill_ms: Vec::new() };
        for _ in 0..ROUNDS {
            let pods = ground.pods(Side::Bytes);
            let first = pods.client.peer(&format!("first --to {}", pods.far.at(ECHO)))?;
            let agent = &mut ground.agents()[0];
            let killed = now();
            agent.kill()?;
            // It fails until there is an agent.
            let mut first = first.start()?;
            let started = now();
            agent.restart()?;
            let finished = first.wait(WITHIN)?;
            let report: FirstReport = serde_json::from_str(finished.stdout.last().context("no report")?)?;
            let carried = Duration::from_micros(report.at_us);
            starts.from_start_ms.push(millis(carried, started));
            starts.from_kill_ms.push(millis(carried, killed));
        }
        Ok(starts)
    }
}

fn now() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}

fn millis(until: Duration, from: Duration) -> f64 {
    until.saturating_sub(from).as_secs_f64() * 1e3
}
