//! The stream of changes that every source produces and the mesh compiler consumes.
//!
//! A slow reader never makes it grow: changes of one object that were not read yet become one, so what waits is at most
//! one change for each object there is.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Object, ObjectKey};
use crate::config::Problem;

/// What became of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is there, new or changed.
    Put(Object),
    /// It is gone.
    Remove(ObjectKey),
}

/// Everything that changed since the batch before, each object at most once, ordered by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What became of each object that changed.
    pub objects: Vec<Change>,
    /// All documents of the source that cannot be read now, where that changed. The last good version of their objects
    /// is in force.
    pub problems: Option<Arc<Vec<Problem>>>,
}

impl Change {
    /// The object that it is about.
    pub fn key(&self) -> ObjectKey {
        match self {
            Self::Put(object) => object.key(),
            Self::Remove(key) => key.clone(),
        }
    }
}

#[derive(Debug, Default)]
struct Waiting {
    objects: BTreeMap<ObjectKey, Change>,
    problems: Option<Arc<Vec<Problem>>>,
    ended: bool,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Notify,
    reader_gone: Notify,
}

/// The end of a stream that a source feeds.
#[derive(Debug)]
pub struct ObjectFeed(Arc<Shared>);

/// The end that the compiler reads.
#[derive(Debug)]
pub struct ObjectStream(Arc<Shared>);

/// A stream whose first batch is `first`, even if that is empty: it stands for "everything there is now".
pub fn stream(first: Changes) -> (ObjectFeed, ObjectStream) {
    let shared = Arc::new(Shared::default());
    let feed = ObjectFeed(Arc::clone(&shared));
    feed.send(first);
    (feed, ObjectStream(shared))
}

impl ObjectFeed {
    /// Hands changes on. One that is not read yet is replaced by a newer one of the same object.
    pub fn send(&self, changes: Changes) {
        let mut waiting = self.0.waiting.lock();
        waiting.objects.extend(changes.objects.into_iter().map(|change| (change.key(), change)));
        if changes.problems.is_some() {
            waiting.problems = changes.problems;
        }
        drop(waiting);
        self.0.changed.notify_one();
    }

    /// Waits until nobody reads the stream any more.
    pub async fn closed(&self) {
        // The reader notifies once, when it is dropped, and the permit stays until it is taken here.
        self.0.reader_gone.notified().await;
        self.0.reader_gone.notify_one();
    }
}

impl Drop for ObjectFeed {
    fn drop(&mut self) {
        self.0.waiting.lock().ended = true;
        self.0.changed.notify_one();
    }
}

impl ObjectStream {
    /// What has changed since the last call, maybe nothing. Never waits.
    pub fn take(&mut self) -> Changes {
        let mut waiting = self.0.waiting.lock();
        let objects = std::mem::take(&mut waiting.objects).into_values().collect();
        Changes { objects, problems: waiting.problems.take() }
    }

    /// Waits for changes. `None` once the source has ended and everything was read.
    pub async fn next(&mut self) -> Option<Changes> {
        loop {
            let ended = self.0.waiting.lock().ended;
            let changes = self.take();
            if !changes.objects.is_empty() || changes.problems.is_some() {
                return Some(changes);
            }
            if ended {
                return None;
            }
            self.0.changed.notified().await;
        }
    }
}

impl Drop for ObjectStream {
    fn drop(&mut self) {
        self.0.reader_gone.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Namespace;

    fn put(name: &str, label: &str) -> Change {
        let labels = [("l".to_owned(), label.to_owned())].into();
        Change::Put(Object::Namespace(Arc::new(Namespace { name: name.into(), labels })))
    }

    fn changes(objects: impl IntoIterator<Item = Change>) -> Changes {
        Changes { objects: objects.into_iter().collect(), problems: None }
    }

    #[tokio::test]
    async fn changes_of_one_object_that_were_not_read_become_one() {
        let (feed, mut stream) = stream(changes([put("a", "1")]));
        feed.send(changes([put("b", "1"), put("a", "2")]));
        feed.send(changes([Change::Remove(put("b", "1").key())]));
        assert_eq!(stream.next().await, Some(changes([put("a", "2"), Change::Remove(put("b", "1").key())])));
        assert_eq!(stream.take(), Changes::default());
        drop(feed);
        assert_eq!(stream.next().await, None);
    }

    #[tokio::test]
    async fn what_was_sent_before_the_end_is_still_read() {
        let (feed, mut stream) = stream(Changes::default());
        feed.send(changes([put("a", "1")]));
        drop(feed);
        assert_eq!(stream.next().await, Some(changes([put("a", "1")])));
        assert_eq!(stream.next().await, None);
    }

    #[tokio::test]
    async fn a_source_learns_that_nobody_reads() {
        let (feed, stream) = stream(Changes::default());
        drop(stream);
        feed.closed().await;
        feed.closed().await;
    }
}
