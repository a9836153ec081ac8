//! The measurement of one size: memory as objects come, then times of single changes and of picks.

use std::{
    fmt,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use heddle::{
    balance::{Balancer, Chooser, Wanted},
    mesh::{Compiler, MeshSettings, Snapshot, SnapshotHandle},
    objects::{Change, Object},
    route,
};
use serde::{Deserialize, Serialize};

use crate::world::{OWN, OWN_NODE, World};

/// Single changes that are measured.
const CHANGES: usize = 2_000;
/// Repetitions of what is short, and those of them that are measured as one.
const MANY: usize = 100_000;
const AT_ONCE: usize = 50;
const PICKS: usize = 20_000;
/// Picks that are measured as one: the clock alone costs about as much as a pick.
const PICKS_AT_ONCE: usize = 20;

/// What was measured at one size. Times are in microseconds.
#[derive(Serialize, Deserialize)]
pub(crate) struct Figures {
    endpoints: usize,
    per_service: usize,
    compile_ms: f64,
    endpoint_change: Times,
    pod_change: Times,
    own_pod_change: Times,
    pick: Times,
    bytes_per_endpoint: f64,
    bytes_per_pod: f64,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Times {
    pub(crate) median: f64,
    pub(crate) p99: f64,
}

impl Figures {
    pub(crate) const HEAD: &str = "endpoints  a Service  compile ms  endpoint change  p99    pod change  p99    own pod  p99    pick   p99    \
                                   B/endpoint  B/pod";
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>9}  {:>9}  {:>10.1}  {:>15.1}  {:>5.1}  {:>10.1}  {:>5.1}  {:>7.1}  {:>5.1}  {:>5.2}  {:>5.2}  {:>10.0}  {:>5.0}",
            self.endpoints,
            self.per_service,
            self.compile_ms,
            self.endpoint_change.median,
            self.endpoint_change.p99,
            self.pod_change.median,
            self.pod_change.p99,
            self.own_pod_change.median,
            self.own_pod_change.p99,
            self.pick.median,
            self.pick.p99,
            self.bytes_per_endpoint,
            self.bytes_per_pod
        )
    }
}

/// Measures a mesh of this size.
pub(crate) fn measure(endpoints: usize, per_service: usize) -> Result<Figures> {
    let world = World { endpoints, per_service };
    let mut mesh = Mesh::new()?;
    mesh.apply(vec![World::namespace()]);
    let empty = resident()?;
    // Slice by slice where memory is measured: a batch of everything would leave its own traces.
    for service in 0..world.services() {
        mesh.apply(vec![world.service(service)]);
    }
    for slice in world.slices() {
        mesh.apply(vec![slice]);
    }
    let with_endpoints = resident()?;
    for endpoint in 0..endpoints {
        mesh.apply(vec![world.pod(endpoint, "v1")]);
    }
    let with_pods = resident()?;
    let relabelled = |endpoint, odd| world.pod(endpoint, if odd { "v1" } else { "v2" });
    let each = |bytes: usize, before: usize| bytes.saturating_sub(before) as f64 / endpoints as f64;
    Ok(Figures {
        endpoints,
        per_service,
        endpoint_change: changes(&mut mesh, endpoints, |endpoint, odd| match odd {
            true => world.slice_with(endpoint),
            false => world.slice_without(endpoint),
        }),
        pod_change: changes(&mut mesh, endpoints, relabelled),
        own_pod_change: changes(&mut mesh, endpoints.min(OWN), relabelled),
        pick: picks(&mesh, world)?,
        compile_ms: whole(world)?,
        bytes_per_endpoint: each(with_endpoints, empty),
        bytes_per_pod: each(with_pods, with_endpoints),
    })
}

/// The compiler with the handle that it publishes to.
pub(crate) struct Mesh {
    compiler: Compiler,
    handle: SnapshotHandle,
}

impl Mesh {
    pub(crate) fn new() -> Result<Self> {
        let trust_domain = "cluster.local".parse().context("reading the trust domain")?;
        let settings = MeshSettings { node: OWN_NODE.into(), trust_domain, root_namespace: "heddle-system".into() };
        Ok(Self { compiler: Compiler::new(settings), handle: SnapshotHandle::default() })
    }

    /// From objects to the published snapshot, and how long that took.
    pub(crate) fn apply(&mut self, objects: Vec<Object>) -> Duration {
        let start = Instant::now();
        let outcome = self.compiler.apply(objects.into_iter().map(Change::Put));
        if let Some(mut snapshot) = outcome.snapshot {
            snapshot.generation = self.handle.load().generation + 1;
            self.handle.publish(snapshot);
        }
        start.elapsed()
    }
}

impl Mesh {
    /// What is in force.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.handle.load()
    }
}

/// One change after the other, each to one of the first endpoints and back.
fn changes(mesh: &mut Mesh, first: usize, object: impl Fn(usize, bool) -> Object) -> Times {
    let mut times = Vec::with_capacity(CHANGES);
    for turn in 0..CHANGES {
        let endpoint = (turn / 2 * 7_919) % first;
        let object = object(endpoint, turn % 2 == 1);
        times.push(mesh.apply(vec![object]).as_secs_f64() * 1e6);
    }
    Times::of(times)
}

/// From the dialled address to the endpoints to try.
fn picks(mesh: &Mesh, world: World) -> Result<Times> {
    let snapshot = mesh.handle.load();
    let source = snapshot.workloads().first().map(|workload| (*workload).clone()).context("finding a client")?;
    let client = *source.addresses.first().context("finding the client's address")?;
    let balancer = Balancer::default();
    let mut times = Vec::with_capacity(PICKS / PICKS_AT_ONCE);
    for turn in 0..PICKS / PICKS_AT_ONCE {
        let start = Instant::now();
        for one in 0..PICKS_AT_ONCE {
            let service = (turn * PICKS_AT_ONCE + one) * 31 % world.services();
            let route = route::route(&snapshot, (World::cluster_ip(service), 80).into())?;
            let chooser = Chooser { balancer: &balancer, snapshot: &snapshot, source: &source, client };
            black_box(chooser.candidates(&route, &Wanted::default())?.0);
        }
        times.push(start.elapsed().as_secs_f64() * 1e6 / PICKS_AT_ONCE as f64);
    }
    Ok(Times::of(times))
}

/// Everything in one batch, in milliseconds: what a start costs once the objects are read.
fn whole(world: World) -> Result<f64> {
    let mut objects = vec![World::namespace()];
    objects.extend((0..world.services()).map(|service| world.service(service)));
    objects.extend(world.slices());
    objects.extend((0..world.endpoints).map(|endpoint| world.pod(endpoint, "v1")));
    Ok(Mesh::new()?.apply(objects).as_secs_f64() * 1e3)
}

impl Times {
    pub(crate) fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or(f64::NAN);
        Self { median: at(50), p99: at(99) }
    }
}

/// Memory of this process that is in use.
pub(crate) fn resident() -> Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    Ok(kilobytes.context("reading VmRSS out of /proc/self/status")? * 1024)
}

/// Times of what is too short to be measured alone: the clock costs about as much.
pub(crate) fn many(mut one: impl FnMut()) -> Times {
    let mut times = Vec::with_capacity(MANY / AT_ONCE);
    for _ in 0..MANY / AT_ONCE {
        let start = Instant::now();
        (0..AT_ONCE).for_each(|_| one());
        times.push(start.elapsed().as_secs_f64() * 1e6 / AT_ONCE as f64);
    }
    Times::of(times)
}
