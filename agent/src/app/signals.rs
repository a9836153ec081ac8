//! The signals that end a process: SIGTERM and SIGINT alike.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Waits for one of them.
pub async fn told_to_end() -> anyhow::Result<()> {
    Signals::new()?.next().await;
    Ok(())
}

/// Both of them.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
