//! Ctrl-C and SIGTERM: note it, and kill everything in the bed, so that whoever waits for a program stops waiting.
//!
//! The main thread then fails, drops the bed, and the bed takes everything back.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::bed::Cgroup;

static HAPPENED: AtomicBool = AtomicBool::new(false);

/// Whether the run was interrupted.
pub(crate) fn happened() -> bool {
    HAPPENED.load(Ordering::Relaxed)
}

/// From here on, interruptions are handled so.
pub(crate) fn watch(bed: Cgroup) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().context("starting a runtime")?;
    let entered = runtime.enter();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    drop(entered);
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        HAPPENED.store(true, Ordering::Relaxed);
        // The bed kills again when it is dropped, and reports what could not be killed.
        let _ = bed.kill();
    });
    Ok(())
}
