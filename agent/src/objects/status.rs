//! What the source of objects is doing: for metrics, `/config` and whoever wonders why nothing changes.
//!
//! Written by the source, read by everybody else. A source of files is live from the start and has no watches.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

use super::Kind;
use crate::observe::{ClosedLabel, RestartReason};

/// The state of a source. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct SourceStatus(Arc<Mutex<Status>>);

/// The state at one moment, as `/config` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceReport {
    /// Whether the objects in force are those that the source has now.
    pub live: bool,
    /// While the state on disk serves: how long ago it was saved.
    pub state_age_seconds: Option<f64>,
    /// Each kind that is watched; none for a source of files.
    pub kinds: Vec<KindReport>,
    /// Why listing or watching had to be started again, and how often.
    #[serde(skip)]
    pub restarts: Vec<(RestartReason, u64)>,
}

/// The state of one kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KindReport {
    /// Kubernetes kind.
    pub kind: &'static str,
    /// Whether all its objects have been listed.
    pub synced: bool,
    /// Whether a watch of it is open now.
    pub connected: bool,
    /// Since the API server last said something about it, if only that nothing changed.
    pub last_word_seconds: Option<f64>,
    /// Since one of its objects was last listed, changed or removed.
    pub last_event_seconds: Option<f64>,
    /// How often it was listed again from the start.
    pub relists: u64,
    /// What went wrong last and is not mended yet.
    pub last_error: Option<String>,
}

#[derive(Debug, Default)]
struct Status {
    watches: Option<[Watched; Kind::ALL.len()]>,
    live: bool,
    state_saved: Option<SystemTime>,
    restarts: [u64; RestartReason::ALL.len()],
}

#[derive(Debug, Default)]
struct Watched {
    lists: u64,
    synced: bool,
    connected: bool,
    last_word: Option<Instant>,
    last_event: Option<Instant>,
    last_watch: Option<Instant>,
    last_error: Option<String>,
}

impl SourceStatus {
    /// As of now.
    pub fn report(&self) -> SourceReport {
        let status = self.0.lock();
        let watched = status.watches.iter().flat_map(|watches| Kind::ALL.iter().zip(watches));
        let age = |saved: SystemTime| SystemTime::now().duration_since(saved).unwrap_or_default().as_secs_f64();
        SourceReport {
            live: status.live,
            state_age_seconds: status.state_saved.filter(|_| !status.live).map(age),
            kinds: watched.map(|(kind, watched)| watched.report(*kind)).collect(),
            restarts: RestartReason::ALL.iter().map(|reason| (*reason, status.restarts[reason.index()])).collect(),
        }
    }

    /// What is being waited for before the objects of the source are known; `None` when they are.
    pub fn waiting_for(&self) -> Option<String> {
        let status = self.0.lock();
        let watches = status.watches.as_ref().filter(|_| !status.live)?;
        let missing = Kind::ALL.iter().zip(watches).filter(|(_, watched)| !watched.synced);
        let reasons = missing.map(|(kind, watched)| match &watched.last_error {
            Some(error) => error.clone(),
            None => format!("{} objects are being listed", kind.as_str()),
        });
        Some(reasons.collect::<Vec<_>>().join("; "))
    }

    /// The objects in force are the source's own from now on.
    pub(super) fn set_live(&self) {
        self.0.lock().live = true;
    }

    /// The state on disk serves until the source is live.
    pub(super) fn serve_state(&self, saved: SystemTime) {
        self.0.lock().state_saved = Some(saved);
    }

    /// Every kind will be watched.
    pub(super) fn will_watch(&self) {
        self.0.lock().watches = Some(Default::default());
    }

    /// A kind is being listed from the start. How often that has happened before.
    pub(super) fn listing(&self, kind: Kind) {
        self.of(kind, |watched| watched.lists += 1);
    }

    /// All objects of a kind have been listed.
    pub(super) fn synced(&self, kind: Kind) {
        self.of(kind, |watched| {
            watched.synced = true;
            watched.last_error = None;
            watched.last_event = Some(Instant::now());
        });
    }

    /// An object of a kind changed.
    pub(super) fn event(&self, kind: Kind) {
        self.of(kind, |watched| {
            watched.last_error = None;
            watched.last_event = Some(Instant::now());
        });
    }

    /// The API server said something about a kind.
    pub(super) fn word(&self, kind: Kind) {
        self.of(kind, |watched| watched.last_word = Some(Instant::now()));
    }

    /// A watch is open. What went wrong before is mended.
    pub(super) fn connected(&self, kind: Kind) {
        self.of(kind, |watched| {
            watched.connected = true;
            watched.last_error = None;
        });
    }

    /// A watch is over.
    pub(super) fn disconnected(&self, kind: Kind) {
        self.of(kind, |watched| watched.connected = false);
    }

    /// Listing or watching has to be started again.
    pub(super) fn restart(&self, reason: RestartReason) {
        self.0.lock().restarts[reason.index()] += 1;
    }

    /// Notes what went wrong. Whether that is news.
    pub(super) fn failed(&self, kind: Kind, error: &str) -> bool {
        self.of(kind, |watched| {
            let news = watched.last_error.as_deref() != Some(error);
            watched.last_error = Some(error.to_owned());
            news
        })
        .unwrap_or(true)
    }

    /// How long to wait so that watches of a kind begin at least `apart` from each other; the next one counts from then.
    pub(super) fn pause_before_watch(&self, kind: Kind, apart: Duration) -> Duration {
        let now = Instant::now();
        self.of(kind, |watched| {
            let pause = watched.last_watch.map_or(Duration::ZERO, |last| (last + apart).saturating_duration_since(now));
            watched.last_watch = Some(now + pause);
            pause
        })
        .unwrap_or_default()
    }

    fn of<T>(&self, kind: Kind, change: impl FnOnce(&mut Watched) -> T) -> Option<T> {
        let mut status = self.0.lock();
        let index = Kind::ALL.iter().position(|other| *other == kind)?;
        status.watches.as_mut().map(|watches| change(&mut watches[index]))
    }
}

impl Watched {
    fn report(&self, kind: Kind) -> KindReport {
        let age = |at: Instant| at.elapsed().as_secs_f64();
        KindReport {
            kind: kind.as_str(),
            synced: self.synced,
            connected: self.connected,
            last_word_seconds: self.last_word.map(age),
            last_event_seconds: self.last_event.map(age),
            relists: self.lists.saturating_sub(1),
            last_error: self.last_error.clone(),
        }
    }
}
