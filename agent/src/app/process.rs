//! What the process asks of the kernel for itself.

use anyhow::Context;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use tracing::warn;

/// Before there is a key: no core dump is written, and no process without root's rights may look into the memory or trace
/// this one, whatever its user.
pub(super) fn hide_memory() -> anyhow::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .context("keep the memory, which has keys, out of core dumps")?;
    // Unlike the flag, the limit outlives a change of the process's user.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).context("set the limit of core dumps to nothing")
}

/// What is freed goes back to the kernel within some seconds. By itself the allocator does so when it is asked for something, and a
/// thread that has become idle, after the start or a storm, asks for nothing.
pub(super) fn give_memory_back() {
    if let Err(error) = tikv_jemalloc_ctl::background_thread::write(true) {
        warn!(%error, "start the allocator's own threads; memory that is free is given back later");
    }
}

/// Each connection needs two descriptors; the default soft limit of 1,024 is for programs that use select(2).
pub(super) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        warn!(%error, "raise the limit of open files; connections beyond it will have to wait");
    }
}
