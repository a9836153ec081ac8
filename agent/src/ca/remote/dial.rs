//! Opening a connection to a remote authority: name, TCP, TLS 1.3, HTTP/2.
//!
//! The name is looked up for every connection, so a Service that moved is found. A connection that nobody has used for
//! [`IDLE`] is closed; whether the other end of an open one is still there is the kernel's to watch, since servers of gRPC
//! take frequent pings for an attack.

use std::{
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use hyper::{
    body::Incoming,
    client::conn::http2::{Builder, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use rustls::{ClientConfig, client::Resumption, pki_types::ServerName, version::TLS13};
use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, sleep_until, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::body::Body;
use tower_service::Service;

use super::{
    error::{RemoteError, tls_problem},
    files::Roots,
};
use crate::{
    capture::watch_liveness,
    config::{CaAddress, RemoteCaConfig},
    identify::TlsSettings,
    outside::in_full,
};

/// Opens connections.
pub(super) struct Dialer {
    address: CaAddress,
    server_name: String,
    tls: TlsSettings,
}

/// An open connection. Clones are the same one.
#[derive(Clone)]
pub(super) struct Link {
    requests: SendRequest<Body>,
    usage: Arc<Usage>,
}

/// Who uses a connection, to know when nobody does.
struct Usage {
    requests: AtomicUsize,
    last: Mutex<Instant>,
}

impl Dialer {
    pub(super) fn new(config: &RemoteCaConfig, tls: &TlsSettings) -> Self {
        Self { address: config.address.clone(), server_name: config.server_name.clone(), tls: tls.clone() }
    }

    pub(super) fn address(&self) -> &CaAddress {
        &self.address
    }

    /// Within [`OPEN_TIMEOUT`].
    pub(super) async fn open(&self, roots: &Roots) -> Result<Link, RemoteError> {
        let late = || RemoteError::Timeout { what: "connection", address: self.text(), within: OPEN_TIMEOUT };
        let steps = async {
            let stream = self.connect().await?;
            let stream = self.shake_hands(stream, roots).await?;
            self.speak_http(stream).await
        };
        timeout(OPEN_TIMEOUT, steps).await.unwrap_or_else(|_| Err(late()))
    }

    async fn connect(&self) -> Result<TcpStream, RemoteError> {
        let host = &self.address.host;
        let unknown = |source: io::Error| RemoteError::Resolve { host: host.clone(), source: Arc::new(source) };
        let found: Vec<SocketAddr> = lookup_host((host.as_str(), self.address.port)).await.map_err(unknown)?.collect();
        let mut failure = unknown(io::Error::new(io::ErrorKind::NotFound, "it has no address"));
        for address in found.into_iter().take(MOST_ADDRESSES) {
            match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(source)) => {
                    failure = RemoteError::Connect { address: self.at(address), source: Arc::new(source) };
                }
                Err(_) => {
                    let address = self.at(address);
                    failure = RemoteError::Timeout { what: "connection", address, within: CONNECT_TIMEOUT };
                }
            }
        }
        Err(failure)
    }

    async fn shake_hands(&self, stream: TcpStream, roots: &Roots) -> Result<TlsStream<TcpStream>, RemoteError> {
        let failed = |problem: String| RemoteError::Tls { address: self.text(), problem };
        // A small message must not wait for an acknowledgement.
        stream.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
        watch_liveness(&stream, KEEPALIVE, DEAD_AFTER).map_err(|error| failed(error.to_string()))?;
        let name = ServerName::try_from(self.server_name.clone()).map_err(|error| failed(error.to_string()))?;
        let config = self.client_config(roots).map_err(|error| failed(error.to_string()))?;
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
        connecting.await.map_err(|error| failed(tls_problem(&error, &self.server_name)))
    }

    /// No certificate of ours: the token says who we are, and there may be no certificate yet.
    fn client_config(&self, roots: &Roots) -> Result<ClientConfig, rustls::Error> {
        let clock = Arc::new(self.tls.clock().clone());
        let mut config = ClientConfig::builder_with_details(self.tls.provider().clone(), clock)
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots.store.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    async fn speak_http(&self, stream: TlsStream<TcpStream>) -> Result<Link, RemoteError> {
        let handshake = Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await;
        let (requests, connection) =
            handshake.map_err(|error| RemoteError::Broken { address: self.text(), problem: in_full(&error) })?;
        let usage = Arc::new(Usage { requests: AtomicUsize::new(0), last: Mutex::new(Instant::now()) });
        let (watched, address) = (usage.clone(), self.text());
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            loop {
                let unused_since = watched.unused_since();
                tokio::select! {
                    ended = &mut connection => {
                        return tracing::debug!(%address, error = ?ended.err(), "the connection to the authority ended");
                    }
                    () = sleep_until(unused_since + IDLE) => if watched.unused_since() == unused_since {
                        return tracing::debug!(%address, "closing the connection to the authority: nobody uses it");
                    },
                }
            }
        });
        Ok(Link { requests, usage })
    }

    fn text(&self) -> String {
        self.address.to_string()
    }

    /// The address that a name stood for.
    fn at(&self, address: SocketAddr) -> String {
        format!("{} ({})", self.address, address.ip())
    }
}

impl Link {
    /// Whether it takes requests.
    pub(super) fn is_open(&self) -> bool {
        !self.requests.is_closed()
    }

    /// Whether both are one connection.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.usage, &other.usage)
    }
}

impl Service<http::Request<Body>> for Link {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.requests.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (used, answer) = (InUse::of(&self.usage), self.requests.send_request(request));
        Box::pin(async move {
            let answer = answer.await;
            drop(used);
            answer
        })
    }
}

impl Usage {
    /// Now, while somebody uses it.
    fn unused_since(&self) -> Instant {
        if self.requests.load(Ordering::Relaxed) > 0 { Instant::now() } else { *self.last.lock() }
    }
}

/// A request on its way.
struct InUse(Arc<Usage>);

impl InUse {
    fn of(usage: &Arc<Usage>) -> Self {
        usage.requests.fetch_add(1, Ordering::Relaxed);
        Self(usage.clone())
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        *self.0.last.lock() = Instant::now();
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Name, TCP, TLS and HTTP/2 together; with [`super::CALL_TIMEOUT`] twice, well below what a request may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(8);
/// To one address, so that a name with a dead one and a live one is of use.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Of one name; more would not be reached in time.
const MOST_ADDRESSES: usize = 8;
/// Longer than the certificates of a node that starts take to be issued, shorter than load balancers keep a silent
/// connection.
const IDLE: Duration = Duration::from_secs(60);
/// After this long without a byte the kernel asks the authority's machine whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// One that does not acknowledge for this long is dead.
const DEAD_AFTER: Duration = Duration::from_secs(20);
