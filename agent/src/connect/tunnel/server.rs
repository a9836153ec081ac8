//! The server's side of a tunnel: accepting it, and the streams in it.

use std::{future::poll_fn, sync::Arc, time::Duration};

use h2::server::{Builder, Connection, SendResponse};
use http::{Method, Request, Response, StatusCode};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::server::TlsStream;

use crate::{
    capture::watch_liveness,
    identify::{self, HandshakeError, Identity, Revoked, TlsFacts, VerifiedPeer},
    node::Node,
    observe::{HandshakeResult, Metrics, Observer, SocketView, TunnelEndReason},
    shares::{Account, Chunk, Sending},
};

use super::{
    Authority, AuthorityError, CONNECTION_WINDOW, MAX_FRAME, MAX_HEADER_LIST, MAX_STREAMS, SEND_BUFFER, STREAM_WINDOW,
    TunnelStream, breach,
    peer_watch::{Cut, PeerEvent, PeerWatch},
    wide::WideReads,
    writes::Writes,
};

/// As the client's: a dead client must not keep its tunnel here.
const KEEPALIVE: Duration = Duration::from_secs(10);
const DEAD_AFTER: Duration = Duration::from_secs(20);
/// Streams that a peer may open and reset before they were served, at once: "rapid reset" ends the tunnel.
const MAX_RESETS: usize = 50;

/// Streams that were refused or reset here within a second, of which what still comes for them is thrown away. For one that is forgotten the
/// client would be held to have broken the protocol, and its tunnel cut after a thousand: who is refused may have spoken meanwhile.
const REMEMBERED: usize = 1000;

/// Why a tunnel was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The client did not prove who it is, or spoke no TLS.
    #[error(transparent)]
    Tls(#[from] HandshakeError),
    /// The client spoke no HTTP/2.
    #[error("HTTP/2 handshake: {0}")]
    Http(#[from] h2::Error),
    /// The client proved who it is, and then said nothing.
    #[error("the HTTP/2 handshake was not complete after {0:?}")]
    Silent(Duration),
}

impl AcceptError {
    /// The label of `heddle_handshakes_total{result}`.
    pub fn result(&self) -> HandshakeResult {
        match self {
            Self::Tls(error) => error.result(),
            Self::Http(_) => HandshakeResult::Protocol,
            Self::Silent(_) => HandshakeResult::Timeout,
        }
    }
}

/// Why an accepted tunnel ended other than by its client's will.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The connection broke, or the client broke a rule.
    #[error("HTTP/2: {0}")]
    Http(#[from] h2::Error),
    /// This agent cut it.
    #[error("cut: {0}")]
    Revoked(#[from] Revoked),
}

/// A tunnel whose client has proved who it is.
pub struct IncomingTunnel {
    connection: Connection<TlsStream<WideReads>, Chunk>,
    writes: Writes,
    watch: PeerWatch,
    cut: Cut,
    socket: Arc<SocketView>,
    account: Arc<Account>,
    /// Its client's certificate does not hold any more: no new streams.
    stale: bool,
    observer: Observer,
    /// The client.
    pub peer: VerifiedPeer,
    /// What was negotiated.
    pub tls: TlsFacts,
}

/// A stream that the client asks for; dropped without an answer, it is reset.
pub struct IncomingStream {
    request: Request<h2::RecvStream>,
    respond: SendResponse<Chunk>,
    cut: Cut,
    socket: Arc<SocketView>,
    account: Arc<Account>,
}

/// Serves the handshakes of TLS and of HTTP/2 as `own`, each within the handshake timeout, to the pod with this account.
pub async fn accept(
    stream: TcpStream,
    own: &Identity,
    account: &Arc<Account>,
    node: &Node,
) -> Result<IncomingTunnel, AcceptError> {
    let handshake_timeout = node.limits.handshake_timeout;
    watch_liveness(&stream, KEEPALIVE, DEAD_AFTER).map_err(HandshakeError::from)?;
    let stream = WideReads::new(stream, account);
    let (socket, writes) = (stream.view(), stream.writes());
    let (tls, peer, facts) = identify::accept(own, stream, handshake_timeout).await?;
    let handshake = http2().handshake(tls);
    let connection =
        timeout(handshake_timeout, handshake).await.map_err(|_| AcceptError::Silent(handshake_timeout))??;
    writes.gather();
    let (watch, observer) = (PeerWatch::new(own, &peer, &node.certificates), node.observer.clone());
    let (cut, account) = (Cut::default(), Arc::clone(account));
    Ok(IncomingTunnel { connection, writes, watch, cut, socket, account, stale: false, observer, peer, tls: facts })
}

/// HTTP/2 as a tunnel's server speaks it, within bounds.
pub(crate) fn http2() -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .max_frame_size(MAX_FRAME)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(REMEMBERED)
        .max_pending_accept_reset_streams(MAX_RESETS);
    builder
}

/// Where a request wants to be connected to. `None` for one that is not CONNECT.
pub(crate) fn authority<B>(request: &Request<B>) -> Option<Result<Authority, AuthorityError>> {
    if request.method() != Method::CONNECT {
        return None;
    }
    let authority = request.uri().authority().map_or("", |authority| authority.as_str());
    Some(Authority::parse(authority))
}

impl IncomingTunnel {
    /// The next stream; also moves the bytes of all open ones, so it has to be polled to the end. `None` when the
    /// client has closed the tunnel. After an error there is none: the tunnel is to be dropped, which ends its streams.
    pub async fn next(&mut self) -> Option<Result<IncomingStream, Broken>> {
        loop {
            let event = tokio::select! {
                // The watch first: a client that never stops sending must not keep it from being asked.
                biased;
                event = self.watch.next() => event,
                accepted = poll_fn(|context| {
                    let polled = self.connection.poll_accept(context);
                    self.writes.push(context);
                    polled
                }) => {
                    let accepted = match accepted {
                        // Not left to GOAWAY: a client that keeps back the answer to its PING is never held to that.
                        Some(Ok((_, mut respond))) if self.stale => {
                            respond.send_reset(h2::Reason::REFUSED_STREAM);
                            continue;
                        }
                        accepted => accepted,
                    };
                    let (cut, socket, account) = (&self.cut, &self.socket, &self.account);
                    let stream = |(request, respond)| IncomingStream {
                        request,
                        respond,
                        cut: Cut::clone(cut),
                        socket: Arc::clone(socket),
                        account: Arc::clone(account),
                    };
                    let broken = |error: h2::Error| {
                        if let Some(reason) = breach(&error) {
                            self.observer.metrics().tunnel_ended(reason);
                        }
                        Broken::from(error)
                    };
                    return accepted.map(|accepted| accepted.map(stream).map_err(broken));
                }
            };
            match event {
                PeerEvent::Stale(reason) => {
                    self.observer.metrics().tunnel_ended(reason);
                    self.stale = true;
                    self.go_away();
                }
                PeerEvent::Revoked(why) => {
                    self.observer.metrics().tunnel_ended(TunnelEndReason::PeerRevoked);
                    tracing::warn!(peer = %self.peer.id(), %why, "cut a tunnel");
                    let _ = self.cut.set(why.clone());
                    return Some(Err(why.into()));
                }
            }
        }
    }

    /// Tells the client to open no more streams here.
    pub fn go_away(&mut self) {
        self.connection.graceful_shutdown();
    }
}

impl IncomingStream {
    /// Where the client wants to be connected to. `None` for a request that is not CONNECT.
    pub fn authority(&self) -> Option<Result<Authority, AuthorityError>> {
        authority(&self.request)
    }

    /// Takes the stream, with the server's facts as baggage.
    pub fn accept(mut self, baggage: &str, metrics: &Metrics) -> Result<TunnelStream, h2::Error> {
        let mut response = Response::new(());
        if let Ok(baggage) = baggage.try_into() {
            response.headers_mut().insert("baggage", baggage);
        }
        let send = self.respond.send_response(response, false)?;
        let open = metrics.tunnel_stream_opened();
        let (receive, cut, socket) = (self.request.into_body(), self.cut, self.socket);
        let sending = Sending::of(&self.account);
        Ok(TunnelStream { send, receive, sending, sent_ahead: Ok(0), cut, socket, _permit: None, _open: open })
    }

    /// Refuses the stream.
    pub fn refuse(mut self, status: StatusCode) {
        let mut response = Response::new(());
        *response.status_mut() = status;
        // A client that is gone needs no answer. What it still sends is refused by h2, once the answer has left.
        let _ = self.respond.send_response(response, true);
    }
}
