//! Waiting until a thread that writes what is queued has written all of it.

use std::{
    sync::mpsc::{SyncSender, TrySendError, sync_channel},
    thread,
    time::{Duration, Instant},
};

/// Between two tries to get the question into a full queue.
const PAUSE: Duration = Duration::from_millis(5);

/// Asks the thread at the other end of the queue, by a `message` with which it answers, and waits for the answer, at most `patience`.
/// Whether it came. Blocks.
pub(super) fn flush<M>(queue: &SyncSender<M>, message: impl FnOnce(SyncSender<()>) -> M, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    let (done, written) = sync_channel(1);
    let mut message = message(done);
    while let Err(error) = queue.try_send(message) {
        match error {
            TrySendError::Full(back) if Instant::now() < deadline => message = back,
            TrySendError::Full(_) | TrySendError::Disconnected(_) => return false,
        }
        thread::sleep(PAUSE);
    }
    written.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok()
}
