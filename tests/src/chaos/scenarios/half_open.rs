//! A machine of the mesh vanishes: from one moment to the next nothing comes from it, no FIN and no reset, in the midst of what is
//! under way with it. It must be found dead at both ends, whoever waits must be told, and what it held must be freed.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::bed::Pod;
use crate::chaos::reporter::Reporter;
use crate::chaos::stage::Stage;
use crate::chaos::tunnels::connected;
use crate::peer::report::HoldReport;
use crate::world::{enrolled, settle_within};

const PORT: u16 = 9004;
/// Connections in each direction.
const HELD: u64 = 12;
const READY_WITHIN: Duration = Duration::from_secs(30);
/// An agent takes a peer for dead after 20 s without an acknowledgement; the rest is room.
const FOUND_WITHIN: Duration = Duration::from_secs(60);

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    loop {
        vanish(stage)?;
        if !stage.goes_on() {
            return Ok(());
        }
    }
}

fn vanish(stage: &mut Stage<'_>) -> Result<()> {
    stage.ground.vanished += 1;
    let node = stage.ground.bed.node(&format!("gone{}", stage.ground.vanished))?;
    let ghost = node.pod(&format!("ghost{}", stage.ground.vanished)).start()?;
    let mut agent = node.agent().start()?;
    enrolled(&agent, 1)?;
    settle_within(&stage.ground.bed, &[&stage.ground.a, &stage.ground.b, &agent], READY_WITHIN)?;
    let (client, open) = (stage.ground.pods.client.clone(), stage.ground.pods.open.clone());
    let _server = open.serve(&format!("--listen {PORT}"))?;
    let _theirs = ghost.serve(&format!("--listen {PORT}"))?;
    let mut from_it = hold(&ghost, &open)?;
    let mut to_it = hold(&client, &ghost)?;
    for held in [&mut from_it, &mut to_it] {
        stage.wait("connections exchange bytes", READY_WITHIN, |_| {
            let report = held.ask()?;
            Ok(report.healthy == HELD && report.exchanges >= 5 * HELD)
        })?;
    }
    let (at_server, at_client) = (held_by(&open, &ghost)?, held_by(&client, &ghost)?);
    ensure!(at_server > 0 && at_client > 0, "nothing is open: {at_server} {at_client}");

    node.connected(false)?;
    agent.kill()?;
    ghost.cgroup().kill()?;
    drop(from_it);
    stage.did("machines that vanished", 1);
    stage.did("connections that were open with them", HELD * 2);

    let told = stage.wait("clients of a machine that vanished are told", FOUND_WITHIN, |_| told(&mut to_it))?;
    stage.checked("s until clients were told, at most", told.as_secs());
    for (pod, end) in [(&open, "servers"), (&client, "clients")] {
        let what = format!("what {end} had open with a machine that vanished is freed");
        let freed = stage.wait(&what, FOUND_WITHIN, |_| Ok(held_by(pod, &ghost)? == 0))?;
        stage.checked("s more until all was freed", freed.as_secs());
    }
    drop(agent);
    ghost.delete()
}

/// Whether all connections have broken, and none by the client's own limit.
fn told(held: &mut Reporter<HoldReport>) -> Result<bool> {
    let report = held.ask()?;
    ensure!(!report.broken.contains_key("timeout"), "a client was left alone: {report:?}");
    Ok(report.healthy == 0)
}

/// Connections that exchange a few bytes now and then, and wait for longer than an agent may.
fn hold(from: &Pod, to: &Pod) -> Result<Reporter<HoldReport>> {
    let silence = FOUND_WITHIN.as_secs() * 2;
    let line = format!("hold --to {} --count {HELD} --interval-ms 20 --silence {silence}", to.at(PORT));
    Reporter::client(from, &line)
}

/// What the kernel has open in a pod with the ghost, of agents and applications.
fn held_by(pod: &Pod, ghost: &Pod) -> Result<usize> {
    connected(pod, ghost.at(0).ip())
}
