//! The body of a request on its way to a backend, kept so far that another backend can get it too.
//!
//! In: the body as the client sends it. Out: one body for each try. What a try has read is kept up to a bound, for the
//! next one to start with; a body that is longer, or for which the pod has no room left, is streamed and no longer kept, and
//! then only the try that has it can have it. Nothing is read ahead of the try: the backend sets the pace. Where the backend
//! waits, a client that is silent for too long ends its request.

use std::{
    collections::VecDeque,
    error::Error,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::time::{Sleep, sleep};

use super::guard::Refused;
use crate::{
    observe::ByteCounts,
    route::retry::BodyState,
    shares::{Account, Direction, Reserved},
};

/// A request's body.
#[derive(Debug)]
pub struct Replay {
    shared: Arc<Mutex<Shared>>,
    bytes: Arc<ByteCounts>,
}

/// Bounds of a body.
#[derive(Clone, Copy, Debug)]
pub struct ReplayLimits {
    /// Bytes that are kept for other tries, where the pod has room for them.
    pub keep: usize,
    /// How long the client may be silent before it is answered, where more of the body is wanted.
    pub silence: Option<Duration>,
}

/// A frame, and whether it is read for the first time.
type Next = (Frame<Bytes>, bool);

#[derive(Debug)]
struct Shared {
    source: Incoming,
    kept: VecDeque<Bytes>,
    length: usize,
    /// What is kept, in the account of the pod that it is kept for.
    reserved: Reserved,
    limits: ReplayLimits,
    /// Runs while the client is silent.
    silence: Option<Pin<Box<Sleep>>>,
    trailers: Option<HeaderMap>,
    state: BodyState,
    ended: bool,
    broken: Option<BrokenBody>,
    /// Which try may read. One that was given up may still be held by its connection.
    turn: u32,
}

/// How a client failed to send its body whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenBody {
    /// It broke off, or sent what cannot be read.
    #[error("the client's body broke off, or is not framed as its head says")]
    Unreadable,
    /// It was silent for longer than `http.requestBodyTimeout`.
    #[error("the client sent nothing more of its body for too long")]
    Silent,
}

/// Why a try gets no more of the body.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client broke off.
    #[error("the client's request broke off: {0}")]
    Client(#[from] hyper::Error),
    /// The client sends nothing more.
    #[error("{}", BrokenBody::Silent)]
    Silent,
    /// Another try has taken over.
    #[error("the try was given up")]
    GivenUp,
}

impl Replay {
    /// What is read is added to `bytes`, what is kept to the account of the pod that the request is served for.
    pub fn new(source: Incoming, limits: ReplayLimits, bytes: Arc<ByteCounts>, account: &Arc<Account>) -> Self {
        let ended = source.is_end_stream();
        let shared = Shared {
            source,
            kept: VecDeque::new(),
            length: 0,
            reserved: Reserved::none(account, Direction::Sent),
            limits,
            silence: None,
            trailers: None,
            state: BodyState::Untouched,
            ended,
            broken: None,
            turn: 0,
        };
        Self { shared: Arc::new(Mutex::new(shared)), bytes }
    }

    /// The body from its beginning, for the next try. The one before gets no more.
    pub fn next_try(&self) -> RequestBody {
        let mut shared = self.shared.lock();
        shared.turn += 1;
        let size = match shared.state {
            // Once some of it was read, what is left to come says too little.
            BodyState::Untouched => shared.source.size_hint(),
            BodyState::Kept | BodyState::TooLong => SizeHint::default(),
        };
        let empty = shared.ended && shared.state == BodyState::Untouched;
        RequestBody {
            shared: Some(Arc::clone(&self.shared)).filter(|_| !empty),
            whole: None,
            bytes: Arc::clone(&self.bytes),
            // A body that is not kept cannot be had again: no turn is the first.
            turn: if shared.state == BodyState::TooLong { 0 } else { shared.turn },
            place: Place::default(),
            size,
        }
    }

    /// Whether another try could have the body.
    pub fn state(&self) -> BodyState {
        self.shared.lock().state
    }

    /// What the client did wrong, if anything.
    pub fn broken(&self) -> Option<BrokenBody> {
        self.shared.lock().broken
    }

    /// The answer has begun: what the client still has to say may depend on it, and take any time.
    pub fn answered(&self) {
        let mut shared = self.shared.lock();
        (shared.limits.silence, shared.silence) = (None, None);
    }

    /// Whether it was read to its end. Only then may its connection be used again.
    pub fn has_ended(&self) -> bool {
        let shared = self.shared.lock();
        shared.ended && shared.broken.is_none()
    }

    /// All of it, where it has ended and was kept.
    pub fn whole(&self) -> Option<Bytes> {
        let shared = self.shared.lock();
        (shared.ended && shared.state != BodyState::TooLong).then(|| shared.kept.iter().flatten().copied().collect())
    }
}

impl BrokenBody {
    /// Over HTTP/1 it is the guard that finds the client silent.
    fn of(error: &hyper::Error) -> Self {
        let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        match io.and_then(io::Error::get_ref).and_then(|refused| refused.downcast_ref()) {
            Some(Refused::BodyTimeout) => Self::Silent,
            _ => Self::Unreadable,
        }
    }
}

/// The body of one try.
#[derive(Debug)]
pub struct RequestBody {
    shared: Option<Arc<Mutex<Shared>>>,
    /// All of it, where it is no client's.
    whole: Option<Bytes>,
    bytes: Arc<ByteCounts>,
    turn: u32,
    place: Place,
    size: SizeHint,
}

/// How far a try has come.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Which of the kept pieces comes next.
    piece: usize,
    /// Whether it has the trailers.
    trailers: bool,
}

impl RequestBody {
    /// Of a copy.
    pub fn copy(body: Bytes) -> Self {
        let size = SizeHint::with_exact(body.len() as u64);
        let whole = Some(body).filter(|body| !body.is_empty());
        Self { shared: None, whole, bytes: Arc::default(), turn: 0, place: Place::default(), size }
    }
}

impl Shared {
    /// The next frame, and whether it is read for the first time.
    fn poll(&mut self, place: &mut Place, context: &mut Context<'_>) -> Poll<Option<Result<Next, BodyError>>> {
        if let Some(piece) = self.kept.get(place.piece) {
            place.piece += 1;
            return Poll::Ready(Some(Ok((Frame::data(piece.clone()), false))));
        }
        if self.ended {
            let trailers = self.trailers.clone().filter(|_| !place.trailers);
            place.trailers = true;
            return Poll::Ready(trailers.map(|trailers| Ok((Frame::trailers(trailers), false))));
        }
        let Poll::Ready(polled) = Pin::new(&mut self.source).poll_frame(context) else {
            ready!(self.poll_silence(context));
            self.end_broken(BrokenBody::Silent);
            return Poll::Ready(Some(Err(BodyError::Silent)));
        };
        self.silence = None;
        Poll::Ready(match polled {
            Some(Ok(frame)) => {
                self.keep(&frame, place);
                Some(Ok((frame, true)))
            }
            Some(Err(error)) => {
                self.end_broken(BrokenBody::of(&error));
                Some(Err(error.into()))
            }
            None => {
                self.ended = true;
                None
            }
        })
    }

    /// Ready when the client was silent for too long.
    fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(limit) = self.limits.silence else { return Poll::Pending };
        let silence = self.silence.get_or_insert_with(|| Box::pin(sleep(limit)));
        silence.as_mut().poll(context)
    }

    fn end_broken(&mut self, broken: BrokenBody) {
        (self.ended, self.broken, self.state) = (true, Some(broken), BodyState::TooLong);
    }

    fn keep(&mut self, frame: &Frame<Bytes>, place: &mut Place) {
        if let Some(trailers) = frame.trailers_ref() {
            (self.trailers, place.trailers, self.ended) = (Some(trailers.clone()), true, true);
            return;
        }
        let Some(data) = frame.data_ref() else { return };
        self.ended = self.source.is_end_stream();
        self.length += data.len();
        let is_too_long = self.length > self.limits.keep || !self.reserved.fits(self.length);
        if self.state == BodyState::TooLong || is_too_long {
            (self.state, self.kept, place.piece) = (BodyState::TooLong, VecDeque::new(), 0);
            self.reserved.set(0);
        } else {
            self.state = BodyState::Kept;
            self.reserved.set(self.length);
            self.kept.push_back(data.clone());
            place.piece = self.kept.len();
        }
    }

    /// Whether a try that has come so far has everything.
    fn is_over(&self, place: Place) -> bool {
        self.ended && place.piece >= self.kept.len() && (place.trailers || self.trailers.is_none())
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let Some(shared) = &this.shared else {
            return Poll::Ready(this.whole.take().map(|body| Ok(Frame::data(body))));
        };
        let mut shared = shared.lock();
        if shared.turn != this.turn {
            return Poll::Ready(Some(Err(BodyError::GivenUp)));
        }
        let polled = ready!(shared.poll(&mut this.place, context));
        Poll::Ready(polled.map(|result| {
            result.map(|(frame, is_new)| {
                if let Some(data) = frame.data_ref().filter(|_| is_new) {
                    this.bytes.add_sent(data.len() as u64);
                }
                frame
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        let Some(shared) = &self.shared else { return self.whole.is_none() };
        let shared = shared.lock();
        shared.turn == self.turn && shared.is_over(self.place)
    }

    fn size_hint(&self) -> SizeHint {
        self.size
    }
}
