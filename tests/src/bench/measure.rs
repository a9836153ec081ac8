//! One round of a case: the load on the direct path, then on the one that the case is about, with the CPU time of the agents
//! or proxies around each.
//!
//! Each measurement proves which path it took: the client's agent must have carried connections for the mesh side (over
//! mutual TLS between nodes, natively on one node and out of the mesh), and requests where it reads them and none where
//! not; it must have no part in the direct side nor in that of other proxies, which must have used CPU instead.

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::case::{Case, Load, Observer, Path, Server};
use super::ground::{Carried, Ground, IPERF, Side, pause};
use super::record::{Round, Sample, Through};
use super::wrk::Manner;
use super::{iperf, wrk};
use crate::bed::Pod;

/// Between two measurements, so that the end of one is not the start of the next.
const SETTLE: Duration = Duration::from_millis(200);
/// For one request.
const DECIDED: Duration = Duration::from_secs(6);
/// Requests until one goes natively.
const TRIES: u32 = 20;
/// Connections that a pod which opens them as fast as it can has in a second, at least.
const CROWD: f64 = 50.0;

/// What a load generator did.
#[derive(Debug)]
pub(super) struct Work {
    /// Requests, connections or bytes.
    pub(super) amount: f64,
    pub(super) seconds: f64,
    pub(super) p50_us: Option<f64>,
    pub(super) p99_us: Option<f64>,
    pub(super) errors: u64,
}

pub(super) fn round(ground: &mut Ground, case: &Case, seconds: u64) -> Result<Round> {
    let direct = sample(ground, case, Side::Direct, seconds)?;
    let (beside, through) = match case.path {
        Path::Bytes => (None, Through::Mesh(sample(ground, case, Side::Bytes, seconds)?)),
        Path::Requests => {
            let bytes = sample(ground, case, Side::Bytes, seconds)?;
            (Some(bytes), Through::Mesh(sample(ground, case, Side::Requests, seconds)?))
        }
        Path::Observed(observer) => {
            ground.observe(observer, false)?;
            let beside = sample(ground, case, Side::Requests, seconds)?;
            ground.observe(observer, true)?;
            let observed = sample(ground, case, Side::Requests, seconds)?;
            ground.observe(Observer::Scrapes, false)?;
            (Some(beside), Through::Mesh(observed))
        }
        Path::Crowded => {
            let alone = sample(ground, case, Side::Bytes, seconds)?;
            (Some(alone), Through::Mesh(in_a_crowd(ground, case, Side::Bytes, seconds)?))
        }
        Path::Peer(_) => (None, Through::Peer(sample(ground, case, Side::Peer, seconds)?)),
    };
    let crowded = (case.path == Path::Crowded).then(|| in_a_crowd(ground, case, Side::Direct, seconds)).transpose()?;
    Ok(Round { direct, crowded, beside, through })
}

/// The same beside others, who have to be at work the whole time.
fn in_a_crowd(ground: &mut Ground, case: &Case, side: Side, seconds: u64) -> Result<Sample> {
    let before = ground.carried(true)?;
    let busy = ground.crowd(side)?.work(seconds, ground.bed())?;
    let sample = sample(ground, case, side, seconds)?;
    busy.end()?;
    let others = ground.carried(true)?.since(&before).connections;
    ensure!(
        side == Side::Direct || others > CROWD,
        "{others} connections of the mesh are no crowd; the pod that opens them was held up"
    );
    Ok(sample)
}

fn sample(ground: &mut Ground, case: &Case, side: Side, seconds: u64) -> Result<Sample> {
    pause(SETTLE)?;
    let in_tunnels = case.server == Server::Far;
    if !in_tunnels {
        have_decided(ground, case, side)?;
    }
    let carried_before = ground.carried(in_tunnels)?;
    let (before, noise_before) = (ground.cpu_seconds(side)?, ground.noise().read()?);
    let work = work(ground, case, side, seconds)?;
    let (after, noise_after) = (ground.cpu_seconds(side)?, ground.noise().read()?);
    // Checks for an interruption, too: an interrupted load generator may end as if all were well.
    pause(SETTLE)?;
    ensure!(work.amount > 0.0, "nothing came through on the {side:?} path, and {} errors", work.errors);
    let cpu = [after[0] - before[0], after[1] - before[1]];
    prove(case, side, &work, &ground.carried(in_tunnels)?.since(&carried_before), cpu)?;
    Ok(Sample {
        amount: work.amount,
        seconds: work.seconds,
        p50_us: work.p50_us,
        p99_us: work.p99_us,
        errors: work.errors,
        client_agent_cpu_seconds: cpu[0],
        server_agent_cpu_seconds: cpu[1],
        cpus_used_by_others: noise_after.others_since(&noise_before),
    })
}

/// The agent carries the first connection and decides over the next ones, until which it may take a few: objects may still be
/// coming in. iperf3 has such a first one of its own.
fn have_decided(ground: &Ground, case: &Case, side: Side) -> Result<()> {
    if side == Side::Direct || matches!(case.load, Load::Bulk { .. }) {
        return Ok(());
    }
    let url = ground.url(side, server(ground, case, side))?;
    for _ in 0..TRIES {
        let before = ground.carried(false)?.native;
        let request = ground.pods(side).client.command("curl").words("--silent --output /dev/null --max-time 5");
        request.arg(&url).output(DECIDED)?;
        if ground.carried(false)?.native > before {
            return Ok(());
        }
        pause(SETTLE)?;
    }
    bail!("no request went natively: look at capture.fastPath")
}

fn server<'a>(ground: &'a Ground, case: &Case, side: Side) -> &'a Pod {
    match case.server {
        Server::Far => &ground.pods(side).far,
        Server::Near => &ground.pods(side).near,
        Server::Outside => &ground.pods(Side::Direct).far,
    }
}

/// Whether it was the path that it should have been.
fn prove(case: &Case, side: Side, work: &Work, carried: &Carried, cpu: [f64; 2]) -> Result<()> {
    let Carried { connections, native, requests, read } = carried;
    match side {
        Side::Direct | Side::Peer => ensure!(
            *connections + *native + *requests == 0.0,
            "the agent carried {connections} connections and {requests} requests of the {side:?} path"
        ),
        Side::Bytes => {
            ensure!(*connections > 0.0, "the agent carried no connection of the mesh path");
            ensure!(
                (case.server == Server::Far) == (*native == 0.0),
                "{native} connections of the mesh path went natively: look at capture.fastPath"
            );
            ensure!(
                *requests + *read == 0.0,
                "agents read {read} connections of the mesh path as HTTP, which were to be carried as bytes: \
                 look at heddle.io/opaque-ports"
            );
        }
        // Those that were under way at the end of the time are counted by the agent alone.
        Side::Requests => ensure!(
            *requests >= work.amount && *read > 0.0,
            "the agent carried {requests} of {} requests of the mesh path",
            work.amount
        ),
    }
    ensure!(side != Side::Peer || cpu.iter().all(|cpu| *cpu > 0.0), "a proxy did nothing: {cpu:?} CPU seconds");
    Ok(())
}

fn work(ground: &Ground, case: &Case, side: Side, seconds: u64) -> Result<Work> {
    let (client, directory) = (&ground.pods(side).client, ground.bed().directory());
    let server = server(ground, case, side);
    match case.load {
        Load::Http { connections } => {
            wrk::run(client, &ground.url(side, server)?, connections, Manner::Busy, seconds, directory)
        }
        Load::Calm { connections } => {
            wrk::run(client, &ground.url(side, server)?, connections, Manner::Calm, seconds, directory)
        }
        Load::Connections { clients } => {
            wrk::run(client, &ground.url(side, server)?, clients, Manner::Closing, seconds, directory)
        }
        Load::Bulk { streams, reverse } => iperf::run(client, server.at(IPERF), streams, reverse, seconds),
    }
}
