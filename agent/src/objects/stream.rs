//! The stream of object sets that every source produces and the mesh compiler consumes.

use std::sync::Arc;

use tokio::sync::watch;

use super::ObjectSet;

/// Always holds the newest set. A slow reader skips sets that were replaced meanwhile; it never queues them.
#[derive(Clone, Debug)]
pub struct ObjectStream(watch::Receiver<Arc<ObjectSet>>);

impl ObjectStream {
    /// A stream and the end that feeds it, which starts with `first`.
    pub fn new(first: ObjectSet) -> (watch::Sender<Arc<ObjectSet>>, Self) {
        let (sender, receiver) = watch::channel(Arc::new(first));
        (sender, Self(receiver))
    }

    /// The newest set.
    pub fn current(&mut self) -> Arc<ObjectSet> {
        Arc::clone(&self.0.borrow_and_update())
    }

    /// Waits for a set that [`current`](Self::current) has not returned yet. `None` once the source has ended.
    pub async fn next(&mut self) -> Option<Arc<ObjectSet>> {
        self.0.changed().await.ok()?;
        Some(self.current())
    }
}
