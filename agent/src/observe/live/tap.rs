//! Those who see what ends as it ends, each with a filter and a queue of its own.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use bytes::Bytes;
use parking_lot::RwLock;
use tokio::sync::mpsc;

use super::{
    super::access_log::{LogFormat, Story},
    Live, TapFilter,
};

/// Stories that wait for a watcher: about a megabyte.
const QUEUE: usize = 1024;

/// Everybody who taps.
#[derive(Debug, Default)]
pub(super) struct Taps {
    taps: RwLock<Vec<Tap>>,
    next: AtomicU64,
    /// Of all, since the start.
    lost: AtomicU64,
}

#[derive(Debug)]
struct Tap {
    id: u64,
    filter: TapFilter,
    ended: mpsc::Sender<Arc<Story>>,
    lost: Arc<AtomicU64>,
}

/// One who taps. Dropping it ends that.
#[derive(Debug)]
pub struct TapWatch {
    id: u64,
    live: Arc<Live>,
    ended: mpsc::Receiver<Arc<Story>>,
    lost: Arc<AtomicU64>,
}

/// What a tap gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TapEvent {
    /// The access log's line of what ended, as JSON.
    Line(Bytes),
    /// So many were lost before what comes next.
    Lost(u64),
}

impl Taps {
    pub(super) fn add(&self, live: Arc<Live>, filter: TapFilter) -> TapWatch {
        let id = self.next.fetch_add(1, Relaxed);
        let ((ended, receiver), lost) = (mpsc::channel(QUEUE), Arc::new(AtomicU64::new(0)));
        self.taps.write().push(Tap { id, filter, ended, lost: Arc::clone(&lost) });
        TapWatch { id, live, ended: receiver, lost }
    }

    pub(super) fn remove(&self, id: u64) {
        self.taps.write().retain(|tap| tap.id != id);
    }

    /// Lines are made of it by who reads them.
    pub(super) fn tell(&self, story: &Arc<Story>) {
        for tap in self.taps.read().iter().filter(|tap| tap.filter.passes(story)) {
            if tap.ended.try_send(Arc::clone(story)).is_err() {
                tap.lost.fetch_add(1, Relaxed);
                self.lost.fetch_add(1, Relaxed);
            }
        }
    }

    /// What was lost by all, since the start.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

impl TapWatch {
    /// What comes next.
    pub async fn next(&mut self) -> Option<TapEvent> {
        match self.lost.swap(0, Relaxed) {
            0 => self.ended.recv().await.map(|story| TapEvent::Line(text(&story))),
            lost => Some(TapEvent::Lost(lost)),
        }
    }
}

impl Drop for TapWatch {
    fn drop(&mut self) {
        self.live.leave_tap(self.id);
    }
}

fn text(story: &Story) -> Bytes {
    let mut line = Vec::with_capacity(1024);
    story.write(LogFormat::Json, &mut line, &mut String::new());
    while line.last() == Some(&b'\n') {
        line.pop();
    }
    line.into()
}
