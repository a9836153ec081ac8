//! What the defaults need to know about the machine, gathered once before the configuration is read.
//!
//! [`Machine::detect`] is the only part of `config` besides [`Config::load`](super::Config::load) that touches the
//! system; the decisions on what it found are pure.

use std::{
    fs, io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    thread::available_parallelism,
};

use rustix::{
    process::{Resource, getrlimit},
    thread::sched_getaffinity,
};

use super::defaults;
use crate::shares::Share;

/// The variable that names the node where the configuration does not: all pods of a DaemonSet have one configuration, and each has
/// this from its own `spec.nodeName`.
pub(super) const NODE_NAME: &str = "NODE_NAME";

/// What there is at least, where it cannot be read: the kernel's own default of the hard limit, and a small machine.
const DESCRIPTORS: u64 = 4096;
const MEMORY: u64 = 1 << 30;

/// Descriptors of the agent for each connection of a pod. A connection may need two, there are those from the pod and those to it,
/// and no pod shall have more than half of all.
const DESCRIPTORS_PER_CONNECTION: u64 = 8;
/// Descriptors of a connection of any pod: one towards each of its ends.
const BOTH_ENDS: u64 = 2;
/// Descriptors that are no connections': a tenth, and not less than an agent of some pods has at its start, or half of a few.
const OTHER_DESCRIPTORS_PART: u64 = 10;
const OTHER_DESCRIPTORS: u64 = 512;
/// The part of the memory limit that the agent's own memory may have, in fifths. The kernel charges its sockets' buffers to the same
/// limit.
const RESIDENT_FIFTHS: u64 = 4;
/// More handshakes at a time only make each take longer.
const MOST_HANDSHAKES: u32 = 2048;
/// The part of the memory that one pod's bytes may fill, within these bounds: what a hundred busy connections have under way, and
/// more than is of use to any pod that reads.
const MEMORY_PART: u64 = 16;
const LEAST_BUFFERS: u64 = 16 << 20;
const MOST_BUFFERS: u64 = 256 << 20;

/// Facts about the machine that defaults depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// What the environment says of the node's name.
    pub node: Option<String>,
    /// The cgroup v2 mount, if there is one.
    pub cgroup2_mount: Option<PathBuf>,
    /// CPUs that this process may run on.
    pub cpus: usize,
    /// The cgroup's CPU quota in whole CPUs, where it is below `cpus`.
    pub cpu_limit: Option<usize>,
    /// Files and sockets that this process may have open, once it has asked for all.
    pub descriptors: u64,
    /// Bytes of memory, of the machine or of the cgroup, whichever is less.
    pub memory: u64,
    /// `memory.max` of the own cgroup, where it has one that is a number.
    pub memory_limit: Option<u64>,
}

impl Machine {
    /// Looks at the machine that this process runs on. What cannot be read is left out.
    pub fn detect() -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        // available_parallelism is the smaller of the CPU affinity and the cgroup's quota.
        let usable = available_parallelism().map_or(1, NonZeroUsize::get);
        let cpus = sched_getaffinity(None).map_or(usable, |set| usize::try_from(set.count()).unwrap_or(usable));
        let cgroup2_mount = cgroup2_mount(&mounts);
        let memory_limit = cgroup2_mount.as_deref().and_then(memory_limit);
        let memory = [machine_memory(), memory_limit].into_iter().flatten().min().unwrap_or(MEMORY);
        let descriptors = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        let node = std::env::var(NODE_NAME).ok();
        let cpu_limit = (usable < cpus).then_some(usable);
        Self { node, cgroup2_mount, cpus, cpu_limit, descriptors, memory, memory_limit }
    }

    /// Data threads where the configuration names none: the CPU limit, since whoever set one has already decided
    /// the agent's share of the node; else a quarter of the CPUs, so that the applications keep the rest. At
    /// least two, so that one stuck task does not stop all traffic.
    pub(super) fn data_threads(&self) -> usize {
        self.cpu_limit.unwrap_or(self.cpus / 4).max(2)
    }

    /// Connections of all pods together where the configuration does not say.
    pub(super) fn connections(&self) -> u32 {
        let others = (self.descriptors / OTHER_DESCRIPTORS_PART).max(OTHER_DESCRIPTORS.min(self.descriptors / 2));
        let connections = self.descriptors.saturating_sub(others) / BOTH_ENDS;
        u32::try_from(connections).unwrap_or(u32::MAX).clamp(1, *defaults::CONNECTIONS_RANGE.end())
    }

    /// Resident memory that the agent may have where the configuration does not say.
    pub(super) fn resident_bound(&self) -> Option<u64> {
        self.memory_limit.map(|limit| (limit / 5 * RESIDENT_FIFTHS).max(defaults::LEAST_MEMORY))
    }

    /// What one pod may have where the configuration does not say.
    pub(super) fn pod_share(&self) -> Share {
        let descriptors = self.descriptors.max(DESCRIPTORS);
        let connections = u32::try_from(descriptors / DESCRIPTORS_PER_CONNECTION).unwrap_or(u32::MAX).min(1_000_000);
        Share {
            weight: Share::WEIGHT,
            connections,
            handshakes: (connections / 2).min(MOST_HANDSHAKES),
            buffer_bytes: (self.memory / MEMORY_PART).clamp(LEAST_BUFFERS, MOST_BUFFERS),
        }
    }
}

/// `MemTotal` of proc(5).
fn machine_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

fn memory_limit(mount: &Path) -> Option<u64> {
    let own = own_cgroup().ok()?;
    fs::read_to_string(mount.join(own).join("memory.max")).ok()?.trim().parse().ok()
}

/// An error, unless this process runs in this cgroup or below it.
pub(crate) fn check_runs_in(cgroup: &Path) -> io::Result<()> {
    let own = own_cgroup()?;
    // The part of the cgroup's path before it is where it is mounted.
    let inside = cgroup.ancestors().any(|ancestor| {
        let candidate = ancestor.join(&own);
        candidate.starts_with(cgroup) && candidate.join("cgroup.procs").exists()
    });
    if inside {
        return Ok(());
    }
    let message = format!("this agent runs in cgroup /{}, which is not below it", own.display());
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

/// The cgroup v2 of this process, relative to where cgroups are mounted; an empty path for the root.
fn own_cgroup() -> io::Result<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup")?;
    Ok(text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default().into())
}

/// The first mount of type `cgroup2` in the text of `/proc/self/mounts` (fstab(5) format). In hybrid mode it is not
/// `/sys/fs/cgroup` itself but a directory below it.
pub(crate) fn cgroup2_mount(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (_device, target, kind) = (fields.next()?, fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(unescape(target)))
    })
}

/// The kernel writes space, tab, newline and backslash in mount paths as three octal digits.
pub(crate) fn unescape(path: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(path.to_owned(), |text, (code, plain)| text.replace(code, plain))
}
