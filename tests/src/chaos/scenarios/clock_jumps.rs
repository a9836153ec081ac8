//! The clock of an agent, or of both, jumps, forward and back, by little and by more than certificates are valid, and is put right again.
//!
//! A jump within what certificates allow changes nothing. Beyond their end new connections are refused, by the end that goes by that
//! clock: its own certificates are judged by it, and those that it is shown.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::new_connections;
use crate::chaos::stage::Stage;

const HOUR: i64 = 60 * 60;

/// What new connections do while the clock is wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Meanwhile {
    Work,
    Refused,
    /// A certificate that begins later is refused in a handshake, and tunnels that are there go on.
    Either,
}

/// Certificates are valid from a minute before they were made for a day.
const JUMPS: [(i64, Meanwhile); 6] = [
    (HOUR, Meanwhile::Work),
    (48 * HOUR, Meanwhile::Refused),
    (-30, Meanwhile::Work),
    (-48 * HOUR, Meanwhile::Either),
    (11 * HOUR, Meanwhile::Work),
    (10_000 * HOUR, Meanwhile::Refused),
];

/// Whose clocks jump together, by the numbers of their nodes.
const WHOSE: [&[usize]; 3] = [&[0], &[1], &[0, 1]];
/// For a clock to be looked at: watches of tunnels and renewals go by timers.
const NOTICED_WITHIN: Duration = Duration::from_secs(20);
const WORK_WITHIN: Duration = Duration::from_secs(30);

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    let mut turn = stage.rng.usize(..JUMPS.len());
    loop {
        let (seconds, meanwhile) = JUMPS[turn % JUMPS.len()];
        turn += 1;
        jump(stage, seconds, meanwhile).with_context(|| format!("with clocks that are wrong by {seconds} s"))?;
        if !stage.goes_on() {
            return Ok(());
        }
    }
}

fn jump(stage: &mut Stage<'_>, seconds: i64, meanwhile: Meanwhile) -> Result<()> {
    let whose = stage.rng.usize(..WHOSE.len());
    for node in WHOSE[whose] {
        turn(stage, *node, seconds)?;
    }
    stage.did(if seconds > 0 { "jumps forward" } else { "jumps back" }, 1);
    stage.did(if WHOSE[whose].len() == 1 { "of one clock alone" } else { "of both clocks" }, 1);
    match meanwhile {
        Meanwhile::Work => {
            stage.pause(Duration::from_secs(1))?;
            let report = new_connections(stage)?;
            ensure!(report.all_whole(report.begun), "certificates are valid, and connections fail: {report:?}");
            stage.checked("connections that worked by a wrong clock", report.whole);
        }
        Meanwhile::Refused => {
            let begun = std::time::Instant::now();
            loop {
                let report = new_connections(stage)?;
                if report.whole == 0 {
                    stage.checked("connections refused by a wrong clock", report.begun);
                    break;
                }
                ensure!(
                    begun.elapsed() < NOTICED_WITHIN,
                    "certificates have expired, and connections work: {report:?}"
                );
                stage.pause(Duration::from_millis(300))?;
            }
        }
        Meanwhile::Either => stage.pause(Duration::from_secs(2))?,
    }
    for node in WHOSE[whose] {
        turn(stage, *node, 0)?;
    }
    let begun = std::time::Instant::now();
    loop {
        let report = new_connections(stage)?;
        if report.all_whole(report.begun) {
            return Ok(());
        }
        ensure!(begun.elapsed() < WORK_WITHIN, "the clock is right again, and connections fail: {report:?}");
        stage.pause(Duration::from_millis(300))?;
    }
}

fn turn(stage: &Stage<'_>, node: usize, seconds: i64) -> Result<()> {
    let clock = stage.ground.clock.as_ref().context("this ground has a clock that cannot be turned")?;
    clock.turn(&stage.ground.nodes[node], seconds)
}
