//! One round of a case: the load on the direct path, then on the mesh path, with the agents' CPU time around each.
//!
//! Each measurement proves which path it took: the client's agent must have carried connections for the mesh side (over
//! mutual TLS between nodes) and none for the direct side.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::case::{Case, Load};
use super::ground::{Ground, HTTP, IPERF, Side, pause};
use super::record::{Round, Sample};
use super::{iperf, wrk};

/// Between two measurements, so that the end of one is not the start of the next.
const SETTLE: Duration = Duration::from_millis(200);

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
    let mesh = sample(ground, case, Side::Mesh, seconds)?;
    Ok(Round { direct, mesh })
}

fn sample(ground: &mut Ground, case: &Case, side: Side, seconds: u64) -> Result<Sample> {
    pause(SETTLE)?;
    let carried_before = ground.carried(!case.same_node)?;
    let (before, noise_before) = (cpu_seconds(ground)?, ground.noise().read()?);
    let work = work(ground, case, side, seconds)?;
    let (after, noise_after) = (cpu_seconds(ground)?, ground.noise().read()?);
    // Checks for an interruption, too: an interrupted load generator may end as if all were well.
    pause(SETTLE)?;
    ensure!(work.amount > 0.0, "nothing came through on the {side:?} path, and {} errors", work.errors);
    let carried = ground.carried(!case.same_node)? - carried_before;
    match side {
        Side::Direct => ensure!(carried == 0.0, "the agent carried {carried} connections of the direct path"),
        Side::Mesh => ensure!(carried > 0.0, "the agent carried no connection of the mesh path"),
    }
    Ok(Sample {
        amount: work.amount,
        seconds: work.seconds,
        p50_us: work.p50_us,
        p99_us: work.p99_us,
        errors: work.errors,
        client_agent_cpu_seconds: after[0] - before[0],
        server_agent_cpu_seconds: after[1] - before[1],
        cpus_used_by_others: noise_after.others_since(&noise_before),
    })
}

fn work(ground: &Ground, case: &Case, side: Side, seconds: u64) -> Result<Work> {
    let pods = ground.pods(side);
    let server = if case.same_node { &pods.near } else { &pods.far };
    let (client, directory) = (&pods.client, ground.bed().directory());
    match case.load {
        Load::Http { connections } => wrk::run(client, server.at(HTTP), connections, false, seconds, directory),
        Load::Connections { clients } => wrk::run(client, server.at(HTTP), clients, true, seconds, directory),
        Load::Bulk { streams, reverse } => iperf::run(client, server.at(IPERF), streams, reverse, seconds),
    }
}

fn cpu_seconds(ground: &mut Ground) -> Result<[f64; 2]> {
    let [client, server] = ground.agents();
    Ok([client.process().cpu_seconds()?, server.process().cpu_seconds()?])
}
