//! One HTTP connection to an endpoint or application, over whatever way was opened.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};
use hyper_util::rt::{TokioIo, TokioTimer};

use super::replay::RequestBody;
use crate::{
    connect::VisibleWire,
    shares::{self, TurnExecutor},
};

/// The versions of HTTP that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS of its own, by prior knowledge.
    Http2,
}

/// What a peer may send in one stream before it was read, as in tunnels.
pub(super) const STREAM_WINDOW: u32 = 1024 * 1024;
/// Of a whole connection: eight streams that nobody reads do not stop the others.
pub(super) const CONNECTION_WINDOW: u32 = 8 * STREAM_WINDOW;
/// A response's head.
const MAX_HEAD: u32 = 64 * 1024;
/// Bytes of one stream that wait for the wire.
const SEND_BUFFER: usize = 256 * 1024;
/// How often a peer that owes answers is asked whether it is alive, and how long it may take to say so.
const ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(20));

/// A connection on which one request is under way at a time.
#[derive(Debug)]
pub(super) struct Http1Client {
    send: http1::SendRequest<RequestBody>,
    /// Requests that it has served.
    pub(super) served: u32,
    /// When its last request ended.
    pub(super) idle_since: Instant,
}

/// A connection on which several requests are under way. A copy is the same connection.
#[derive(Clone, Debug)]
pub(super) struct Http2Client {
    send: http2::SendRequest<RequestBody>,
    streams: Arc<AtomicUsize>,
    served: Arc<AtomicUsize>,
    /// Streams that the server takes at a time, as it said last.
    room: Arc<AtomicUsize>,
}

/// Why there is no answer to a request.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The connection had ended before anything of the request was sent; here it is again.
    #[error("the connection ended before the request was sent: {1}")]
    NotSent(Box<Request<RequestBody>>, hyper::Error),
    /// The server has promised that it did not look at it (RFC 9113, section 8.7).
    #[error("the server refused the request unseen: {0}")]
    Refused(hyper::Error),
    /// The connection broke, or what came back was no HTTP.
    #[error("no answer: {0}")]
    Broken(hyper::Error),
}

impl Http1Client {
    /// Starts HTTP/1.1.
    pub(super) async fn open(wire: VisibleWire) -> Result<Self, hyper::Error> {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_HEAD as usize * 2).max_headers(256);
        let (send, connection) = builder.handshake(TokioIo::new(wire)).await?;
        shares::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "an HTTP/1.1 connection to a server ended");
            }
        });
        Ok(Self { send, served: 0, idle_since: Instant::now() })
    }

    /// Sends a request, and waits for the head of its answer.
    pub(super) async fn send(&mut self, request: Request<RequestBody>) -> Result<Response<Incoming>, SendError> {
        if let Err(error) = self.send.ready().await {
            return Err(SendError::NotSent(Box::new(request), error));
        }
        self.served += 1;
        self.send.try_send_request(request).await.map_err(|error| sent(error, SendError::Broken))
    }

    /// Whether another request can be sent.
    pub(super) fn is_open(&self) -> bool {
        !self.send.is_closed()
    }
}

impl Http2Client {
    /// Starts HTTP/2.
    pub(super) async fn open(wire: VisibleWire) -> Result<Self, hyper::Error> {
        let (send, connection) = http2::Builder::new(TurnExecutor)
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEAD)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(ALIVE.0)
            .keep_alive_timeout(ALIVE.1)
            .handshake(TokioIo::new(wire))
            .await?;
        let room = Arc::new(AtomicUsize::new(connection.current_max_send_streams()));
        let said = Arc::clone(&room);
        shares::spawn(async move {
            let mut connection = connection;
            let moved = poll_fn(|context| {
                let polled = Pin::new(&mut connection).poll(context);
                said.store(connection.current_max_send_streams(), Relaxed);
                polled
            });
            if let Err(error) = moved.await {
                tracing::debug!(%error, "an HTTP/2 connection to a server ended");
            }
        });
        Ok(Self { send, streams: Arc::default(), served: Arc::default(), room })
    }

    /// Sends a request, and waits for the head of its answer. The stream counts until its place is dropped.
    pub(super) async fn send(&self, request: Request<RequestBody>) -> Result<Response<Incoming>, SendError> {
        let mut send = self.send.clone();
        if let Err(error) = send.ready().await {
            return Err(SendError::NotSent(Box::new(request), error));
        }
        self.served.fetch_add(1, Relaxed);
        send.try_send_request(request).await.map_err(|error| sent(error, unseen))
    }

    /// Counts a stream, before it is opened.
    pub(super) fn place(&self) -> StreamPlace {
        self.streams.fetch_add(1, Relaxed);
        StreamPlace(Arc::clone(&self.streams))
    }

    /// Streams that are open.
    pub(super) fn streams(&self) -> usize {
        self.streams.load(Relaxed)
    }

    /// Requests that it has served.
    pub(super) fn served(&self) -> usize {
        self.served.load(Relaxed)
    }

    /// Streams that the server takes at a time.
    pub(super) fn room(&self) -> usize {
        self.room.load(Relaxed)
    }

    /// Whether another request can be sent.
    pub(super) fn is_open(&self) -> bool {
        !self.send.is_closed()
    }
}

/// A stream that is open, or about to be.
#[derive(Debug)]
pub(super) struct StreamPlace(Arc<AtomicUsize>);

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

fn sent(mut error: TrySendError<Request<RequestBody>>, otherwise: impl Fn(hyper::Error) -> SendError) -> SendError {
    match error.take_message() {
        Some(request) => SendError::NotSent(Box::new(request), error.into_error()),
        None => otherwise(error.into_error()),
    }
}

fn unseen(error: hyper::Error) -> SendError {
    let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<h2::Error>());
    let is_refused = source.is_some_and(|source| {
        source.is_remote() && (source.is_go_away() || source.reason() == Some(h2::Reason::REFUSED_STREAM))
    });
    match is_refused {
        true => SendError::Refused(error),
        false => SendError::Broken(error),
    }
}
