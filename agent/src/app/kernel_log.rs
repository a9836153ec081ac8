//! Brings what the kernel programs log to the agent's own log.

use std::io;

use aya_log::EbpfLogger;
use tokio::io::{Interest, unix::AsyncFd};
use tracing::{Level, enabled, warn};

use crate::{capture::Kernel, observe::KERNEL_LOG};

/// The level that the kernel programs are loaded with: what the agent's own log shows of them. A level that
/// is off costs the kernel nothing, so it is decided before they are loaded.
pub(super) fn level() -> aya_log::Level {
    if enabled!(target: KERNEL_LOG, Level::TRACE) {
        aya_log::Level::Trace
    } else if enabled!(target: KERNEL_LOG, Level::DEBUG) {
        aya_log::Level::Debug
    } else if enabled!(target: KERNEL_LOG, Level::INFO) {
        aya_log::Level::Info
    } else if enabled!(target: KERNEL_LOG, Level::WARN) {
        aya_log::Level::Warn
    } else {
        aya_log::Level::Error
    }
}

/// Starts the task that reads it.
#[expect(
    deprecated,
    reason = "the successor is an unsafe function; the logger owns its descriptor for as long as it is registered"
)]
pub(super) fn start(kernel: &mut Kernel) {
    let reader = EbpfLogger::init(kernel.programs())
        .map_err(io::Error::other)
        .and_then(|logger| AsyncFd::with_interest(logger, Interest::READABLE));
    match reader {
        Ok(reader) => drop(tokio::spawn(read(reader))),
        Err(error) => warn!(%error, "read the log of the kernel programs; going on without it"),
    }
}

async fn read(mut reader: AsyncFd<EbpfLogger<&'static dyn log::Log>>) {
    while let Ok(mut ready) = reader.readable_mut().await {
        ready.get_inner_mut().flush();
        ready.clear_ready();
    }
}
