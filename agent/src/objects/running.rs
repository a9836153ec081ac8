//! A source that runs, and how it is ended.

use tokio::{sync::watch, task::JoinHandle};

use super::{EventWriter, ObjectStream};

/// A source that was opened.
#[derive(Debug)]
pub struct Running {
    /// What it produces.
    pub objects: ObjectStream,
    /// Tells the owners of its objects something; files have no such owners.
    pub events: Option<EventWriter>,
    /// Ends it.
    pub ending: Ending,
}

/// Ends a source in an orderly way. To drop the stream ends it too, and loses what it would still write.
#[derive(Debug)]
#[must_use = "the state on disk is written at the end"]
pub struct Ending(Option<(watch::Sender<bool>, JoinHandle<()>)>);

impl Running {
    /// Of a source that has a task with something to do at its end.
    pub(super) fn new(objects: ObjectStream, end: watch::Sender<bool>, task: JoinHandle<()>) -> Self {
        Self { objects, events: None, ending: Ending(Some((end, task))) }
    }

    /// Of a source that may be cut off at any time.
    pub(super) fn endless(objects: ObjectStream) -> Self {
        Self { objects, events: None, ending: Ending(None) }
    }
}

impl Ending {
    /// Lets the source write what it has to, and waits for it.
    pub async fn end(self) {
        let Some((end, task)) = self.0 else { return };
        end.send_replace(true);
        // A task that panicked has said so.
        let _ = task.await;
    }
}
