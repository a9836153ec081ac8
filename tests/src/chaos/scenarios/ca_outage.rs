//! The authority is gone for longer than certificates are valid: new connections are refused, at once and in no other way, and work
//! again when it is back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::new_connections;
use crate::bed::Agent;
use crate::chaos::ground::LIFETIME;
use crate::chaos::stage::Stage;

const EXPIRED_WITHIN: Duration = Duration::from_secs(LIFETIME * 3);
/// An agent asks again after a while, which grows with each failure.
const RENEWED_WITHIN: Duration = Duration::from_secs(60);

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    loop {
        outage(stage)?;
        if !stage.goes_on() {
            return Ok(());
        }
    }
}

fn outage(stage: &mut Stage<'_>) -> Result<()> {
    authority(stage)?.go_down()?;
    let took = stage.wait("certificates expire without their authority", EXPIRED_WITHIN, |ground| {
        Ok(all_are(&ground.a, "expired")? && all_are(&ground.b, "expired")?)
    })?;
    stage.did("outages", 1);
    stage.checked("s until all certificates had expired", took.as_secs());
    for _ in 0..3 {
        let report = new_connections(stage)?;
        ensure!(report.whole == 0, "with expired certificates connections are made: {report:?}");
        ensure!(
            report.broken.keys().all(|how| !how.contains("silence")),
            "a connection without a certificate is left alone, and not refused: {report:?}"
        );
        stage.checked("connections refused at once", report.begun);
        stage.pause(Duration::from_millis(300))?;
    }
    authority(stage)?.come_back()?;
    let took = stage.wait("certificates are renewed when their authority is back", RENEWED_WITHIN, |ground| {
        Ok(all_are(&ground.a, "valid")? && all_are(&ground.b, "valid")?)
    })?;
    stage.checked("s until all were renewed", took.as_secs());
    Ok(())
}

fn authority<'a>(stage: &'a Stage<'_>) -> Result<&'a crate::authority::Authority> {
    stage.ground.authority.as_ref().context("this ground has no authority")
}

/// Whether all certificates of an agent are in this state, by its own word.
fn all_are(agent: &Agent, state: &str) -> Result<bool> {
    let status = agent.get_json("/status")?;
    let all = status["certificates"].as_array().cloned().unwrap_or_default();
    Ok(!all.is_empty() && all.iter().all(|one| one["state"] == state))
}
