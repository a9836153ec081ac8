//! Connections of agents, and of API servers: TLS 1.3 and HTTP, within bounds that no client can move.
//!
//! A slow or silent client costs one of a fixed number of places, for a fixed time, and one address has a part of them only. When the authority ends, clients are
//! told to go elsewhere (GOAWAY), and requests in progress are answered.

use std::{convert::Infallible, future::Future, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::body::Body;
use tracing::{debug, warn};

use super::clients::Clients;
use crate::{
    config::authority::AuthorityLimits,
    observe::{AuthorityMetrics, DropReason},
};

/// What answers the requests of a listener.
pub trait Answering: Send + Sync + 'static {
    /// Whether HTTP/1.1 is spoken beside HTTP/2.
    const HTTP1: bool;

    /// Answers one request.
    fn answer(
        self: Arc<Self>,
        client: SocketAddr,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// Serves until `stop` is true or its sender gone, then lets running requests end, within the drain timeout.
pub async fn serve<A: Answering>(
    listener: TcpListener,
    tls: TlsAcceptor,
    service: Arc<A>,
    limits: AuthorityLimits,
    metrics: AuthorityMetrics,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let clients = Clients::new(limits.connections);
    let shared = Arc::new(Shared { tls, service, limits, metrics, stop: stop.clone() });
    let mut connections = JoinSet::new();
    loop {
        let place = tokio::select! {
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next() => continue,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let (stream, client) = tokio::select! {
            () = stopped(&mut stop) => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!("accepting a connection failed: {error}; trying again");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let Some(of_client) = clients.enter(client.ip()) else {
            shared.metrics.dropped(DropReason::TooManyOfClient);
            continue;
        };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let _places = (place, of_client);
            let _counted = shared.metrics.connection();
            if let Some(reason) = shared.connection(stream, client).await {
                shared.metrics.dropped(reason);
            }
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

struct Shared<A> {
    tls: TlsAcceptor,
    service: Arc<A>,
    limits: AuthorityLimits,
    metrics: AuthorityMetrics,
    stop: watch::Receiver<bool>,
}

impl<A: Answering> Shared<A> {
    /// One connection, from the handshake on; why this side ended it, if it did.
    async fn connection(&self, stream: TcpStream, client: SocketAddr) -> Option<DropReason> {
        // An answer is one small message: it must not wait for an acknowledgement.
        let _ = stream.set_nodelay(true);
        let mut stop = self.stop.clone();
        let shaken = tokio::select! {
            () = stopped(&mut stop) => return Some(DropReason::Drain),
            shaken = timeout(self.limits.handshake_timeout, self.tls.accept(stream)) => shaken,
        };
        match shaken {
            Ok(Ok(stream)) => self.requests(stream, client).await,
            Ok(Err(error)) => {
                debug!(%client, "a TLS handshake failed: {error}");
                Some(DropReason::Handshake)
            }
            Err(_) => Some(DropReason::HandshakeTimeout),
        }
    }

    async fn requests(&self, stream: TlsStream<TcpStream>, client: SocketAddr) -> Option<DropReason> {
        let activity = Arc::new(Activity::begin());
        let service = service_fn(|request| {
            let (service, busy) = (Arc::clone(&self.service), activity.request());
            async move {
                let response = service.answer(client, request).await;
                drop(busy);
                Ok::<_, Infallible>(response)
            }
        });
        let builder = builder(A::HTTP1);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let mut stop = self.stop.clone();
        let reason = tokio::select! {
            ended = &mut connection => return ended.err().map(|error| {
                debug!(%client, "a connection ended with: {error}");
                DropReason::Protocol
            }),
            () = stopped(&mut stop) => DropReason::Drain,
            () = activity.idle(&self.limits) => DropReason::Idle,
        };
        connection.as_mut().graceful_shutdown();
        let patience = if reason == DropReason::Drain { self.limits.drain_timeout } else { GOODBYE };
        match timeout(patience, connection).await {
            // The client has gone as it was told.
            Ok(_) if reason == DropReason::Drain => None,
            Ok(_) | Err(_) => Some(reason),
        }
    }
}

/// Until the signal is given, or nobody is left who could give it.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

fn builder(http1: bool) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).max_buf_size(WINDOW as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADERS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW * 4)
        .max_send_buf_size(WINDOW as usize)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_WITHIN);
    if http1 { builder } else { builder.http2_only() }
}

/// When a connection had a request last.
struct Activity(Mutex<Requests>);

struct Requests {
    open: usize,
    any: bool,
    last: Instant,
}

/// A request that is being answered.
struct Busy(Arc<Activity>);

impl Activity {
    fn begin() -> Self {
        Self(Mutex::new(Requests { open: 0, any: false, last: Instant::now() }))
    }

    fn request(self: &Arc<Self>) -> Busy {
        let mut requests = self.0.lock();
        requests.open += 1;
        requests.any = true;
        Busy(Arc::clone(self))
    }

    /// Returns when there has been no request for too long. The first must come as fast as a handshake.
    async fn idle(&self, limits: &AuthorityLimits) {
        loop {
            let deadline = self.deadline(limits);
            if deadline <= Instant::now() {
                return;
            }
            sleep_until(deadline).await;
        }
    }

    fn deadline(&self, limits: &AuthorityLimits) -> Instant {
        let Requests { open, any, last } = *self.0.lock();
        let allowed = if any { limits.idle_timeout } else { limits.handshake_timeout };
        if open > 0 { Instant::now() + allowed } else { last + allowed }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut requests = self.0.0.lock();
        requests.last = Instant::now();
        requests.open -= 1;
    }
}

/// Of one agent, which asks for sixteen identities at once.
const STREAMS: u32 = 64;

/// A projected token has about 1,200 bytes; one with many bound facts may have a few thousand.
const HEADERS: u32 = 16 * 1024;

/// A message may have 16 KiB.
const WINDOW: u32 = 64 * 1024;

/// As ztunnel's own: a client that is gone without a word is found out within half a minute.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_WITHIN: Duration = Duration::from_secs(10);

/// For an idle client to take notice of the end.
const GOODBYE: Duration = Duration::from_secs(2);

/// After a failed accept (descriptors used up): long enough not to spin, short enough to be ready again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
