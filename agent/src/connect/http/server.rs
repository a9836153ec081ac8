//! HTTP as it is served to a client, within bounds: heads, streams and resets.

use std::{convert::Infallible, future::Future, time::Duration};

use http::{Request, Response};
use http_body::Body;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};

use super::client::{CONNECTION_WINDOW, HttpVersion, STREAM_WINDOW};
use super::limits::HttpLimits;

/// Header lines of a request.
const MAX_HEADERS: usize = 128;
/// Streams that a client may open and reset before they were served, at once: "rapid reset" ends the connection.
const MAX_RESETS: usize = 50;
/// How often a client that owes nothing is asked whether it is alive, and how long it may take to say so.
const ALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// Serves requests of one connection until it ends. When the agent is to end, the client is told to use no more of it.
pub async fn serve<T, F, B>(
    stream: T,
    version: HttpVersion,
    limits: HttpLimits,
    mut draining: watch::Receiver<bool>,
    answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
) -> Result<(), hyper::Error>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let service = service_fn(move |request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let drained = async move { draining.wait_for(|draining| *draining).await.is_ok() };
    tokio::pin!(drained);
    let head = usize::try_from(limits.max_header_bytes).unwrap_or(usize::MAX);
    match version {
        HttpVersion::Http1 => {
            let mut builder = http1::Builder::new();
            // hyper takes nothing below 8 KiB for its buffer.
            // Heads are the server's as it wrote them.
            builder.auto_date_header(false);
            builder.half_close(true).max_buf_size(head.max(8 * 1024)).max_header_size(head).max_headers(MAX_HEADERS);
            let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
            tokio::pin!(connection);
            tokio::select! {
                ended = connection.as_mut() => return ended,
                true = &mut drained => connection.as_mut().graceful_shutdown(),
            }
            connection.await
        }
        HttpVersion::Http2 => {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .auto_date_header(false)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_concurrent_streams(limits.max_streams)
                .max_header_list_size(limits.max_header_bytes)
                .max_pending_accept_reset_streams(MAX_RESETS)
                .max_local_error_reset_streams(MAX_RESETS)
                .keep_alive_interval(ALIVE.0)
                .keep_alive_timeout(ALIVE.1);
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            tokio::pin!(connection);
            tokio::select! {
                ended = connection.as_mut() => return ended,
                true = &mut drained => connection.as_mut().graceful_shutdown(),
            }
            connection.await
        }
    }
}
