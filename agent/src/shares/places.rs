//! So many of something at a time; who comes when all places are taken waits.

use std::{
    sync::atomic::{
        AtomicU64, AtomicUsize,
        Ordering::{Relaxed, SeqCst},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

/// Places for one kind of thing, whose number can change.
#[derive(Debug)]
pub(super) struct Places {
    taken: AtomicUsize,
    most: AtomicUsize,
    /// One who waits goes on, and wakes the next where there is room for that one, too.
    freed: Notify,
    waits: AtomicU64,
    waited: AtomicU64,
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        let (taken, most) = (AtomicUsize::new(0), AtomicUsize::new(most));
        Self { taken, most, freed: Notify::new(), waits: AtomicU64::new(0), waited: AtomicU64::new(0) }
    }

    pub(super) fn taken(&self) -> usize {
        self.taken.load(Relaxed)
    }

    /// How often somebody had to wait, and how long in all.
    pub(super) fn waits(&self) -> (u64, Duration) {
        (self.waits.load(Relaxed), Duration::from_micros(self.waited.load(Relaxed)))
    }

    /// From now on so many; those beyond keep theirs.
    pub(super) fn set_most(&self, most: usize) {
        self.most.store(most, SeqCst);
        self.freed.notify_one();
    }

    /// Takes one more, also where there is none: for who has made sure before.
    pub(super) fn take(&self) {
        self.taken.fetch_add(1, SeqCst);
    }

    pub(super) fn give_back(&self) {
        // Somebody waits only where there was no room before.
        if self.taken.fetch_sub(1, SeqCst) <= self.most.load(SeqCst) {
            self.freed.notify_one();
        }
    }

    fn has_room(&self) -> bool {
        self.taken.load(SeqCst) < self.most.load(SeqCst)
    }

    /// Whether more are taken than there may be.
    pub(super) fn is_beyond(&self) -> bool {
        self.taken.load(SeqCst) > self.most.load(SeqCst)
    }

    /// Takes one more, where there is one.
    pub(super) fn try_take(&self) -> bool {
        let one_more = |taken| (taken < self.most.load(SeqCst)).then_some(taken + 1);
        self.taken.fetch_update(SeqCst, SeqCst, one_more).is_ok()
    }

    /// Somebody found no place, and does not wait here.
    pub(super) fn none_was_there(&self) {
        self.waits.fetch_add(1, Relaxed);
    }

    /// Waits until there is room, and takes nothing.
    pub(super) async fn room(&self) {
        self.until(|| self.has_room()).await;
    }

    /// Waits for a place and takes it.
    pub(super) async fn wait(&self) {
        self.until(|| self.try_take()).await;
    }

    async fn until(&self, done: impl Fn() -> bool) {
        if done() {
            return;
        }
        let _waiting = Waiting::new(self);
        loop {
            // What is told between the look and the waiting is kept for who waits next.
            if done() {
                break;
            }
            self.freed.notified().await;
        }
        if self.has_room() {
            self.freed.notify_one();
        }
    }
}

/// Counts the time of who waits, to its end or until it is broken off.
struct Waiting<'a> {
    places: &'a Places,
    began: Instant,
}

impl<'a> Waiting<'a> {
    fn new(places: &'a Places) -> Self {
        places.waits.fetch_add(1, Relaxed);
        Self { places, began: Instant::now() }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let waited = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.places.waited.fetch_add(waited, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::{FutureExt, poll};
    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn who_comes_to_taken_places_waits_for_one_and_is_counted() {
        let places = Places::new(1);
        assert!(places.wait().now_or_never().is_some());
        let (mut first, mut second) = (Box::pin(places.wait()), Box::pin(places.wait()));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        places.give_back();
        first.await;
        assert!(poll!(&mut second).is_pending(), "the one place is taken again");
        assert_eq!((places.taken(), places.waits().0), (1, 2));
        places.give_back();
        second.await;
    }

    #[tokio::test]
    async fn who_only_waits_for_room_leaves_it_to_the_next() {
        let places = Arc::new(Places::new(1));
        places.take();
        let mut looking = Vec::new();
        for _ in 0..3 {
            let places = Arc::clone(&places);
            looking.push(tokio::spawn(async move { places.room().await }));
        }
        yield_now().await;
        places.give_back();
        for looked in looking {
            looked.await.unwrap_or_else(|error| panic!("{error}"));
        }
    }

    #[tokio::test]
    async fn more_places_let_those_in_who_wait_and_fewer_put_nobody_out() {
        let places = Places::new(2);
        places.take();
        places.take();
        places.set_most(1);
        places.give_back();
        let mut waiting = Box::pin(places.wait());
        assert!(poll!(&mut waiting).is_pending(), "one of one is taken");
        places.set_most(2);
        waiting.await;
        assert_eq!(places.taken(), 2);
    }

    #[tokio::test]
    async fn a_place_that_is_given_back_past_one_who_gave_up_is_not_lost() {
        let places = Places::new(1);
        places.take();
        let (mut first, mut second) = (Box::pin(places.wait()), Box::pin(places.wait()));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        places.give_back();
        // It was told, and gives up before it hears.
        drop(first);
        second.await;
    }
}
