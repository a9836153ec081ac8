//! A connection whose client has sent all that it will, read in pieces.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use fastrand::Rng;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// What was written to the client.
pub(super) type Written = Arc<Mutex<Vec<u8>>>;

/// The bytes that are still to be read.
pub(super) struct Pieces {
    rest: Bytes,
    splits: Option<Splits>,
    written: Written,
    /// Until when the client keeps the connection after its last byte.
    open: Option<(Duration, Option<Pin<Box<Sleep>>>)>,
}

/// How reads are split.
#[derive(Clone, Debug)]
pub(super) struct Splits {
    rng: Rng,
    longest: usize,
}

impl Splits {
    /// The more bytes, the longer the pieces: a read of one byte costs as much as a long one.
    pub(super) fn new(rng: &mut Rng, length: usize) -> Self {
        let longest = rng.choice([1, 3, 40, 500, 5000]).unwrap_or(1).max(length / 500);
        Self { rng: rng.fork(), longest }
    }

    /// A length between one byte and the longest piece.
    pub(super) fn length(&mut self) -> usize {
        self.rng.usize(1..=self.longest)
    }
}

impl Pieces {
    /// Reads are as long as who reads wants them where `splits` is none.
    pub(super) fn new(bytes: &[u8], splits: Option<Splits>) -> Self {
        Self { rest: Bytes::copy_from_slice(bytes), splits, written: Written::default(), open: None }
    }

    /// The client goes this long after its last byte was read.
    pub(super) fn held_open(self, time: Duration) -> Self {
        Self { open: Some((time, None)), ..self }
    }

    pub(super) fn written(&self) -> Written {
        Arc::clone(&self.written)
    }
}

impl AsyncRead for Pieces {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut length = out.remaining().min(self.rest.len());
        if let Some(splits) = &mut self.splits {
            if splits.rng.u8(..4) == 0 {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            length = length.min(splits.length());
        }
        if self.rest.is_empty()
            && let Some((time, timer)) = &mut self.open
        {
            ready!(timer.get_or_insert_with(|| Box::pin(sleep(*time))).as_mut().poll(context));
        }
        out.put_slice(&self.rest.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.written.lock().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
