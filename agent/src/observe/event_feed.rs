//! Lines that are passed on to those who listen just now, each over a queue of its own: one who is slow loses lines, is told
//! how many, and holds up nobody.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use futures_util::Stream;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

/// Who can listen at a time.
pub const MOST_LISTENERS: usize = 8;

/// Lines that wait for one who listens, at most: about 400 KiB of the kernel's events.
pub const QUEUE: usize = 1024;

/// The feed. Cloning is cheap, and clones are the same feed.
#[derive(Clone, Debug)]
pub struct EventFeed(Arc<Feed>);

#[derive(Debug)]
struct Feed {
    queues: Mutex<Vec<Queue>>,
    count: watch::Sender<usize>,
    /// Lines that were lost to slow listeners, in all.
    missed: AtomicU64,
}

#[derive(Debug)]
struct Queue {
    lines: mpsc::Sender<Arc<str>>,
    missed: Arc<AtomicU64>,
}

/// One who listens, while it lives.
#[derive(Debug)]
pub struct Listener {
    lines: mpsc::Receiver<Arc<str>>,
    missed: Arc<AtomicU64>,
    feed: EventFeed,
}

/// What one who listens hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A line.
    Line(Arc<str>),
    /// So many lines were lost since this was said last, because those before were not taken fast enough.
    Missed(u64),
}

impl Default for EventFeed {
    fn default() -> Self {
        let (count, _) = watch::channel(0);
        Self(Arc::new(Feed { queues: Mutex::default(), count, missed: AtomicU64::new(0) }))
    }
}

impl EventFeed {
    /// Listens from now on; `None` if [`MOST_LISTENERS`] do already.
    pub fn listen(&self) -> Option<Listener> {
        let mut queues = self.0.queues.lock();
        if queues.len() >= MOST_LISTENERS {
            return None;
        }
        let (lines, queue) = mpsc::channel(QUEUE);
        let missed = Arc::<AtomicU64>::default();
        queues.push(Queue { lines, missed: Arc::clone(&missed) });
        self.0.count.send_replace(queues.len());
        Some(Listener { lines: queue, missed, feed: self.clone() })
    }

    /// How many listen, as it changes.
    pub fn listeners(&self) -> watch::Receiver<usize> {
        self.0.count.subscribe()
    }

    /// Passes a line on to all who listen.
    pub fn tell(&self, line: &Arc<str>) {
        for queue in self.0.queues.lock().iter() {
            if queue.lines.try_send(Arc::clone(line)).is_err() {
                queue.missed.fetch_add(1, Relaxed);
                self.0.missed.fetch_add(1, Relaxed);
            }
        }
    }

    /// Lines that were lost to slow listeners since it was asked last.
    pub fn take_missed(&self) -> u64 {
        self.0.missed.swap(0, Relaxed)
    }

    /// Ends what everybody listens to, after what is in their queues.
    pub fn close(&self) {
        self.0.queues.lock().clear();
        self.0.count.send_replace(0);
    }

    fn forget(&self, missed: &Arc<AtomicU64>) {
        let mut queues = self.0.queues.lock();
        queues.retain(|queue| !Arc::ptr_eq(&queue.missed, missed));
        self.0.count.send_replace(queues.len());
    }
}

impl Stream for Listener {
    type Item = Heard;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Heard>> {
        let missed = self.missed.swap(0, Relaxed);
        if missed > 0 {
            return Poll::Ready(Some(Heard::Missed(missed)));
        }
        self.lines.poll_recv(context).map(|line| line.map(Heard::Line))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.feed.forget(&self.missed);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use futures_util::StreamExt;

    use super::*;

    fn line(number: usize) -> Arc<str> {
        number.to_string().into()
    }

    #[tokio::test]
    async fn who_is_slow_loses_lines_is_told_how_many_and_holds_up_nobody() {
        let feed = EventFeed::default();
        let (mut quick, mut slow) = (feed.listen().unwrap(), feed.listen().unwrap());
        for number in 0..QUEUE + 5 {
            feed.tell(&line(number));
            assert_eq!(quick.next().await, Some(Heard::Line(line(number))));
        }
        assert_eq!(feed.take_missed(), 5);
        assert_eq!(slow.next().await, Some(Heard::Missed(5)));
        for number in 0..QUEUE {
            assert_eq!(slow.next().await, Some(Heard::Line(line(number))));
        }
        feed.tell(&line(7));
        assert_eq!(slow.next().await, Some(Heard::Line(line(7))));
    }

    #[tokio::test]
    async fn those_who_listen_are_counted_and_bounded() {
        let feed = EventFeed::default();
        let count = feed.listeners();
        let mut all: Vec<_> = (0..MOST_LISTENERS).map(|_| feed.listen().unwrap()).collect();
        assert!(feed.listen().is_none());
        assert_eq!(*count.borrow(), MOST_LISTENERS);
        all.pop();
        assert_eq!(*count.borrow(), MOST_LISTENERS - 1);
        assert!(feed.listen().is_some());
        feed.close();
        assert_eq!(all.pop().unwrap().next().await, None);
        assert_eq!(*count.borrow(), 0);
    }
}
