//! Bytes of a pod that the agent has and nobody takes: those to be sent to another node or outside, and those that came for the
//! pod or its peer and are not read. Each direction may have half of what the pod may have.
//!
//! Where too much waits to be sent, buffers do not grow any more: each connection may have one small piece under way, so those
//! whose readers read go on. Where too much is unread, the pod's tunnels are not read: their peers may send what they were promised,
//! and have to keep it. That holds up all that is in these tunnels, all of which is the pod's. What is bounded so: half of the pod's
//! bytes and a piece for each connection, and half of them and one read for each tunnel.

use std::{
    sync::{
        Arc,
        atomic::{
            AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use super::Account;

/// What a connection may have under way while too much waits: a buffer's first size.
const PIECE: usize = 4 * 1024;

/// Which way bytes go, seen from the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Read from one socket, and not taken by the socket or tunnel that they go to.
    Sent,
    /// Came by a tunnel, and not taken by the application that they go to.
    Received,
}

/// The bytes of one pod.
#[derive(Debug)]
pub(super) struct Buffers {
    counts: [Count; 2],
    /// Who goes on reading when less is unread.
    stopped: Mutex<Vec<Waker>>,
}

#[derive(Debug, Default)]
struct Count {
    bytes: AtomicUsize,
    most: AtomicUsize,
    full: AtomicU64,
}

impl Buffers {
    pub(super) fn new(most: [u64; 2]) -> Self {
        let buffers = Self { counts: Default::default(), stopped: Mutex::default() };
        buffers.set_most(most);
        buffers
    }

    /// In the order of [`Direction`].
    pub(super) fn set_most(&self, most: [u64; 2]) {
        for (count, most) in self.counts.iter().zip(most) {
            count.most.store(usize::try_from(most).unwrap_or(usize::MAX), SeqCst);
        }
        self.go_on();
    }

    pub(super) fn waiting(&self, direction: Direction) -> usize {
        self.count(direction).bytes.load(Relaxed)
    }

    pub(super) fn most(&self, direction: Direction) -> usize {
        self.count(direction).most.load(Relaxed)
    }

    pub(super) fn times_full(&self, direction: Direction) -> u64 {
        self.count(direction).full.load(Relaxed)
    }

    fn add(&self, direction: Direction, bytes: usize) {
        self.count(direction).bytes.fetch_add(bytes, SeqCst);
    }

    fn take(&self, direction: Direction, bytes: usize) {
        let count = self.count(direction);
        let (before, most) = (count.bytes.fetch_sub(bytes, SeqCst), count.most.load(SeqCst));
        if direction == Direction::Received && before >= most && before - bytes < most {
            self.go_on();
        }
    }

    fn is_full(&self, direction: Direction) -> bool {
        let count = self.count(direction);
        count.bytes.load(SeqCst) >= count.most.load(SeqCst)
    }

    fn found_full(&self, direction: Direction) {
        self.count(direction).full.fetch_add(1, Relaxed);
    }

    /// Enters who is to be woken, once: a tunnel is polled for other reasons, too.
    fn stop(&self, waker: &Waker) {
        let mut stopped = self.stopped.lock();
        if !stopped.iter().any(|other| other.will_wake(waker)) {
            stopped.push(waker.clone());
        }
    }

    fn go_on(&self) {
        // Woken without the lock: who goes on may come back at once.
        let stopped = std::mem::take(&mut *self.stopped.lock());
        stopped.into_iter().for_each(Waker::wake);
    }

    fn count(&self, direction: Direction) -> &Count {
        &self.counts[direction as usize]
    }
}

impl Account {
    /// Whether the pod's tunnels may be read; who may not is woken when they may.
    pub(crate) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        let buffers = self.buffers();
        if !buffers.is_full(Direction::Received) {
            return Poll::Ready(());
        }
        buffers.found_full(Direction::Received);
        buffers.stop(context.waker());
        // Somebody may have read before the waker was there.
        if buffers.is_full(Direction::Received) { Poll::Pending } else { Poll::Ready(()) }
    }

    /// How much of this a socket may be read for that has nothing under way.
    pub(crate) fn piece(&self, wanted: usize) -> usize {
        let buffers = self.buffers();
        if !buffers.is_full(Direction::Sent) {
            return wanted;
        }
        buffers.found_full(Direction::Sent);
        wanted.min(PIECE)
    }
}

/// Bytes that are entered until this is dropped.
#[derive(Debug)]
pub struct Reserved {
    account: Arc<Account>,
    direction: Direction,
    bytes: usize,
}

impl Reserved {
    /// None yet.
    pub fn none(account: &Arc<Account>, direction: Direction) -> Self {
        Self { account: Arc::clone(account), direction, bytes: 0 }
    }

    /// Whether the pod has room for so many here that nobody needs: half is for what has to be sent.
    pub fn fits(&self, bytes: usize) -> bool {
        let buffers = self.account.buffers();
        buffers.waiting(self.direction).saturating_sub(self.bytes) + bytes <= buffers.most(self.direction) / 2
    }

    /// So many now.
    pub fn set(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        if bytes > before {
            self.account.buffers().add(self.direction, bytes - before);
        } else if bytes < before {
            self.account.buffers().take(self.direction, before - bytes);
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// What one stream of a tunnel has to send.
#[derive(Debug)]
pub struct Sending {
    account: Arc<Account>,
    own: AtomicUsize,
    sent: AtomicWaker,
}

impl Sending {
    /// Of a pod's stream.
    pub fn of(account: &Arc<Account>) -> Arc<Self> {
        Arc::new(Self { account: Arc::clone(account), own: AtomicUsize::new(0), sent: AtomicWaker::new() })
    }

    /// The pod's account.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// How much of this may be taken on now. Where too much waits, nothing until all of the stream's own has left.
    pub fn poll_piece(&self, wanted: usize, context: &mut Context<'_>) -> Poll<usize> {
        let piece = self.account.piece(wanted);
        if piece == wanted || self.own.load(SeqCst) == 0 {
            return Poll::Ready(piece);
        }
        self.sent.register(context.waker());
        if self.own.load(SeqCst) == 0 { Poll::Ready(piece) } else { Poll::Pending }
    }

    /// Enters a piece until it has left.
    pub fn chunk(self: &Arc<Self>, data: Bytes) -> Chunk {
        self.own.fetch_add(data.len(), SeqCst);
        self.account.buffers().add(Direction::Sent, data.len());
        Chunk { entered: data.len(), data, of: Some(Arc::clone(self)) }
    }
}

/// A piece of what a stream has to send.
#[derive(Debug)]
pub struct Chunk {
    data: Bytes,
    entered: usize,
    of: Option<Arc<Sending>>,
}

impl Chunk {
    /// The end of a stream has no bytes.
    pub fn end() -> Self {
        Self { data: Bytes::new(), entered: 0, of: None }
    }
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.data.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.data.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.data.advance(count);
    }

    fn copy_to_bytes(&mut self, length: usize) -> Bytes {
        self.data.copy_to_bytes(length)
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let Some(sending) = &self.of else { return };
        sending.account.buffers().take(Direction::Sent, self.entered);
        if sending.own.fetch_sub(self.entered, SeqCst) == self.entered {
            sending.sent.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::task::noop_waker;

    use super::*;
    use crate::shares::{Overload, Share};

    /// Room for one mebibyte each way.
    fn account() -> Arc<Account> {
        let share = Share { weight: 100, connections: 1, handshakes: 1, buffer_bytes: 2 << 20 };
        Account::new(share, &Overload::new(1))
    }

    const HALF: usize = 1 << 20;

    #[test]
    fn a_stream_that_is_read_goes_on_in_pieces_while_others_keep_the_buffers_full() {
        let (account, waker) = (account(), noop_waker());
        let context = &mut Context::from_waker(&waker);
        let (stalled, lively) = (Sending::of(&account), Sending::of(&account));
        assert_eq!(stalled.poll_piece(HALF, context), Poll::Ready(HALF));
        let unsent = stalled.chunk(Bytes::from(vec![0; HALF]));
        assert_eq!(stalled.poll_piece(HALF, context), Poll::Pending, "its own has to leave first");
        assert_eq!(lively.poll_piece(HALF, context), Poll::Ready(PIECE));
        let piece = lively.chunk(Bytes::from(vec![0; PIECE]));
        assert_eq!(lively.poll_piece(HALF, context), Poll::Pending);
        drop(piece);
        assert_eq!(lively.poll_piece(HALF, context), Poll::Ready(PIECE));
        drop(unsent);
        assert_eq!(lively.poll_piece(HALF, context), Poll::Ready(HALF));
        assert_eq!((account.waiting_bytes(Direction::Sent), account.full_buffers(Direction::Sent)), (0, 4));
    }

    #[test]
    fn a_chunk_is_entered_whole_until_it_is_dropped_however_much_of_it_was_taken() {
        let account = account();
        let mut chunk = Sending::of(&account).chunk(Bytes::from_static(b"abcdef"));
        chunk.advance(4);
        assert_eq!((chunk.chunk(), account.waiting_bytes(Direction::Sent)), (&b"ef"[..], 6));
        drop(chunk);
        assert_eq!(account.waiting_bytes(Direction::Sent), 0);
    }

    #[tokio::test]
    async fn tunnels_are_read_again_once_less_is_unread() {
        let account = account();
        let mut unread = Reserved::none(&account, Direction::Received);
        unread.set(HALF);
        let reading = {
            let account = Arc::clone(&account);
            tokio::spawn(async move { std::future::poll_fn(|context| account.poll_readable(context)).await })
        };
        tokio::task::yield_now().await;
        assert!(!reading.is_finished());
        unread.set(HALF - 1);
        reading.await.unwrap_or_else(|error| panic!("{error}"));
        drop(unread);
        assert_eq!(account.waiting_bytes(Direction::Received), 0);
    }

    #[test]
    fn a_tunnel_that_is_polled_while_it_is_not_read_waits_once() {
        let (account, waker) = (account(), noop_waker());
        let mut unread = Reserved::none(&account, Direction::Received);
        unread.set(HALF);
        for _ in 0..3 {
            assert!(account.poll_readable(&mut Context::from_waker(&waker)).is_pending());
        }
        assert_eq!(account.buffers().stopped.lock().len(), 1);
    }

    #[test]
    fn what_waits_to_be_sent_keeps_nothing_from_being_read() {
        let (account, waker) = (account(), noop_waker());
        let mut unsent = Reserved::none(&account, Direction::Sent);
        unsent.set(4 * HALF);
        // Or else the word that some of it was taken would never be heard.
        assert_eq!(account.poll_readable(&mut Context::from_waker(&waker)), Poll::Ready(()));
    }
}
