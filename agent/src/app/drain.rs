//! Waiting for connections to end before the agent does.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, interval},
};
use tracing::info;

use super::{data_threads::DataThreads, signals::Signals};
use crate::{config::Config, observe::Observer};

/// How often it is looked whether any connection is left.
const LOOK: Duration = Duration::from_millis(100);

/// What has to be told of a drain, and what it waits for.
pub(super) struct Drain<'a> {
    pub(super) config: &'a Config,
    pub(super) threads: &'a DataThreads,
    pub(super) observer: &'a Observer,
    /// Tells the connections.
    pub(super) begin: &'a watch::Sender<bool>,
}

impl Drain<'_> {
    /// Until when it may go on, if it begins now.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.config.limits.drain_timeout
    }

    /// Tells everybody, and waits until no connection is left, the deadline has passed, or the agent, which `is_told` already or is
    /// then, is told again to end. `look` hears how many are left. Why it ended, and whether the agent was told.
    pub(super) async fn run(
        &self,
        deadline: Instant,
        signals: &mut Signals,
        mut is_told: bool,
        mut look: impl FnMut(usize),
    ) -> (&'static str, bool) {
        info!(open = self.threads.open_connections(), at_most = ?self.config.limits.drain_timeout, "draining");
        self.observer.metrics().set_draining(true);
        self.begin.send_replace(true);
        let mut ticks = interval(LOOK);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    let open = self.threads.open_connections();
                    look(open);
                    match open {
                        0 => return ("all connections have ended", is_told),
                        _ if Instant::now() >= deadline => return ("the drain timeout has passed", is_told),
                        _ => {}
                    }
                }
                () = signals.next() => match is_told {
                    true => return ("told to end at once", true),
                    false => is_told = true,
                },
            }
        }
    }
}
