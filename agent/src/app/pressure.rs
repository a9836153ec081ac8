//! How much memory and how many descriptors the agent has in use: looked at ten times a second, since much of it is in use without
//! being asked for by a connection.

use std::{fs, sync::Arc, time::Duration};

use rustix::{
    param::page_size,
    process::{Resource, getrlimit},
};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::shares::{Overload, Overloaded};

/// How often it is looked at. What comes in a tenth of a second on a fast machine are a few thousand connections.
const LOOK: Duration = Duration::from_millis(100);
/// What is kept of the descriptors, for what comes between two looks and for all that is no connection.
const KEPT_DESCRIPTORS: u64 = 20;
/// Once something was short, a part of it has to be free again, or it would be short and not by turns.
const FREE_AGAIN: u64 = 10;

/// One of the things that are looked at.
struct Gauge {
    what: Overloaded,
    /// What there may be.
    limit: u64,
    look: fn() -> Option<u64>,
    is_short: bool,
}

/// Looks, for ever, and has nothing new taken on while there is too little.
pub(super) async fn watch(memory: Option<u64>, overload: Arc<Overload>) {
    let memory = memory.map(|limit| Gauge::new(Overloaded::Memory, limit, resident));
    let open_files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let descriptors = Gauge::new(Overloaded::Descriptors, open_files - open_files / KEPT_DESCRIPTORS, descriptors);
    let mut gauges: Vec<_> = memory.into_iter().chain([descriptors]).collect();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        for gauge in &mut gauges {
            gauge.look(&overload);
        }
    }
}

impl Gauge {
    fn new(what: Overloaded, limit: u64, look: fn() -> Option<u64>) -> Self {
        Self { what, limit, look, is_short: false }
    }

    fn look(&mut self, overload: &Overload) {
        // What cannot be read is taken to be as it was.
        let Some(used) = (self.look)() else { return };
        if !self.changes(used) {
            return;
        }
        let Self { what, limit, is_short, .. } = *self;
        overload.set_short_of(what, is_short);
        match is_short {
            true => warn!(used, limit, "what is new is refused: {what}"),
            false => info!(used, limit, ?what, "there is enough again: nothing is refused for it any more"),
        }
    }

    /// Whether it is short now and was not, or the other way round.
    fn changes(&mut self, used: u64) -> bool {
        let bound = if self.is_short { self.limit - self.limit / FREE_AGAIN } else { self.limit };
        std::mem::replace(&mut self.is_short, used > bound) != self.is_short
    }
}

/// The second number of `statm` of proc(5), in bytes.
fn resident() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * page_size() as u64)
}

/// The kernel tells their number as the size of the directory since 6.2, and nothing before.
fn descriptors() -> Option<u64> {
    fs::metadata("/proc/self/fd").ok().map(|directory| directory.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_short_is_so_until_a_tenth_is_free() {
        let mut gauge = Gauge::new(Overloaded::Memory, 1000, || None);
        let changes = [1000, 1001, 901, 900, 1000].map(|used| gauge.changes(used));
        assert_eq!(changes, [false, true, false, true, false]);
    }

    #[test]
    fn who_is_short_is_told_and_what_cannot_be_read_changes_nothing() {
        let overload = Overload::new(1);
        let mut gauge = Gauge::new(Overloaded::Memory, 1000, || Some(2000));
        gauge.look(&overload);
        assert!(overload.is(Overloaded::Memory));
        gauge.look = || None;
        gauge.look(&overload);
        assert!(overload.is(Overloaded::Memory));
        gauge.look = || Some(0);
        gauge.look(&overload);
        assert!(!overload.is(Overloaded::Memory));
    }

    #[test]
    fn the_kernel_tells_both() {
        assert!(resident().is_some_and(|bytes| bytes > 1 << 20));
        let before = descriptors().unwrap_or_default();
        let _open = fs::File::open("/proc/self/statm");
        assert!(before > 0 && descriptors().is_some_and(|now| now > before));
    }
}
