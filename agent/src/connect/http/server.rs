//! HTTP as it is served to a client, within bounds: heads, streams and resets, and silence.

use std::{
    convert::Infallible,
    error::Error,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    client::{CONNECTION_WINDOW, HttpVersion, STREAM_WINDOW},
    guard::{GuardHandle, GuardLimits, Refused, RequestGuard},
};
use crate::{config::HttpLimits, shares::TurnExecutor};

/// Streams that a client may open and reset before they were served, at once: "rapid reset" ends the connection.
const MAX_RESETS: usize = 50;
/// Bytes of one answer that wait for a client of HTTP/2: four frames.
const SEND_BUFFER: usize = 64 * 1024;
/// How often a client that owes nothing is asked whether it is alive, and how long it may take to say so.
const ALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// How long a client of HTTP/1 that asks nothing keeps its connection when the agent is to end. It learns of that by the next
/// answer: to close before would lose a request that is on its way already.
const LAST_REQUEST: Duration = Duration::from_secs(5);

/// How a connection ended.
#[derive(Debug)]
pub struct Served {
    /// As hyper saw it.
    pub result: Result<(), hyper::Error>,
    /// Why the client's HTTP/1 was refused before hyper read it, where it was.
    pub refused: Option<Refused>,
}

/// Serves requests of one connection until it ends. When the agent is to end, the client is told to use no more of it.
pub async fn serve<T, F, B>(
    stream: T,
    version: HttpVersion,
    limits: HttpLimits,
    draining: watch::Receiver<bool>,
    answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
) -> Served
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin + Send + 'static,
{
    match version {
        HttpVersion::Http1 => {
            let max_head = usize::try_from(limits.max_header_bytes).unwrap_or(usize::MAX);
            let HttpLimits { request_header_timeout: head, request_body_timeout: body, idle_timeout: idle, .. } =
                limits;
            let (stream, guard) = RequestGuard::new(stream, GuardLimits { max_head, head, body, idle });
            let result = serve_http1(stream, max_head, guard.clone(), draining, answer).await;
            Served { result, refused: guard.refused() }
        }
        HttpVersion::Http2 => Served { result: serve_http2(stream, limits, draining, answer).await, refused: None },
    }
}

async fn serve_http1<T, F, B>(
    stream: T,
    max_head: usize,
    guard: GuardHandle,
    draining: watch::Receiver<bool>,
    answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
) -> Result<(), hyper::Error>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin + Send + 'static,
{
    let ending = draining.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (in_flight, guard, ending) = (guard.request(), guard.clone(), ending.clone());
        let is_connect = request.method() == Method::CONNECT;
        let may_switch = is_connect || request.headers().contains_key(header::UPGRADE);
        let answer = answer(request);
        async move {
            let mut response = answer.await;
            let switches = match is_connect {
                true => response.status().is_success(),
                false => response.status() == StatusCode::SWITCHING_PROTOCOLS,
            };
            match (may_switch, switches) {
                (true, true) => guard.accept_switch(),
                (true, false) => guard.decline_switch(),
                (false, _) => {}
            }
            if *ending.borrow() && !switches {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response.map(|body| Held { body, _in_flight: in_flight }))
        }
    });
    let mut builder = http1::Builder::new();
    // Heads are the server's as it wrote them. hyper's own bound has to be beyond the guard's.
    builder.auto_date_header(false).half_close(true).max_buf_size(max_head.max(8 * 1024) + 8 * 1024);
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = drained(draining) => {}
    }
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = sleep(LAST_REQUEST) => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

async fn serve_http2<T, F, B>(
    stream: T,
    limits: HttpLimits,
    draining: watch::Receiver<bool>,
    answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
) -> Result<(), hyper::Error>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin + Send + 'static,
{
    let (under_way, mut watched) = watch::channel(0_usize);
    let service = service_fn(move |request| {
        let (in_flight, answer) = (UnderWay::begin(&under_way), answer(request));
        async move { Ok::<_, Infallible>(answer.await.map(|body| Held { body, _in_flight: in_flight })) }
    });
    let mut builder = http2::Builder::new(TurnExecutor);
    builder
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(limits.max_header_bytes)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_RESETS)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(ALIVE.0)
        .keep_alive_timeout(ALIVE.1);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = drained(draining) => connection.as_mut().graceful_shutdown(),
        () = idle(&mut watched, limits.idle_timeout) => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

/// Until no request has been under way for so long.
async fn idle(under_way: &mut watch::Receiver<usize>, limit: Duration) {
    // An error: the connection is gone, and whoever waits with it.
    while under_way.wait_for(|count| *count == 0).await.is_ok() {
        if timeout(limit, under_way.wait_for(|count| *count > 0)).await.is_err() {
            return;
        }
    }
    std::future::pending::<()>().await;
}

/// A request of a connection, to the end of its answer's body.
struct UnderWay(watch::Sender<usize>);

impl UnderWay {
    fn begin(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// Until the agent is to end; for ever where nobody could say so any more.
async fn drained(mut draining: watch::Receiver<bool>) {
    if draining.wait_for(|draining| *draining).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// An answer's body, for as long as which the connection is not idle.
struct Held<B, T> {
    body: B,
    _in_flight: T,
}

impl<B: Body + Unpin, T: Unpin> Body for Held<B, T> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    };

    use bytes::Bytes;
    use futures_util::{StreamExt, stream};
    use http_body_util::StreamBody;
    use tokio::io::duplex;

    use super::*;

    #[tokio::test]
    async fn a_client_of_http2_that_does_not_read_has_little_waiting() {
        const PIECE: usize = 16 * 1024;
        let ((near, far), (begin, begun)) = (duplex(PIECE), watch::channel(false));
        let (taken, (_drain, draining)) = (Arc::<AtomicUsize>::default(), watch::channel(false));
        let count = Arc::clone(&taken);
        let answer = move |_| {
            let (mut begun, count) = (begun.clone(), Arc::clone(&count));
            let pieces = stream::repeat_with(move || {
                count.fetch_add(PIECE, Relaxed);
                Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[0; PIECE])))
            });
            let first = stream::once(async move { begun.wait_for(|begun| *begun).await.is_ok() });
            let body = StreamBody::new(first.flat_map(move |_| pieces.clone()).boxed());
            std::future::ready(Response::new(body))
        };
        tokio::spawn(serve(far, HttpVersion::Http2, HttpLimits::default(), draining, answer));
        let mut windows = h2::client::Builder::new();
        windows.initial_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
        let (mut requests, mut connection) = windows.handshake::<_, Bytes>(near).await.unwrap();
        let asked = Request::get("http://web.shop/").body(()).unwrap();
        let answered = requests.send_request(asked, true).unwrap().0;
        let _answer = tokio::select! {
            ended = &mut connection => panic!("{ended:?}"),
            answer = answered => answer.unwrap(),
        };
        // The windows are open, and nobody looks at the pipe any more.
        begin.send_replace(true);
        let mut before = 0;
        while taken.load(Relaxed) == 0 || taken.load(Relaxed) != before {
            before = taken.load(Relaxed);
            sleep(Duration::from_millis(50)).await;
        }
        // What waits, what is in the pipe and on the way to it.
        assert!((SEND_BUFFER..=SEND_BUFFER + 4 * PIECE).contains(&before), "{before} bytes");
        drop(connection);
    }
}
