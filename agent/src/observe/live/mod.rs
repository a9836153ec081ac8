//! What happens now, for those who watch: each request and connection at its end (a tap), and the sums of each second (flows).
//!
//! In: the stories that records end with, and the connections that are open. Out: lines and seconds, into queues that have a
//! bound. Nothing is made, kept or sent while nobody watches. A watcher that is too slow loses, and is told how much; nobody
//! waits for it.

mod filter;
mod flows;
mod key;
mod latency;
mod tap;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{broadcast, watch},
    time::MissedTickBehavior,
};

pub use filter::{BadFilter, TapFilter};
pub use tap::{TapEvent, TapWatch};

use super::{
    access_log::Story,
    metrics::{Metrics, WatchLoss, Watching},
    open::OpenConnections,
    outcome::Moved,
};
use flows::{Flows, Gathered, Second};
use tap::Taps;

/// Who watch at once, of either kind. Each is a connection of an administrator of this node.
const MOST_WATCHERS: usize = 16;

/// Seconds that a watcher may be behind.
const BEHIND: usize = 8;

const SECOND: Duration = Duration::from_secs(1);

/// Everybody who watches.
#[derive(Debug)]
pub(super) struct Live {
    watchers: Watchers,
    open: Arc<OpenConnections>,
    flows: Flows,
    /// As JSON, which is made once for all.
    seconds: broadcast::Sender<Arc<str>>,
    taps: Taps,
    lost: Lost,
}

/// What those who watch flows have not seen, since the start.
#[derive(Debug, Default)]
struct Lost {
    /// They were too slow.
    seconds: AtomicU64,
    /// There were too many in a second.
    flows: AtomicU64,
}

/// How many of each kind there are.
#[derive(Debug, Default)]
struct Watchers {
    of_flows: AtomicUsize,
    taps: AtomicUsize,
}

/// There are as many who watch as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MOST_WATCHERS} others watch already, which is the limit; end one of them")]
pub struct TooManyWatchers;

/// One who watches flows. Dropping it ends that.
#[derive(Debug)]
pub struct FlowWatch {
    live: Arc<Live>,
    /// What was open when it came, until that is told.
    first: Option<Arc<str>>,
    seconds: broadcast::Receiver<Arc<str>>,
}

impl Live {
    pub(super) fn new(open: Arc<OpenConnections>) -> Self {
        Self {
            watchers: Watchers::default(),
            open,
            flows: Flows::default(),
            seconds: broadcast::channel(BEHIND).0,
            taps: Taps::default(),
            lost: Lost::default(),
        }
    }

    /// Whether anybody is to be told of what ends.
    pub(super) fn is_watched(&self) -> bool {
        self.watchers.of_flows.load(Relaxed) + self.watchers.taps.load(Relaxed) > 0
    }

    /// For a scrape: who watches, and what they have not seen.
    pub(super) fn tell(&self, metrics: &Metrics) {
        let Watchers { of_flows, taps } = &self.watchers;
        metrics.set_watchers(Watching::Flows, of_flows.load(Relaxed));
        metrics.set_watchers(Watching::Taps, taps.load(Relaxed));
        metrics.set_watch_lost(WatchLoss::Seconds, self.lost.seconds.load(Relaxed));
        metrics.set_watch_lost(WatchLoss::Flows, self.lost.flows.load(Relaxed));
        metrics.set_watch_lost(WatchLoss::Ends, self.taps.lost());
    }

    /// A connection or request has ended.
    pub(super) fn ended(&self, story: &Arc<Story>) {
        if self.watchers.of_flows.load(Relaxed) > 0 {
            self.flows.add(story);
        }
        if self.watchers.taps.load(Relaxed) > 0 {
            self.taps.tell(story);
        }
    }

    /// Starts to watch the sums of seconds.
    pub(super) fn watch_flows(self: &Arc<Self>) -> Result<FlowWatch, TooManyWatchers> {
        // Whoever cannot come costs no look at all connections.
        if self.watchers.of_flows.load(Relaxed) >= MOST_WATCHERS {
            return Err(TooManyWatchers);
        }
        let first = self.open_now();
        enter(&self.watchers.of_flows)?;
        Ok(FlowWatch { live: Arc::clone(self), first: Some(first), seconds: self.seconds.subscribe() })
    }

    /// Starts to watch what ends and passes the filter.
    pub(super) fn tap(self: &Arc<Self>, filter: TapFilter) -> Result<TapWatch, TooManyWatchers> {
        enter(&self.watchers.taps)?;
        Ok(self.taps.add(Arc::clone(self), filter))
    }

    /// Ends each second, until `stop` is true or gone.
    pub(super) async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut ticks = tokio::time::interval(SECOND);
        // A second that came late is longer; none is made up for.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stopped = stop.wait_for(|stop| *stop);
        tokio::pin!(stopped);
        loop {
            tokio::select! {
                _ = &mut stopped => return,
                _ = ticks.tick() => self.end_second(),
            }
        }
    }

    fn end_second(&self) {
        let (mut gathered, length) = self.flows.take();
        if self.watchers.of_flows.load(Relaxed) > 0 {
            self.open.each_relayed(|open| gathered.add_open(open, open.untold()));
            self.lost.flows.fetch_add(gathered.left_out(), Relaxed);
            // Who subscribes and goes within a second is no reason to fail.
            let _ = self.seconds.send(json(&gathered.end(length)));
        }
    }

    /// What is open, for one who comes. The first one is told nothing of bytes that passed before.
    fn open_now(&self) -> Arc<str> {
        let is_first = self.watchers.of_flows.load(Relaxed) == 0;
        let mut gathered = Gathered::default();
        self.open.each_relayed(|open| {
            if is_first {
                open.untold();
            }
            gathered.add_open(open, Moved::default());
        });
        json(&gathered.end(Duration::ZERO))
    }

    fn leave_tap(&self, id: u64) {
        self.taps.remove(id);
        self.watchers.taps.fetch_sub(1, Relaxed);
    }
}

impl FlowWatch {
    /// The next second as JSON, and how many were lost before it. `None` when the agent ends.
    pub async fn next(&mut self) -> Option<(Arc<str>, u64)> {
        if let Some(first) = self.first.take() {
            return Some((first, 0));
        }
        let mut lost = 0;
        loop {
            match self.seconds.recv().await {
                Ok(second) => return Some((second, lost)),
                Err(broadcast::error::RecvError::Lagged(count)) => {
                    lost += count;
                    self.live.lost.seconds.fetch_add(count, Relaxed);
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl Drop for FlowWatch {
    fn drop(&mut self) {
        self.live.watchers.of_flows.fetch_sub(1, Relaxed);
    }
}

/// A second has nothing that JSON could not say.
fn json(second: &Second) -> Arc<str> {
    serde_json::to_string(second).unwrap_or_default().into()
}

fn enter(count: &AtomicUsize) -> Result<(), TooManyWatchers> {
    let room = |count: usize| (count < MOST_WATCHERS).then_some(count + 1);
    count.fetch_update(Relaxed, Relaxed, room).map(drop).map_err(|_| TooManyWatchers)
}
