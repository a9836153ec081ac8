//! The task of the source: takes in events, hands on changes, and keeps the state on disk up to date.

use std::{sync::Arc, time::Duration};

use futures_util::{
    StreamExt,
    stream::{BoxStream, SelectAll},
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{
    collect::{Collected, Collector, all, shared},
    documents::Documents,
    explain::explain,
    watch::WatchEvent,
};
use crate::{
    config::Problem,
    objects::{
        Change, Changes, Kind, ObjectFeed, Running, SourceStatus,
        state::{StateDirectory, StateError},
        stream,
    },
    observe::RestartReason,
};

/// Between writes of the state while objects change. What is lost with the machine is made up for by the next list; a busy
/// cluster must not keep a disk busy.
const WRITE_PAUSE: Duration = Duration::from_secs(5);

/// Between writes while nothing changes: the state says when it was in force last, and that is now.
const REWRITE_PAUSE: Duration = Duration::from_secs(600);

/// After a write that failed: what is wrong with a disk is mended by others, who do not tell.
const RETRY_PAUSE: Duration = WRITE_PAUSE;

/// The name under which the source itself has a problem.
const API: &str = "kubernetes API";

/// Everything that the task works with.
pub(super) struct Run {
    pub(super) collector: Collector,
    pub(super) documents: Option<Documents>,
    pub(super) events: SelectAll<BoxStream<'static, WatchEvent>>,
    pub(super) keeping: Option<Keeping>,
    /// Why the state on disk was not used, until there is a new one.
    pub(super) state_problem: Option<Problem>,
    pub(super) status: SourceStatus,
}

/// The state on disk, with what is being done about it.
#[derive(Debug)]
pub(super) struct Keeping {
    directory: StateDirectory,
    /// When the next write is due.
    due: Option<Instant>,
    writing: Option<JoinHandle<Result<(), StateError>>>,
    failed: bool,
}

/// What woke the task.
enum Woken {
    Event(Box<WatchEvent>),
    Documents(Vec<Change>),
    WriteDue,
    Written(Result<(), StateError>),
    End,
}

impl Run {
    /// Has the first batch, and goes on in a task: at once with what is in force, else when every kind has been listed.
    pub(super) async fn start(mut self, has_state: bool) -> Running {
        let mut first = self.documents.as_mut().map(Documents::first).unwrap_or_default();
        if has_state {
            first.extend(all(self.collector.in_force()));
        } else {
            while !self.collector.is_live() {
                // Their problems are looked up when all is complete.
                let Some(event) = self.events.next().await else { break };
                first.extend(self.collect(event).changes);
            }
            self.live();
        }
        let (feed, objects) = stream(Changes { objects: first, problems: Some(self.problems()) });
        let (end, ending) = watch::channel(false);
        let task = tokio::spawn(self.follow(feed, ending));
        Running::new(objects, end, task)
    }

    async fn follow(mut self, feed: ObjectFeed, mut ending: watch::Receiver<bool>) {
        loop {
            match self.woken(&feed, &mut ending).await {
                Woken::Event(event) => {
                    let collected = self.collect(*event);
                    if collected.now_live {
                        self.live();
                    }
                    let problems = (collected.problems_changed || collected.now_live).then(|| self.problems());
                    self.hand_on(&feed, Changes { objects: collected.changes, problems });
                }
                Woken::Documents(objects) => {
                    let problems = Some(self.problems());
                    feed.send(Changes { objects, problems });
                }
                Woken::WriteDue => self.write(),
                Woken::Written(outcome) => self.written(outcome, &feed),
                Woken::End => break,
            }
        }
        self.last_write().await;
    }

    async fn woken(&mut self, feed: &ObjectFeed, ending: &mut watch::Receiver<bool>) -> Woken {
        let due = self.keeping.as_ref().filter(|keeping| keeping.writing.is_none()).and_then(|keeping| keeping.due);
        let documents = async {
            match &mut self.documents {
                Some(documents) => documents.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // No event is more urgent than the end.
            biased;
            () = feed.closed() => Woken::End,
            _ = ending.wait_for(|end| *end) => Woken::End,
            outcome = finished(&mut self.keeping) => Woken::Written(outcome),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => Woken::WriteDue,
            changes = documents => Woken::Documents(changes),
            Some(event) = self.events.next() => Woken::Event(Box::new(event)),
        }
    }

    /// Takes in one event, and says what went wrong.
    fn collect(&mut self, (kind, event): WatchEvent) -> Collected {
        use kube::runtime::watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
        match event {
            Ok(event) => {
                match &event {
                    Init => self.status.listing(kind),
                    InitApply(_) => {}
                    InitDone => self.status.synced(kind),
                    Apply(_) | Delete(_) => self.status.event(kind),
                }
                self.collector.take(kind, event)
            }
            Err(error) => {
                self.failed(kind, &error);
                Collected::default()
            }
        }
    }

    /// Once in the log when it is news, and not with each try.
    fn failed(&self, kind: Kind, error: &kube::runtime::watcher::Error) {
        let (reason, message) = explain(kind, error);
        if let Some(reason) = reason {
            self.status.restart(reason);
        }
        match (self.status.failed(kind, &message), reason) {
            // An old version is forgotten by every API server sooner or later.
            (_, Some(RestartReason::Expired)) | (false, _) => tracing::debug!("{message}"),
            (true, _) => tracing::warn!("{message}"),
        }
    }

    fn live(&mut self) {
        self.status.set_live();
        if let Some(keeping) = &mut self.keeping {
            keeping.due = Some(Instant::now());
        }
        tracing::info!(objects = self.collector.in_force().objects().count(), "every kind has been listed");
    }

    fn hand_on(&mut self, feed: &ObjectFeed, changes: Changes) {
        if changes == Changes::default() {
            return;
        }
        if !changes.objects.is_empty()
            && let Some(keeping) = &mut self.keeping
        {
            let soon = Instant::now() + WRITE_PAUSE;
            keeping.due = Some(keeping.due.map_or(soon, |due| due.min(soon)));
        }
        feed.send(changes);
    }

    /// While the state on disk is in force that is a problem itself: it may be old, and nobody may take what is missing in it
    /// for gone.
    fn problems(&self) -> Arc<Vec<Problem>> {
        let from_disk = (!self.collector.is_live()).then(|| {
            let message =
                "has not been listed yet; the objects of the state on disk are in force, and may be out of date";
            Problem::of_file(API, message)
        });
        let documents = self.documents.iter().flat_map(Documents::problems);
        let objects = self.collector.problems().cloned();
        shared(from_disk.into_iter().chain(self.state_problem.clone()).chain(documents).chain(objects))
    }

    fn write(&mut self) {
        let Some(keeping) = &mut self.keeping else { return };
        keeping.due = None;
        let (directory, objects) = (keeping.directory.clone(), self.collector.in_force().clone());
        keeping.writing = Some(tokio::task::spawn_blocking(move || directory.write(objects)));
    }

    fn written(&mut self, outcome: Result<(), StateError>, feed: &ObjectFeed) {
        let failed = outcome.is_err();
        if let Some(keeping) = &mut self.keeping {
            keeping.note(outcome);
            let later = Instant::now() + if failed { RETRY_PAUSE } else { REWRITE_PAUSE };
            keeping.due = Some(keeping.due.map_or(later, |due| due.max(Instant::now() + WRITE_PAUSE)));
        }
        if !failed && self.state_problem.take().is_some() {
            feed.send(Changes { objects: Vec::new(), problems: Some(self.problems()) });
        }
    }

    /// An older state than the one on disk is never written.
    async fn last_write(&mut self) {
        if self.keeping.as_ref().is_some_and(|keeping| keeping.writing.is_some()) {
            let outcome = finished(&mut self.keeping).await;
            self.keeping.iter_mut().for_each(|keeping| keeping.failed |= outcome.is_err());
        }
        if self.collector.is_live() && self.keeping.is_some() {
            self.write();
            if let Err(error) = finished(&mut self.keeping).await {
                tracing::warn!("{error}");
            }
        }
    }
}

impl Keeping {
    pub(super) fn new(directory: StateDirectory) -> Self {
        Self { directory, due: None, writing: None, failed: false }
    }

    /// Once in the log, until it has worked again.
    fn note(&mut self, outcome: Result<(), StateError>) {
        match outcome {
            Ok(()) => self.failed = false,
            Err(error) if !self.failed => {
                self.failed = true;
                tracing::warn!("{error}");
            }
            Err(error) => tracing::debug!("{error}"),
        }
    }
}

/// Waits for the end of a write; for ever while there is none.
async fn finished(keeping: &mut Option<Keeping>) -> Result<(), StateError> {
    let Some(Keeping { writing: Some(writing), .. }) = keeping else { return std::future::pending().await };
    let outcome = writing.await;
    if let Some(keeping) = keeping {
        keeping.writing = None;
    }
    // A write that panicked has said so.
    outcome.unwrap_or(Ok(()))
}
