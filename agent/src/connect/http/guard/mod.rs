//! What passes to hyper's HTTP/1 server: only requests that every reader frames alike.
//!
//! hyper lets Transfer-Encoding win over Content-Length, takes equal Content-Lengths twice, and codings before `chunked`. A
//! proxy must not: what it frames in one way and the application in another is a smuggled request. So the guard stands
//! between the connection and hyper, holds a head until it is whole, judges it, and follows the body as it passes, unbuffered.
//!
//! A head that is refused is replaced by one whose method is no token, which hyper answers with 400 and a close (431 for one
//! that is too long: a head of more headers than hyper takes). In a body it is too late for that: reading it fails, with
//! [`Refused`] as the source. Left to hyper: targets of more than 65,534 bytes (414) where `max_head` allows them, what a
//! target means, and `Expect`. hyper's `max_headers` must stay as it is, 100.

mod body;
mod handle;
mod head;
mod refused;
pub(super) mod smuggled;
#[cfg(test)]
mod tests;

use std::{
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use body::Body;
use handle::Switch;

pub use handle::{GuardHandle, InFlight};
pub use refused::Refused;

/// No token has `@` in it: hyper answers with 400 and closes.
const ANSWERED_400: &[u8] = b"@ / HTTP/1.1\r\n\r\n";

/// Old clients send one after a body; who sends many keeps the connection from being idle.
const MOST_EMPTY_LINES: u8 = 4;

/// Read at once while a head is not whole.
const PIECE: usize = 4096;

/// The bounds of a guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardLimits {
    /// Bytes of a head.
    pub max_head: usize,
    /// From a head's first byte to its last.
    pub head: Duration,
    /// Without a request.
    pub idle: Duration,
    /// Without a byte of a body that is wanted.
    pub body: Duration,
}

impl Default for GuardLimits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { max_head: 60 << 10, head: seconds(10), idle: seconds(90), body: seconds(60) }
    }
}

/// A client's connection of which hyper reads nothing but well framed requests.
#[derive(Debug)]
pub struct RequestGuard<S> {
    io: S,
    limits: GuardLimits,
    handle: GuardHandle,
    phase: Phase,
    /// Read, and not given to hyper.
    held: BytesMut,
    /// This much of `held` may be given to hyper.
    judged: usize,
    /// This much of `held` was searched for the end of a head.
    searched: usize,
    /// Before the next head.
    empty_lines: u8,
    /// After the body of this request, the service decides whether HTTP goes on.
    may_switch: bool,
    /// When the client's silence, counted while hyper wants to read, is too long.
    timer: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
enum Phase {
    Head,
    Body(Body),
    Switching,
    Switched,
    Ended,
}

impl<S> RequestGuard<S> {
    /// Guards a connection from its first byte on; and the handle for the service that answers its requests.
    pub fn new(io: S, limits: GuardLimits) -> (Self, GuardHandle) {
        let handle = GuardHandle::new();
        let guard = Self {
            io,
            limits,
            handle: handle.clone(),
            phase: Phase::Head,
            held: BytesMut::new(),
            judged: 0,
            searched: 0,
            empty_lines: 0,
            may_switch: false,
            timer: None,
        };
        (guard, handle)
    }

    /// Bytes that were read and not given to hyper.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    fn give(&mut self, out: &mut ReadBuf<'_>) {
        let given = self.judged.min(out.remaining());
        out.put_slice(&self.held[..given]);
        self.held.advance(given);
        self.judged -= given;
    }

    /// Judges what is held; whether there is a head to give to hyper.
    fn judge_head(&mut self) -> Result<bool, Refused> {
        // RFC 9112, 2.2: empty lines before a request are ignored. They are no part of it.
        while self.searched < 2 && self.held.starts_with(b"\r\n") {
            self.held.advance(2);
            (self.searched, self.empty_lines) = (0, self.empty_lines + 1);
            if self.empty_lines > MOST_EMPTY_LINES {
                return Err(Refused::RequestLine);
            }
        }
        // No further than a head may be long: what comes after it must not decide why it is refused.
        let within = self.held.len().min(self.limits.max_head);
        let Some(end) = head::end_of_head(&self.held[..within], self.searched)? else {
            self.searched = within;
            return if self.held.len() > within { Err(Refused::HeadTooLong) } else { Ok(false) };
        };
        let judged = head::judge(&self.held[..end])?;
        self.may_switch = judged.may_switch;
        if self.may_switch {
            self.handle.expect_switch();
        }
        (self.judged, self.searched, self.empty_lines, self.timer) = (end, 0, 0, None);
        self.enter_body(Body::new(judged.body));
        Ok(true)
    }

    fn enter_body(&mut self, body: Body) {
        self.phase = match (body.is_end(), self.may_switch) {
            (false, _) => Phase::Body(body),
            (true, true) => Phase::Switching,
            (true, false) => Phase::Head,
        };
    }

    /// Lets pass what belongs to the body; how much that is.
    fn pass_body(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Phase::Body(body) = &mut self.phase else { return Ok(0) };
        let (passed, is_end) = match body.pass(bytes) {
            Ok(passed) => (passed, body.is_end()),
            Err(refused) => return Err(self.refuse_body(refused, io::ErrorKind::InvalidData)),
        };
        if is_end {
            self.phase = if self.may_switch { Phase::Switching } else { Phase::Head };
        }
        Ok(passed)
    }

    fn refuse_head(&mut self, refused: Refused) {
        self.handle.refuse(refused);
        self.held.clear();
        match refused {
            Refused::HeadTooLong => self.held.extend_from_slice(&answered_431()),
            _ => self.held.extend_from_slice(ANSWERED_400),
        }
        (self.judged, self.phase, self.timer) = (self.held.len(), Phase::Ended, None);
    }

    fn refuse_body(&mut self, refused: Refused, kind: io::ErrorKind) -> io::Error {
        self.handle.refuse(refused);
        self.held.clear();
        (self.judged, self.phase, self.timer) = (0, Phase::Ended, None);
        io::Error::new(kind, refused)
    }

    /// Counts the client's silence; ready when it was too long.
    fn poll_silence(&mut self, context: &mut Context<'_>, limit: Duration) -> Poll<()> {
        self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit))).as_mut().poll(context)
    }

    /// Ready when no request came for too long; requests that are being answered are no silence.
    fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.poll_silence(context, self.limits.idle));
            let now = Instant::now();
            let end = self.handle.idle_since().unwrap_or(now) + self.limits.idle;
            if end <= now {
                return Poll::Ready(());
            }
            self.timer = Some(Box::pin(tokio::time::sleep_until(end)));
        }
    }
}

impl<S: AsyncRead + Unpin> RequestGuard<S> {
    /// Reads on in a head; ready when hyper can be given something, or the connection has ended.
    fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.judge_head() {
                Ok(true) => return Poll::Ready(Ok(())),
                Ok(false) => {}
                Err(refused) => {
                    self.refuse_head(refused);
                    return Poll::Ready(Ok(()));
                }
            }
            let was_idle = self.held.is_empty();
            let mut piece = [0; PIECE];
            let mut buffer = ReadBuf::new(&mut piece);
            match Pin::new(&mut self.io).poll_read(context, &mut buffer)? {
                Poll::Ready(()) if buffer.filled().is_empty() => {
                    // A head that ends early is none: hyper sees the end of the connection.
                    self.held.clear();
                    self.phase = Phase::Ended;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(()) => {
                    self.held.extend_from_slice(buffer.filled());
                    if was_idle {
                        self.timer = None;
                    }
                }
                Poll::Pending if was_idle => {
                    ready!(self.poll_idle(context));
                    self.phase = Phase::Ended;
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending => {
                    ready!(self.poll_silence(context, self.limits.head));
                    self.refuse_head(Refused::HeadTimeout);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    /// Reads a body's bytes to where hyper wants them; what follows the body is kept.
    fn poll_body(&mut self, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        if Pin::new(&mut self.io).poll_read(context, out)?.is_pending() {
            ready!(self.poll_silence(context, self.limits.body));
            return Poll::Ready(Err(self.refuse_body(Refused::BodyTimeout, io::ErrorKind::TimedOut)));
        }
        self.timer = None;
        match self.pass_body(&out.filled()[before..]) {
            Ok(passed) => {
                self.held.extend_from_slice(&out.filled()[before + passed..]);
                out.set_filled(before + passed);
                Poll::Ready(Ok(()))
            }
            Err(error) => {
                out.set_filled(before);
                Poll::Ready(Err(error))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for RequestGuard<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.judged > 0 || out.remaining() == 0 {
                this.give(out);
                return Poll::Ready(Ok(()));
            }
            match this.phase {
                Phase::Head => ready!(this.poll_head(context))?,
                Phase::Body(_) if this.held.is_empty() => return this.poll_body(context, out),
                Phase::Body(_) => {
                    let held = std::mem::take(&mut this.held);
                    let passed = this.pass_body(&held)?;
                    (this.held, this.judged) = (held, passed);
                }
                Phase::Switching => match this.handle.switch(context.waker()) {
                    Switch::Undecided => return Poll::Pending,
                    Switch::Accepted => this.phase = Phase::Switched,
                    Switch::Declined => this.phase = Phase::Head,
                },
                Phase::Switched if this.held.is_empty() => return Pin::new(&mut this.io).poll_read(context, out),
                Phase::Switched => this.judged = this.held.len(),
                Phase::Ended => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for RequestGuard<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// More headers than hyper takes, which it answers with 431 and a close.
fn answered_431() -> Vec<u8> {
    let mut head = b"GET / HTTP/1.1\r\n".to_vec();
    head.extend(b"a:\r\n".repeat(101));
    head.extend(b"\r\n");
    head
}
