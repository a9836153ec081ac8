//! The endpoints of a Service are replaced many times a second. All of them live, so no new connection may fail, and none that is open
//! may break.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::chaos::reporter::Reporter;
use crate::chaos::stage::Stage;
use crate::chaos::{LOOSE, STREAMS};
use crate::peer::report::ConnectReport;
use crate::peer::stream::report::StreamReport;

const FOREVER: u64 = 1_000_000_000;
/// After the last change the endpoint that is left out gets no new connection.
const LAST: u64 = 20;

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    let before = stage.look()?;
    let pods = [stage.ground.pods.far.clone(), stage.ground.pods.other.clone()];
    let line = format!(
        "stream-load --to {} --streams 2 --count {FOREVER} --bytes 3000 --silence 10",
        stage.ground.web.at(STREAMS)
    );
    let mut new = Reporter::<StreamReport>::client(&stage.ground.pods.client, &line)?;
    while stage.goes_on() {
        for _ in 0..20 {
            match stage.rng.u8(0..4) {
                0 => stage.ground.web.backends(&[&pods[0]])?,
                1 => stage.ground.web.backends(&[&pods[1]])?,
                2 => stage.ground.web.backends(&[&pods[1], &pods[0]])?,
                _ => stage.ground.web.backends_with(&[(&pods[0], stage.rng.bool()), (&pods[1], true)])?,
            }
            stage.did("changes of endpoints", 1);
            let pause = stage.rng.u64(5..50);
            stage.pause(Duration::from_millis(pause))?;
        }
    }
    stage.ground.web.backends(&[&pods[1]])?;
    stage.ground.settle()?;
    let standing = stage.look()?.since(&before);
    let report = new.ask()?;
    drop(new);
    ensure!(
        standing.broken + standing.unanswered == 0 && report.broken.is_empty() && report.wrong + report.short == 0,
        "with endpoints that all live something broke: {standing:?} {report:?}"
    );
    stage.checked("new connections without a failure", report.whole);
    only_the_last(stage)?;
    stage.ground.web.backends(&[&pods[0], &pods[1]])?;
    stage.ground.settle()
}

/// The endpoints that were written last are in force.
fn only_the_last(stage: &mut Stage<'_>) -> Result<()> {
    let _named = [
        stage.ground.pods.far.serve(&format!("--listen {LOOSE} --greet far"))?,
        stage.ground.pods.other.serve(&format!("--listen {LOOSE} --greet other"))?,
    ];
    let to = stage.ground.web.at(LOOSE);
    let line = format!("connect --to {to}=other --count {LAST}");
    let report: ConnectReport = stage.ground.pods.client.ask(&line)?;
    ensure!(report.all_good(LAST), "the endpoints that were written last are not in force: {report:?}");
    stage.checked("connections to the last endpoint", LAST);
    Ok(())
}
