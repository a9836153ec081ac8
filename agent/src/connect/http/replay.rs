//! The body of a request on its way to a backend, kept so far that another backend can get it too.
//!
//! In: the body as the client sends it. Out: one body for each try. What a try has read is kept up to a bound, for the
//! next one to start with; a body that is longer is streamed and no longer kept, and then only the try that has it can
//! have it. Nothing is read ahead of the try: the backend sets the pace.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;

use crate::{observe::ByteCounts, route::retry::BodyState};

/// A request's body.
#[derive(Debug)]
pub struct Replay {
    shared: Arc<Mutex<Shared>>,
    bytes: Arc<ByteCounts>,
}

/// A frame, and whether it is read for the first time.
type Next = (Frame<Bytes>, bool);

#[derive(Debug)]
struct Shared {
    source: Incoming,
    kept: VecDeque<Bytes>,
    length: usize,
    limit: usize,
    trailers: Option<HeaderMap>,
    state: BodyState,
    ended: bool,
    broken: bool,
    /// Which try may read. One that was given up may still be held by its connection.
    turn: u32,
}

/// Why a try gets no more of the body.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client broke off.
    #[error("the client's request broke off: {0}")]
    Client(#[from] hyper::Error),
    /// Another try has taken over.
    #[error("the try was given up")]
    GivenUp,
}

impl Replay {
    /// Keeps at most `limit` bytes. What is read is added to `bytes`.
    pub fn new(source: Incoming, limit: usize, bytes: Arc<ByteCounts>) -> Self {
        let ended = source.is_end_stream();
        let shared = Shared {
            source,
            kept: VecDeque::new(),
            length: 0,
            limit,
            trailers: None,
            state: BodyState::Untouched,
            ended,
            broken: false,
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

    /// Whether the client broke off, or sent what cannot be read.
    pub fn is_broken(&self) -> bool {
        self.shared.lock().broken
    }

    /// Whether it was read to its end. Only then may its connection be used again.
    pub fn has_ended(&self) -> bool {
        let shared = self.shared.lock();
        shared.ended && !shared.broken
    }

    /// All of it, where it has ended and was kept.
    pub fn whole(&self) -> Option<Bytes> {
        let shared = self.shared.lock();
        (shared.ended && shared.state != BodyState::TooLong).then(|| shared.kept.iter().flatten().copied().collect())
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
        Poll::Ready(match ready!(Pin::new(&mut self.source).poll_frame(context)) {
            Some(Ok(frame)) => {
                self.keep(&frame, place);
                Some(Ok((frame, true)))
            }
            Some(Err(error)) => {
                (self.ended, self.broken, self.state) = (true, true, BodyState::TooLong);
                Some(Err(error.into()))
            }
            None => {
                self.ended = true;
                None
            }
        })
    }

    fn keep(&mut self, frame: &Frame<Bytes>, place: &mut Place) {
        if let Some(trailers) = frame.trailers_ref() {
            (self.trailers, place.trailers, self.ended) = (Some(trailers.clone()), true, true);
            return;
        }
        let Some(data) = frame.data_ref() else { return };
        self.ended = self.source.is_end_stream();
        self.length += data.len();
        if self.state == BodyState::TooLong || self.length > self.limit {
            (self.state, self.kept, place.piece) = (BodyState::TooLong, VecDeque::new(), 0);
        } else {
            self.state = BodyState::Kept;
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
