//! The client's side of a tunnel: opening it, and opening streams in it.

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use h2::client::{Builder, Connection, SendRequest};
use http::{Method, Request, StatusCode, Uri, Version};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use crate::{
    capture::watch_liveness,
    identify::{self, HandshakeError, Identity, Revoked, TlsFacts, VerifiedPeer},
    mesh::SpiffeId,
    node::Node,
    observe::{Observer, Side, SocketView, TunnelEndReason},
    shares::{self, Account, Bound, Chunk, Place, Sending},
};

use super::{
    CONNECTION_WINDOW, ConnectHeaders, MAX_FRAME, MAX_HEADER_LIST, SEND_BUFFER, STREAM_WINDOW, TunnelStream, breach,
    optimistic,
    peer_watch::{Cut, PeerEvent, PeerWatch},
    pool::StreamPermit,
    wide::WideReads,
    writes::Writes,
};

/// After this long without a byte the kernel asks the peer whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// A peer that does not acknowledge for this long is dead.
const DEAD_AFTER: Duration = Duration::from_secs(20);

/// Why a tunnel or a stream in it could not be opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TunnelError {
    /// No TCP connection.
    #[error("connect to {to}: {source}")]
    Connect {
        /// The tunnel's address.
        to: SocketAddr,
        /// What happened.
        source: Arc<io::Error>,
    },
    /// No TLS session: wrong identity, no trust, or no TLS at all.
    #[error("TLS with {to}: {source}")]
    Tls {
        /// The tunnel's address.
        to: SocketAddr,
        /// What happened.
        source: Arc<HandshakeError>,
    },
    /// No HTTP/2, or the tunnel broke.
    #[error("HTTP/2 with {to}: {source}")]
    Http {
        /// The tunnel's address.
        to: SocketAddr,
        /// What happened.
        source: Arc<h2::Error>,
    },
    /// It was cut while the stream was being opened.
    #[error("the tunnel to {to} was cut: {source}")]
    Revoked {
        /// The tunnel's address.
        to: SocketAddr,
        /// What was revoked.
        source: Revoked,
    },
    /// Nobody answers there.
    #[error("connect to {to}: no answer within {after:?}")]
    Timeout {
        /// The tunnel's address.
        to: SocketAddr,
        /// The bound.
        after: Duration,
    },
    /// The peer's agent refused the stream.
    #[error("the agent of {to} answered {status}: {}", meaning(*status))]
    Refused {
        /// The tunnel's address.
        to: SocketAddr,
        /// Its answer.
        status: StatusCode,
    },
    /// The opening ended without a result: the agent is ending.
    #[error("the tunnel to {to} was abandoned")]
    Abandoned {
        /// The tunnel's address.
        to: SocketAddr,
    },
    /// The request could not be made of its parts.
    #[error("CONNECT request to {to}: {reason}")]
    Request {
        /// The tunnel's address.
        to: SocketAddr,
        /// What is wrong.
        reason: String,
    },
}

/// What the answers of an HBONE server mean.
fn meaning(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "denied by policy",
        StatusCode::BAD_REQUEST => "it does not take this request",
        StatusCode::SERVICE_UNAVAILABLE => "the application refused the connection",
        _ => "unexpected",
    }
}

/// An open tunnel. Its connection task ends when the tunnel is dropped and its last stream has ended.
pub struct Tunnel {
    to: SocketAddr,
    requests: SendRequest<Chunk>,
    streams: Arc<AtomicUsize>,
    closed: Arc<AtomicBool>,
    cut: Cut,
    socket: Arc<SocketView>,
    account: Arc<Account>,
    /// Streams that it was picked for, ever.
    picked: AtomicUsize,
    observer: Observer,
    /// Who answers at the other end.
    pub peer: VerifiedPeer,
    /// What was negotiated.
    pub tls: TlsFacts,
}

impl Tunnel {
    /// TLS and HTTP/2 over a connected socket: as `own`, to whoever proves to be `expected`, for the pod with this account.
    pub async fn open(
        stream: TcpStream,
        to: SocketAddr,
        (own, expected): (&Identity, &SpiffeId),
        account: &Arc<Account>,
        node: &Node,
    ) -> Result<Self, TunnelError> {
        let tls_error = |source: HandshakeError| TunnelError::Tls { to, source: Arc::new(source) };
        watch_liveness(&stream, KEEPALIVE, DEAD_AFTER).map_err(|error| tls_error(error.into()))?;
        let stream = WideReads::new(stream, account);
        let (socket, writes) = (stream.view(), stream.writes());
        let expected = std::slice::from_ref(expected);
        let (tls, peer, facts) =
            identify::connect(own, expected, stream, node.limits.handshake_timeout).await.map_err(tls_error)?;

        let http_error = |source: h2::Error| TunnelError::Http { to, source: Arc::new(source) };
        // The preface leaves with the first frames.
        writes.gather();
        let (requests, connection) = Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(MAX_FRAME)
            .max_header_list_size(MAX_HEADER_LIST)
            .max_send_buffer_size(SEND_BUFFER)
            .enable_push(false)
            .handshake(tls)
            .await
            .map_err(http_error)?;
        let (closed, cut) = (Arc::new(AtomicBool::new(false)), Cut::default());
        let watch = PeerWatch::new(own, &peer, &node.certificates);
        let observer = node.observer.clone();
        let (own_closed, own_cut) = (Arc::clone(&closed), Arc::clone(&cut));
        // Never refused: connections of the pod wait for it, and those have their places.
        let _place = account.take(Bound::OutboundTunnels);
        let task =
            TunnelTask { to, watch, writes, closed: own_closed, cut: own_cut, observer: observer.clone(), _place };
        shares::spawn(task.run(Box::pin(connection)));
        let (streams, account) = (Arc::default(), Arc::clone(account));
        let picked = AtomicUsize::new(0);
        Ok(Self { to, requests, streams, closed, cut, socket, account, picked, observer, peer, tls: facts })
    }

    /// Streams that are open in it.
    pub fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    /// Whether its pod has more tunnels than it may have.
    pub(super) fn is_one_too_many(&self) -> bool {
        self.account.is_beyond(Bound::OutboundTunnels)
    }

    /// Whether nobody uses it any more: not before those for whom it was opened.
    pub(super) fn is_left(&self) -> bool {
        self.picked() > 0 && self.streams() == 0
    }

    /// How often it was picked for a stream.
    pub(super) fn picked(&self) -> usize {
        self.picked.load(Ordering::Relaxed)
    }

    /// Streams that the peer takes at a time.
    pub(super) fn peer_limit(&self) -> usize {
        self.requests.current_max_send_streams()
    }

    /// Whether it takes no more streams.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Counts a stream, before it is opened, so that others see it coming.
    pub(super) fn permit(&self) -> StreamPermit {
        self.picked.fetch_add(1, Ordering::Relaxed);
        StreamPermit::new(&self.streams)
    }

    /// Opens a stream to an authority. `None` when the tunnel turned out to take no more streams, and has not looked at this one: another
    /// tunnel can be tried without doing something twice. The first words of `client` may be sent along.
    pub(super) async fn connect(
        &self,
        permit: StreamPermit,
        authority: &str,
        headers: &ConnectHeaders,
        client: Option<&TcpStream>,
    ) -> Result<Option<TunnelStream>, TunnelError> {
        let http_error = |source: h2::Error| match self.cut.get() {
            Some(revoked) => TunnelError::Revoked { to: self.to, source: revoked.clone() },
            None => TunnelError::Http { to: self.to, source: Arc::new(source) },
        };
        let Ok(mut requests) = self.requests.clone().ready().await else {
            self.closed.store(true, Ordering::Relaxed);
            return Ok(None);
        };
        let request = self.request(authority, headers)?;
        let (response, mut send) = requests.send_request(request, false).map_err(http_error)?;
        let sending = Sending::of(&self.account);
        let (response, sent_ahead) = optimistic::answered(response, (&mut send, &sending), client).await;
        let response = match response {
            Ok(response) => response,
            // The peer is going away and promises that it did not look at this stream (RFC 9113, 8.7).
            Err(error) if error.is_remote() && error.is_go_away() => {
                self.closed.store(true, Ordering::Relaxed);
                return Ok(None);
            }
            Err(error) if error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM) => return Ok(None),
            Err(error) => return Err(http_error(error)),
        };
        match response.status() {
            StatusCode::OK => {
                let open = self.observer.metrics().tunnel_stream_opened();
                let (receive, cut, socket) = (response.into_body(), Arc::clone(&self.cut), Arc::clone(&self.socket));
                let (_permit, _open) = (Some(permit), open);
                Ok(Some(TunnelStream { send, receive, sending, sent_ahead, cut, socket, _permit, _open }))
            }
            status => Err(TunnelError::Refused { to: self.to, status }),
        }
    }

    fn request(&self, authority: &str, headers: &ConnectHeaders) -> Result<Request<()>, TunnelError> {
        let failed = |error: http::Error| TunnelError::Request { to: self.to, reason: error.to_string() };
        let uri = Uri::builder().authority(authority).build().map_err(failed)?;
        let request = Request::builder().method(Method::CONNECT).version(Version::HTTP_2).uri(uri);
        headers.iter().fold(request, |request, (name, value)| request.header(name, value)).body(()).map_err(failed)
    }
}

/// What moves a tunnel's bytes, and ends it when its peer must not be talked to any more.
struct TunnelTask {
    to: SocketAddr,
    watch: PeerWatch,
    writes: Writes,
    closed: Arc<AtomicBool>,
    cut: Cut,
    observer: Observer,
    /// Among the pod's, for as long as something may be in it.
    _place: Place,
}

impl TunnelTask {
    async fn run<T>(mut self, mut connection: Pin<Box<Connection<T, Chunk>>>)
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let metrics = self.observer.metrics();
        let _open = metrics.tunnel_opened(Side::Client);
        let writes = self.writes;
        let mut moving = poll_fn(move |context| {
            let polled = connection.as_mut().poll(context);
            writes.push(context);
            polled
        });
        loop {
            tokio::select! {
                // The watch first: a connection that never waits must not keep it from being asked.
                biased;
                event = self.watch.next() => match event {
                    // The pool forgets it, and the connection ends with its last stream.
                    PeerEvent::Stale(reason) => {
                        metrics.tunnel_ended(reason);
                        self.closed.store(true, Ordering::Relaxed);
                    }
                    // Ending here drops the connection, which ends every stream in it.
                    PeerEvent::Revoked(why) => {
                        metrics.tunnel_ended(TunnelEndReason::PeerRevoked);
                        tracing::warn!(to = %self.to, %why, "cut a tunnel");
                        let _ = self.cut.set(why);
                        break;
                    }
                },
                ended = &mut moving => {
                    if let Err(error) = ended {
                        if let Some(reason) = breach(&error) {
                            metrics.tunnel_ended(reason);
                        }
                        tracing::debug!(to = %self.to, %error, "tunnel ended");
                    }
                    break;
                }
            }
        }
        self.closed.store(true, Ordering::Relaxed);
    }
}
