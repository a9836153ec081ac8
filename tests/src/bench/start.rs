//! How long an agent takes from its start, and from the end of the one before it, until it has carried a connection of a pod that was
//! there all the time; and from the label on a pod until it has carried one of that pod.
//!
//! The agent before is killed: what it leaves are the pins, from which the next one goes on. The server of the pod that is labelled is
//! in STRICT: what is not carried by the mesh is refused.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::format::say;
use super::ground::{ECHO, Ground, Side, pause};
use crate::peer::report::FirstReport;

pub(super) const NAME: &str = "start";

const ROUNDS: usize = 11;
const WITHIN: Duration = Duration::from_secs(30);

/// How long a pod is seen to be refused before it is labelled.
const REFUSED_FOR: Duration = Duration::from_millis(100);

const STRICT: &str = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: bench, namespace: heddle-system}\n\
    spec: {mtls: {mode: STRICT}}\n";

/// What was measured, in milliseconds, round by round.
#[derive(Serialize)]
pub(super) struct Starts {
    /// From the start of the process.
    pub(super) from_start_ms: Vec<f64>,
    /// From the SIGKILL of the one before.
    pub(super) from_kill_ms: Vec<f64>,
    /// From the label on the pod.
    pub(super) enrolment_ms: Vec<f64>,
}

impl Starts {
    pub(super) fn measure(ground: &mut Ground) -> Result<Self> {
        say(&format!("\n{NAME}: the client's agent is killed and started again, {ROUNDS} times"));
        let mut starts = Self { from_start_ms: Vec::new(), from_kill_ms: Vec::new(), enrolment_ms: Vec::new() };
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
        ground.bed().objects().put_text("strict.yaml", STRICT)?;
        // In force within a second, and long before the first look at it.
        pause(Duration::from_secs(2))?;
        for _ in 0..ROUNDS {
            starts.enrolment_ms.push(enrolment(ground)?);
        }
        ground.bed().objects().put_text("strict.yaml", "")?;
        Ok(starts)
    }
}

/// Takes the client out of the mesh, and puts it in again.
fn enrolment(ground: &mut Ground) -> Result<f64> {
    let before = enrolled(ground)?;
    let outside = |ground: &mut Ground| Ok(enrolled(ground)? < before);
    ground.pods(Side::Bytes).client.set_mesh(Some(false))?;
    wait(ground, outside)?;
    let pods = ground.pods(Side::Bytes);
    let mut first = pods.client.peer(&format!("first --to {}", pods.far.at(ECHO)))?.start()?;
    // It is refused meanwhile.
    pause(REFUSED_FOR)?;
    let labelled = now();
    pods.client.set_mesh(Some(true))?;
    let finished = first.wait(WITHIN)?;
    let report: FirstReport = serde_json::from_str(finished.stdout.last().context("no report")?)?;
    ensure!(report.failed > 0, "it was not refused outside of the mesh");
    Ok(millis(Duration::from_micros(report.at_us), labelled))
}

fn enrolled(ground: &mut Ground) -> Result<f64> {
    let [agent, _] = ground.agents();
    agent.metrics()?.get("heddle_enrolled_pods", &[]).context("no such metric")
}

fn wait(ground: &mut Ground, mut is_so: impl FnMut(&mut Ground) -> Result<bool>) -> Result<()> {
    let begun = now();
    while !is_so(ground)? {
        ensure!(now().saturating_sub(begun) < WITHIN, "the pod is still enrolled");
        pause(Duration::from_millis(20))?;
    }
    Ok(())
}

fn now() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}

fn millis(until: Duration, from: Duration) -> f64 {
    until.saturating_sub(from).as_secs_f64() * 1e3
}
