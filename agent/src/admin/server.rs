//! Serving HTTP/1.1 on one listener within bounds: so many connections, so long for a request's head, so long in all.
//!
//! A slow or silent client costs one of a fixed number of places for a fixed time, and never the agent.

use std::{
    fmt, io,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::lasting::Lasting;
use crate::observe::GaugeGuard;

/// The bounds of one listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Connections at once; more wait in the listen queue.
    pub(super) connections: usize,
    /// For the head of a request, from the connection's start or from the last answer.
    pub(super) head: Duration,
    /// For a connection in all: then the running answer may end, and the client connects anew. One with an answer that has no
    /// end lives on while the client reads.
    pub(super) lifetime: Duration,
}

/// 64 clients per listener is far beyond a few scrapers and probes; a probe's own timeout is 1 s by default, a scrape's 10 s.
pub(super) const BOUNDS: Bounds =
    Bounds { connections: 64, head: Duration::from_secs(5), lifetime: Duration::from_secs(120) };

/// What a running answer gets when the connection must end, by its lifetime or because the agent stops.
const LAST_ANSWER: Duration = Duration::from_secs(2);

/// For a request that was sent when the connection must end, and not read yet.
const ON_THE_WAY: Duration = Duration::from_millis(100);

/// After a failed accept (descriptors used up): long enough not to spin, short enough to be ready again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bytes of a request's head, and of what is read ahead.
const READ_BUFFER: usize = 16 * 1024;

/// A listener of either kind.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

/// Counts a client until what it gives is dropped.
pub(super) type Connected = Box<dyn Fn() -> GaugeGuard + Send + Sync>;

/// Serves `routes` until `stop` is true or gone, then lets running answers end.
pub(super) async fn run(
    listener: Listener,
    routes: Router,
    bounds: Bounds,
    connected: Connected,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(bounds.connections));
    let mut connections = JoinSet::new();
    loop {
        let (stream, place) = tokio::select! {
            _ = stopped(&mut stop) => break,
            Some(_) = connections.join_next() => continue,
            next = next_connection(&listener, &places) => match next {
                Ok(next) => next,
                Err(error) => {
                    tracing::warn!("accepting on an admin, metrics or health listener failed: {error}; trying again");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let (routes, stop, counted) = (routes.clone(), stop.clone(), connected());
        connections.spawn(async move {
            serve(stream, routes, bounds, stop).await;
            drop((place, counted));
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn next_connection(
    listener: &Listener,
    places: &Arc<Semaphore>,
) -> io::Result<(Box<dyn Stream>, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let stream: Box<dyn Stream> = match listener {
        Listener::Tcp(listener) => Box::new(listener.accept().await?.0),
        Listener::Unix(listener) => Box::new(listener.accept().await?.0),
    };
    Ok((stream, place))
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

async fn serve(stream: Box<dyn Stream>, routes: Router, bounds: Bounds, mut stop: watch::Receiver<bool>) {
    let lasting = Lasting::default();
    let (routes, of_requests) = (TowerToHyperService::new(routes), lasting.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(of_requests.clone());
        routes.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_buf_size(READ_BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    loop {
        tokio::select! {
            ended = &mut connection => return log_end(ended),
            _ = stopped(&mut stop) => break,
            () = sleep(bounds.lifetime) => if !lasting.was_read_within(bounds.lifetime) { break },
        }
    }
    // hyper closes a connection at once from which it has read nothing yet.
    if let Ok(ended) = timeout(ON_THE_WAY, connection.as_mut()).await {
        return log_end(ended);
    }
    connection.as_mut().graceful_shutdown();
    if let Ok(ended) = timeout(LAST_ANSWER, connection).await {
        log_end(ended);
    }
}

/// What a client did wrong is its own affair: visible when looked for.
fn log_end(ended: Result<(), impl fmt::Display>) {
    if let Err(error) = ended {
        tracing::debug!("a connection to an admin, metrics or health listener ended with: {error}");
    }
}

/// Until the signal is given, or nobody is left who could give it.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}
