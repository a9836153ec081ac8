//! Brings what the kernel programs log to the agent's own log.

use std::io;

use aya_log::EbpfLogger;
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::watch,
};
use tracing::{Level, enabled, warn};

use crate::{
    capture::{Kernel, KernelLogLevel, Switches},
    observe::{KERNEL_LOG, LogControl},
};

/// Starts the tasks that read it, and that have the programs log what the agent's own log shows of them, as its level changes.
#[expect(
    deprecated,
    reason = "the successor is an unsafe function; the logger owns its descriptor for as long as it is registered"
)]
pub(super) fn start(kernel: &mut Kernel, log: &LogControl) {
    let reader = EbpfLogger::init(kernel.programs())
        .map_err(io::Error::other)
        .and_then(|logger| AsyncFd::with_interest(logger, Interest::READABLE));
    match reader {
        Ok(reader) => drop(tokio::spawn(read(reader))),
        Err(error) => return warn!(%error, "read the log of the kernel programs; going on without it"),
    }
    let (switches, changes) = (kernel.switches(), log.changes());
    follow(&switches);
    tokio::spawn(follow_changes(switches, changes));
}

async fn follow_changes(switches: Switches, mut changes: watch::Receiver<()>) {
    while changes.changed().await.is_ok() {
        follow(&switches);
    }
}

fn follow(switches: &Switches) {
    if let Err(error) = switches.set_log_level(level()) {
        warn!(%error, "set the level of the kernel programs' log");
    }
}

/// What the agent's own log shows of the kernel programs.
fn level() -> KernelLogLevel {
    if enabled!(target: KERNEL_LOG, Level::TRACE) {
        KernelLogLevel::Trace
    } else if enabled!(target: KERNEL_LOG, Level::DEBUG) {
        KernelLogLevel::Debug
    } else if enabled!(target: KERNEL_LOG, Level::INFO) {
        KernelLogLevel::Info
    } else if enabled!(target: KERNEL_LOG, Level::WARN) {
        KernelLogLevel::Warn
    } else if enabled!(target: KERNEL_LOG, Level::ERROR) {
        KernelLogLevel::Error
    } else {
        KernelLogLevel::Off
    }
}

async fn read(mut reader: AsyncFd<EbpfLogger<&'static dyn log::Log>>) {
    while let Ok(mut ready) = reader.readable_mut().await {
        ready.get_inner_mut().flush();
        ready.clear_ready();
    }
}
