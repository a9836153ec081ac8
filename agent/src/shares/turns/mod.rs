//! Whose turn it is on a data thread.
//!
//! The runtime takes tasks in the order in which they were woken: a pod with a hundred connections that have something to do has a
//! hundred turns while another has one. So tasks of pods are polled through [`spawn_for`]. The time that their polls take is the pod's,
//! in a debt that fades within some milliseconds. A pod that has clearly more debt than another that was active lately is
//! put off: its tasks wait in a queue of the pod's own, until there is nothing else to do. Then the pod with the least debt
//! may go on for a [slice](thread::SLICE), and the runtime looks for events before the next one. So a pod that uses little finds a thread
//! at work for another for one slice at most, nobody is kept waiting by an idle thread, and those who want all
//! that there is share it by their weights.
//!
//! A thread that one pod has to itself looks at no clock: what the thread uses is the pod's.
//!
//! A poll is not interrupted. Those that move many bytes end by themselves after so many ([`moved`], [`poll_pace`]).
//!
//! On other threads than data threads nobody is put off.

#[cfg(test)]
mod tests;
mod thread;

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use pin_project_lite::pin_project;
use tokio::task::{JoinHandle, yield_now};

use self::thread::{Begun, Seat, Thread};
use super::Account;

/// Bytes that a poll may move: as much as is encrypted in a slice, about.
const BYTES: usize = 256 * 1024;
/// The same where no other pod waits: the runtime's own tasks do, and who comes.
const BYTES_ALONE: usize = 1024 * 1024;

thread_local! {
    /// Bytes that the poll under way may still move.
    static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Starts a task of a pod on this data thread, or of no pod where none is named.
pub fn spawn_for<F>(account: &Arc<Account>, future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(Turns { future: Some(future), account: Arc::clone(account), seat: None })
}

/// Starts a task of the pod whose task this is called in.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    match Thread::with(Thread::current).flatten() {
        Some(account) => spawn_for(&account, future),
        None => tokio::spawn(future),
    }
}

/// Starts tasks of hyper as [`spawn`] does.
#[derive(Clone, Copy, Debug, Default)]
pub struct TurnExecutor;

impl<F> hyper::rt::Executor<F> for TurnExecutor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        spawn(future);
    }
}

/// Has pods take turns on this thread from now on, for ever.
pub async fn take_turns() {
    Thread::with(Thread::begin);
    let mut next = Vec::new();
    loop {
        poll_fn(|context| Thread::with(|thread| thread.poll_anyone(context)).unwrap_or(Poll::Pending)).await;
        // The runtime comes back when it has nothing else to do and has looked for events.
        yield_now().await;
        Thread::with(|thread| thread.let_go_on(&mut next));
        next.drain(..).for_each(Waker::wake);
    }
}

/// The poll under way has moved bytes.
pub fn moved(bytes: usize) {
    LEFT.set(LEFT.get().saturating_sub(bytes));
}

/// Whether the poll under way may move more; if not, its task is woken again at once.
pub fn poll_pace(context: &mut Context<'_>) -> Poll<()> {
    if LEFT.get() > 0 {
        return Poll::Ready(());
    }
    context.waker().wake_by_ref();
    Poll::Pending
}

pin_project! {
    /// A future that waits for its pod's turns.
    struct Turns<F> {
        #[pin]
        future: Option<F>,
        account: Arc<Account>,
        // Before the first poll it is not known which thread that will be on.
        seat: Option<Seat>,
    }

    impl<F> PinnedDrop for Turns<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            this.future.set(None);
            if let Some(seat) = this.seat.take() {
                seat.leave();
            }
        }
    }
}

impl<F: Future> Future for Turns<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let seat = this.seat.get_or_insert_with(|| Seat::of(this.account));
        let Some(begun) = seat.begin(context.waker()) else { return Poll::Pending };
        let _turn = Turn::new(seat, begun);
        let polled = match this.future.as_mut().as_pin_mut() {
            Some(future) => future.poll(context),
            // Nobody polls a future that is done.
            None => Poll::Pending,
        };
        if polled.is_ready() {
            // What the end takes, closing sockets first of all, is the pod's, too.
            this.future.set(None);
        }
        polled
    }
}

/// A poll under way. It ends also where the poll panics.
struct Turn<'a> {
    seat: &'a Seat,
    begun: Begun,
}

impl<'a> Turn<'a> {
    fn new(seat: &'a Seat, begun: Begun) -> Self {
        LEFT.set(if begun.is_alone() { BYTES_ALONE } else { BYTES });
        Self { seat, begun }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        LEFT.set(usize::MAX);
        self.seat.end(self.begun);
    }
}
