//! One round of a case: the load on the direct path, then on the one that the case is about, with the CPU time of the agents
//! or proxies around each.
//!
//! Each measurement proves which path it took: the client's agent must have carried connections for the mesh side (over
//! mutual TLS between nodes), and requests where it reads them and none where not; it must have no part in the direct side
//! nor in that of other proxies, which must have used CPU instead.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::case::{Case, Load, Observer, Path};
use super::ground::{Carried, Ground, IPERF, Side, pause};
use super::record::{Round, Sample, Through};
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
        Path::Peer(_) => (None, Through::Peer(sample(ground, case, Side::Peer, seconds)?)),
    };
    Ok(Round { direct, beside, through })
}

fn sample(ground: &mut Ground, case: &Case, side: Side, seconds: u64) -> Result<Sample> {
    pause(SETTLE)?;
    let carried_before = ground.carried(!case.same_node)?;
    let (before, noise_before) = (ground.cpu_seconds(side)?, ground.noise().read()?);
    let work = work(ground, case, side, seconds)?;
    let (after, noise_after) = (ground.cpu_seconds(side)?, ground.noise().read()?);
    // Checks for an interruption, too: an interrupted load generator may end as if all were well.
    pause(SETTLE)?;
    ensure!(work.amount > 0.0, "nothing came through on the {side:?} path, and {} errors", work.errors);
    let cpu = [after[0] - before[0], after[1] - before[1]];
    prove(side, &work, &ground.carried(!case.same_node)?.since(&carried_before), cpu)?;
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

/// Whether it was the path that it should have been.
fn prove(side: Side, work: &Work, carried: &Carried, cpu: [f64; 2]) -> Result<()> {
    let Carried { connections, requests, read } = carried;
    match side {
        Side::Direct | Side::Peer => ensure!(
            *connections + *requests == 0.0,
            "the agent carried {connections} connections and {requests} requests of the {side:?} path"
        ),
        Side::Bytes => {
            ensure!(*connections > 0.0, "the agent carried no connection of the mesh path");
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
    let pods = ground.pods(side);
    let server = if case.same_node { &pods.near } else { &pods.far };
    let (client, directory) = (&pods.client, ground.bed().directory());
    match case.load {
        Load::Http { connections } => {
            wrk::run(client, &ground.url(side, server)?, connections, false, seconds, directory)
        }
        Load::Connections { clients } => {
            wrk::run(client, &ground.url(side, server)?, clients, true, seconds, directory)
        }
        Load::Bulk { streams, reverse } => iperf::run(client, server.at(IPERF), streams, reverse, seconds),
    }
}
