//! The API server comes and goes: refuses connections, answers with 500, hangs, forgets history, cuts watches and sends garbage. What
//! the agents know is in force all the while, and afterwards they learn what they missed.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::chaos::stage::Stage;
use crate::kubernetes::{Cut, Fault};

const CUTS: [Cut; 3] = [Cut::Cleanly, Cut::MidFrame, Cut::Reset];

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    let before = stage.look()?;
    while stage.goes_on() {
        let trouble = trouble(stage)?;
        stage.did(trouble, 1);
        // Something to be missed.
        let pods = [stage.ground.pods.far.clone(), stage.ground.pods.other.clone()];
        let [first, second] = if stage.rng.bool() { [&pods[0], &pods[1]] } else { [&pods[1], &pods[0]] };
        stage.ground.web.backends(&[first, second])?;
        let pause = stage.rng.u64(200..1_500);
        stage.pause(Duration::from_millis(pause))?;
        let api = stage.ground.bed.api_server()?;
        api.go_silent(false);
        api.clear_faults();
        api.come_back()?;
        let pause = stage.rng.u64(0..400);
        stage.pause(Duration::from_millis(pause))?;
    }
    stage.ground.settle()?;
    let standing = stage.look()?.since(&before);
    ensure!(standing.broken + standing.unanswered == 0, "an API server that flaps broke something: {standing:?}");
    Ok(())
}

/// One thing that goes wrong with it.
fn trouble(stage: &mut Stage<'_>) -> Result<&'static str> {
    let kind = stage.rng.u8(0..8);
    let cut = stage.rng.choice(CUTS).unwrap_or(Cut::Reset);
    let api = stage.ground.bed.api_server()?;
    Ok(match kind {
        0 | 1 => {
            api.go_down();
            "outages"
        }
        2 => {
            api.fault(Fault::status(500));
            api.cut_watches("", cut);
            "times with 500"
        }
        3 => {
            api.go_silent(true);
            "hangs"
        }
        4 => {
            api.expire_watches("");
            api.compact();
            "watches expired with 410"
        }
        5 => {
            api.cut_watches("", cut);
            "times all watches were cut"
        }
        6 => {
            api.send_garbage("");
            "times garbage came"
        }
        _ => {
            api.fault(Fault::hang_up());
            api.cut_watches("", cut);
            "times it hung up"
        }
    })
}
