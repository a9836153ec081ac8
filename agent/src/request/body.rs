//! The body of an answer on its way to the client, and what happens at its end.
//!
//! The end of a request is the end of its answer's body, however it comes: read to its end, broken off by the server, given
//! up by the client. Whatever waits for that end (the record, the endpoint's lease, the connection) is in one [`Ending`].

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::observe::ByteCounts;

/// Why an answer broke off in its body.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The server's side.
    #[error("the server broke its answer off: {0}")]
    Server(Arc<hyper::Error>),
    /// It was still going when the request's time was up.
    #[error("the answer took longer than the request may")]
    Late,
}

/// How the body of an answer ended.
#[derive(Debug)]
pub enum BodyEnd {
    /// It was read to its end; with these trailers.
    Whole(Option<HeaderMap>),
    /// It broke off.
    Broken(AnswerError),
    /// The client did not want the rest.
    Abandoned,
}

/// Until when an answer has to have ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limit {
    /// `None` for no limit.
    pub(super) deadline: Option<Instant>,
    /// Of a gRPC call, which is told so in trailers; any other answer breaks off.
    pub(super) is_grpc: bool,
}

/// What is done once an answer has ended.
pub(super) type Ending = Box<dyn FnOnce(BodyEnd) + Send>;

/// The body of an answer.
pub struct AnswerBody(Kind);

enum Kind {
    /// The mesh's own words, or nothing.
    Own(Option<Bytes>),
    Streamed(Box<Streamed>),
}

struct Streamed {
    source: Incoming,
    bytes: Arc<ByteCounts>,
    deadline: Option<Pin<Box<Sleep>>>,
    is_grpc: bool,
    ending: Option<Ending>,
}

impl AnswerBody {
    /// A body of the mesh's own; empty is none.
    pub fn own(text: impl Into<Bytes>) -> Self {
        Self(Kind::Own(Some(text.into()).filter(|text| !text.is_empty())))
    }

    /// The same, of one that is made already.
    pub fn whole(text: Full<Bytes>) -> Self {
        Self(Kind::Own(text.into_inner()))
    }

    /// A server's body. It breaks off at the deadline. `ending` is called exactly once.
    pub(super) fn streamed(source: Incoming, bytes: Arc<ByteCounts>, limit: Limit, ending: Ending) -> Self {
        let deadline = limit.deadline.map(|deadline| Box::pin(tokio::time::sleep_until(deadline)));
        Self(Kind::Streamed(Box::new(Streamed {
            source,
            bytes,
            deadline,
            is_grpc: limit.is_grpc,
            ending: Some(ending),
        })))
    }
}

impl Streamed {
    fn end(&mut self, end: BodyEnd) {
        if let Some(ending) = self.ending.take() {
            ending(end);
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        if self.ending.is_none() {
            return Poll::Ready(None);
        }
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(context).is_ready()
        {
            self.end(BodyEnd::Broken(AnswerError::Late));
            return Poll::Ready(Some(match self.is_grpc {
                true => Ok(Frame::trailers(too_late())),
                false => Err(AnswerError::Late),
            }));
        }
        match ready!(Pin::new(&mut self.source).poll_frame(context)) {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.bytes.add_received(data.len() as u64);
                } else if let Some(trailers) = frame.trailers_ref() {
                    self.end(BodyEnd::Whole(Some(trailers.clone())));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                let error = Arc::new(error);
                self.end(BodyEnd::Broken(AnswerError::Server(Arc::clone(&error))));
                Poll::Ready(Some(Err(AnswerError::Server(error))))
            }
            None => {
                self.end(BodyEnd::Whole(None));
                Poll::Ready(None)
            }
        }
    }
}

/// DEADLINE_EXCEEDED, as gRPC writes it.
fn too_late() -> HeaderMap {
    let fields = [("grpc-status", "4"), ("grpc-message", "the call took longer than it may")];
    fields.into_iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        match &mut self.get_mut().0 {
            Kind::Own(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Kind::Streamed(streamed) => streamed.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Own(text) => text.is_none(),
            Kind::Streamed(streamed) => streamed.ending.is_none() || streamed.source.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Own(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Kind::Streamed(streamed) => streamed.source.size_hint(),
        }
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        // A body whose length was known is not asked again after its last byte.
        let end = if self.source.is_end_stream() { BodyEnd::Whole(None) } else { BodyEnd::Abandoned };
        self.end(end);
    }
}
