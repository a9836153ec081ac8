//! Mesh documents, good and bad, are rewritten many times a second: what was accepted last is in force, what is bad is told, and a
//! policy that is replaced by itself breaks nothing and lets nobody in.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::bed::Agent;
use crate::chaos::ground::{policy, put_documents};
use crate::chaos::stage::Stage;

const IN_FORCE_WITHIN: Duration = Duration::from_secs(30);

/// What no document may look like, in ways of their own.
const BAD: [&str; 6] = [
    "apiVersion: heddle.io/v1alpha1\nkind: Capture\nmetadata: {name: c}\nspec: {excludeOutboundPorts: [\"x\"]}\n",
    "apiVersion: heddle.io/v1alpha1\nkind: Capture\nmetadata: {name: c}\nspec: {noSuchKey: 1}\n",
    "apiVersion: heddle.io/v1alpha1\nkind: NoSuchKind\nmetadata: {name: c}\nspec: {}\n",
    "apiVersion: heddle.io/v1alpha1\nkind: Capture\nmetadata: {name: c\nspec: [\n",
    "\u{1}\u{2}: &a [*a, *a]\n---\n--- !!!\n",
    "apiVersion: heddle.io/v1alpha1\nkind: Capture\nmetadata: {name: c}\nspec: {excludeOutboundPorts: [70000, -1, 1e9]}\n",
];

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    let before = stage.look()?;
    let mut number: u16 = 0;
    while stage.goes_on() {
        for _ in 0..20 {
            number = number.wrapping_add(1) % 10_000;
            match stage.rng.u8(0..6) {
                0 | 1 => write(stage, "storm", &good(number), "good documents")?,
                2 => {
                    let bad = stage.rng.choice(BAD).unwrap_or(BAD[0]);
                    write(stage, "storm", bad, "bad documents")?;
                }
                3 => {
                    // Of no account: nobody has that service account.
                    let more = format!("nobody-{number}");
                    write(stage, "policies", &policy(&["client", &more]), "good policies")?;
                }
                4 => {
                    let bad = policy(&["client"]).replace("spec: {", "spec: {action: CUSTOM, noSuchKey: 1, ");
                    write(stage, "policies", &bad, "bad policies")?;
                }
                _ => {
                    let both = [good(number), BAD[1].replace("name: c", "name: d")].join("---\n");
                    write(stage, "storm", &both, "mixed documents")?;
                }
            }
            let pause = stage.rng.u64(2..40);
            stage.pause(Duration::from_millis(pause))?;
        }
    }
    the_last_one_counts(stage)?;
    let standing = stage.look()?.since(&before);
    ensure!(standing.broken + standing.unanswered == 0, "documents that change nothing broke something: {standing:?}");
    Ok(())
}

fn write(stage: &mut Stage<'_>, name: &str, text: &str, what: &str) -> Result<()> {
    put_documents(&stage.ground.bed, name, text)?;
    stage.did(what, 1);
    Ok(())
}

/// A Capture document that concerns a port that nobody uses.
fn good(number: u16) -> String {
    format!(
        "apiVersion: heddle.io/v1alpha1\nkind: Capture\nmetadata: {{name: c}}\nspec: {{excludeOutboundPorts: [{}]}}\n",
        20_000 + number
    )
}

/// A good one, then a bad one of the same name: the good one stays, the bad one is told. Then all is good again.
fn the_last_one_counts(stage: &mut Stage<'_>) -> Result<()> {
    let last = 9_999;
    write(stage, "policies", &policy(&["client"]), "good policies")?;
    write(stage, "storm", &good(last), "good documents")?;
    stage.wait("the last good document is in force", IN_FORCE_WITHIN, |ground| {
        Ok(in_force(&ground.a, last)? && in_force(&ground.b, last)?)
    })?;
    write(stage, "storm", BAD[0], "bad documents")?;
    stage.wait("the bad document is told, and the last good one stays", IN_FORCE_WITHIN, |ground| {
        let [a, b] =
            [&ground.a, &ground.b].map(|agent| Ok::<_, anyhow::Error>(rejects(agent)? && in_force(agent, last)?));
        Ok(a? && b?)
    })?;
    stage.ground.bed.objects().remove("ConfigMap", "default", "storm")?;
    stage.wait("nothing is refused any more", IN_FORCE_WITHIN, |ground| {
        Ok(!rejects(&ground.a)? && !rejects(&ground.b)?)
    })?;
    stage.checked("last documents in force", 2);
    Ok(())
}

fn in_force(agent: &Agent, number: u16) -> Result<bool> {
    let workloads = agent.config_json()?["mesh"]["workloads"].take();
    let local = workloads.as_array().into_iter().flatten().filter(|workload| !workload["local"].is_null());
    let mut ports =
        local.map(|workload| workload["local"]["excludeOutboundPorts"] == serde_json::json!([20_000 + number]));
    Ok(ports.all(|in_force| in_force))
}

/// Whether an agent tells of a document that it does not accept.
fn rejects(agent: &Agent) -> Result<bool> {
    let status = agent.get_json("/status")?;
    let rejected = |document: &Value| document["state"] != "accepted";
    Ok(status["documents"].as_array().into_iter().flatten().any(rejected))
}
