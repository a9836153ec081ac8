//! What the defaults need to know about the machine, gathered once before the configuration is read.
//!
//! [`Machine::detect`] is the only part of `config` besides [`Config::load`](super::Config::load) that touches the
//! system; the decisions on what it found are pure.

use std::{num::NonZeroUsize, path::PathBuf, thread::available_parallelism};

use rustix::thread::sched_getaffinity;

/// Facts about the machine that defaults depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The cgroup v2 mount, if there is one.
    pub cgroup2_mount: Option<PathBuf>,
    /// CPUs that this process may run on.
    pub cpus: usize,
    /// The cgroup's CPU quota in whole CPUs, where it is below `cpus`.
    pub cpu_limit: Option<usize>,
}

impl Machine {
    /// Looks at the machine that this process runs on. What cannot be read is left out.
    pub fn detect() -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        // available_parallelism is the smaller of the CPU affinity and the cgroup's quota.
        let usable = available_parallelism().map_or(1, NonZeroUsize::get);
        let cpus = sched_getaffinity(None).map_or(usable, |set| usize::try_from(set.count()).unwrap_or(usable));
        Self { cgroup2_mount: cgroup2_mount(&mounts), cpus, cpu_limit: (usable < cpus).then_some(usable) }
    }

    /// Data threads where the configuration names none: the CPU limit, since whoever set one has already decided
    /// the agent's share of the node; else a quarter of the CPUs, so that the applications keep the rest. At
    /// least two, so that one stuck task does not stop all traffic.
    pub(super) fn data_threads(&self) -> usize {
        self.cpu_limit.unwrap_or(self.cpus / 4).max(2)
    }
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
