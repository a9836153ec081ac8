//! Opening the way to one of several endpoints.
//!
//! The first candidate is tried at once; the next one joins as soon as one fails, or after a while without an answer,
//! and the first success wins. So a dead endpoint costs a connection [`NEXT_AFTER`] and not its whole time, and
//! nobody waits longer than the connect timeout.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use heddle_common::HBONE_PORT;
use http::StatusCode;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    balance::{Candidate, Candidates, Way},
    capture::EnrolledPod,
    identify::{Identity, TlsFacts},
    mesh::{SpiffeId, Workload},
    node::Node,
    observe::{DialResult, Metrics, Side, Transport},
    shares::Bound,
};

use super::{
    Wire,
    tunnel::{ConnectHeaders, Tunnel, TunnelError, TunnelIo, TunnelKey, TunnelPool},
};

/// Silence after which the next candidate is tried beside the first. Well above a connection within a region, well
/// below what a person waits for.
const NEXT_AFTER: Duration = Duration::from_secs(1);

/// Why no candidate could be reached: the failure of the last one.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Plain TCP failed.
    #[error("connect to {to}: {source}")]
    Plain {
        /// The endpoint.
        to: SocketAddr,
        /// What happened.
        source: io::Error,
    },
    /// The tunnel failed.
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
    /// The pod's own certificate is not there.
    #[error("no certificate for {identity} yet: look at the agent's readiness and its certificate authority")]
    Identity {
        /// Whose.
        identity: SpiffeId,
    },
    /// Nobody answered in time.
    #[error("connect to {to}: no answer within {after:?}")]
    Timeout {
        /// The first endpoint.
        to: SocketAddr,
        /// The bound.
        after: Duration,
    },
}

impl ConnectError {
    /// Whether the endpoint's agent refuses the client, by a policy about connections.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Tunnel(TunnelError::Refused { status, .. }) if *status == StatusCode::UNAUTHORIZED)
    }

    /// Whether the pod's machine answered that nobody listens for tunnels: no agent runs there, or it does not have the
    /// pod.
    pub fn is_absent_agent(&self) -> bool {
        matches!(self, Self::Tunnel(TunnelError::Connect { source, .. })
            if source.kind() == io::ErrorKind::ConnectionRefused)
    }
}

/// An open way.
pub struct Opened {
    /// The endpoint that it leads to.
    pub candidate: Candidate,
    /// The way itself.
    pub wire: Wire,
    /// How it is protected.
    pub transport: Transport,
    /// The identity that the other end proved.
    pub peer: Option<SpiffeId>,
    /// Candidates that were tried.
    pub tries: u32,
    /// The tunnel that it is in.
    pub tunnel: Option<Arc<Tunnel>>,
}

/// Opens ways from one pod.
pub struct Opener<'a> {
    /// What the connections of this node share.
    pub node: &'a Arc<Node>,
    /// Tunnels of this data thread.
    pub tunnels: &'a Arc<TunnelPool>,
    /// The pod to start from.
    pub pod: &'a Arc<EnrolledPod>,
    /// The same pod, as the snapshot has it.
    pub source: &'a Workload,
    /// What the request for a stream says about the client.
    pub headers: &'a ConnectHeaders,
    /// The client, whose first words may be sent before the peer has answered. Only where nobody else is tried if it fails.
    pub client: Option<&'a TcpStream>,
}

impl Opener<'_> {
    /// Opens a way to the first of the candidates that answers, within this time.
    pub async fn open(&self, candidates: Candidates, after: Duration) -> Result<Opened, ConnectError> {
        let late = ConnectError::Timeout { to: candidates.first.address, after };
        timeout(after, self.race(candidates)).await.unwrap_or(Err(late))
    }

    /// Opens a way to this one, within this time.
    pub async fn open_only(&self, candidate: Candidate, after: Duration) -> Result<Opened, ConnectError> {
        self.open(Candidates { first: candidate, rest: Vec::new() }, after).await
    }

    async fn race(&self, candidates: Candidates) -> Result<Opened, ConnectError> {
        // Of two that are tried, the one that is given up may have passed on what came with the request.
        let client = self.client.filter(|_| candidates.rest.is_empty());
        let mut waiting = candidates.rest.into_iter();
        let mut running = FuturesUnordered::from_iter([self.try_one(candidates.first, client)]);
        let mut tries = 1;
        loop {
            let silence = sleep(NEXT_AFTER);
            tokio::select! {
                Some(finished) = running.next() => match finished {
                    Ok(opened) => return Ok(Opened { tries, ..opened }),
                    Err(error) if running.is_empty() && waiting.len() == 0 => return Err(error),
                    Err(_) => {}
                },
                () = silence, if waiting.len() > 0 => {}
            }
            if let Some(next) = waiting.next() {
                running.push(self.try_one(next, None));
                tries += 1;
            }
        }
    }

    async fn try_one(&self, candidate: Candidate, client: Option<&TcpStream>) -> Result<Opened, ConnectError> {
        match &candidate.way {
            Way::Plain(_) => {
                let to = candidate.address;
                let dialled = self.node.sockets.dial(&self.pod.netns, to).await;
                let stream = dialled.map_err(|source| ConnectError::Plain { to, source })?;
                let wire = Wire::Tcp(stream);
                Ok(Opened { candidate, wire, transport: Transport::Plain, peer: None, tries: 0, tunnel: None })
            }
            Way::Tunnel(expected) => {
                let (stream, tunnel) = self.tunnel(&candidate, expected, client).await?;
                let TlsFacts { version, group, root } = tunnel.tls;
                let transport = Transport::Hbone { tls_version: version, group, root };
                let peer = Some(tunnel.peer.id().clone());
                let wire = Wire::Tunnel(Box::new(TunnelIo::new(stream)));
                Ok(Opened { candidate, wire, transport, peer, tries: 0, tunnel: Some(tunnel) })
            }
        }
    }

    async fn tunnel(
        &self,
        candidate: &Candidate,
        expected: &SpiffeId,
        client: Option<&TcpStream>,
    ) -> Result<(super::tunnel::TunnelStream, Arc<Tunnel>), ConnectError> {
        let identity = &self.source.identity;
        let missing = || ConnectError::Identity { identity: identity.clone() };
        let own = self.node.certificates.get(identity).ok_or_else(missing)?;
        let key = TunnelKey {
            source: self.source.uid.clone(),
            identity: identity.clone(),
            to: SocketAddr::new(candidate.address.ip(), HBONE_PORT),
            expected: expected.clone(),
        };
        let open = || {
            let (node, pod, own) = (Arc::clone(self.node), Arc::clone(self.pod), Arc::clone(&own));
            open_tunnel(node, pod, own, key.to, expected.clone())
        };
        Ok(self.tunnels.connect(&key, (&candidate.address.to_string(), self.headers), client, open).await?)
    }
}

/// Opens a tunnel from a pod, and counts it.
async fn open_tunnel(
    node: Arc<Node>,
    pod: Arc<EnrolledPod>,
    own: Arc<Identity>,
    to: SocketAddr,
    expected: SpiffeId,
) -> Result<Tunnel, TunnelError> {
    let _place = pod.account.place(Bound::OutboundHandshakes).await;
    let opened = match dial(&node, &pod, to).await {
        Ok(stream) => {
            let opened = Tunnel::open(stream, to, (&own, &expected), &pod.account, &node).await;
            count_handshake(node.observer.metrics(), &opened);
            opened
        }
        Err(error) => Err(error),
    };
    node.observer.metrics().tunnel_dial(dial_result(&opened));
    opened
}

async fn dial(node: &Node, pod: &EnrolledPod, to: SocketAddr) -> Result<TcpStream, TunnelError> {
    let after = node.limits.connect_timeout;
    let failed = |source: io::Error| TunnelError::Connect { to, source: Arc::new(source) };
    let dialled = timeout(after, node.sockets.dial(&pod.netns, to)).await;
    dialled.map_err(|_| TunnelError::Timeout { to, after })?.map_err(failed)
}

fn count_handshake(metrics: &Metrics, opened: &Result<Tunnel, TunnelError>) {
    match opened {
        Ok(tunnel) => {
            metrics.handshake_done(Side::Client, tunnel.tls.version, tunnel.tls.group, tunnel.tls.root);
        }
        Err(TunnelError::Tls { source, .. }) => metrics.handshake_failed(Side::Client, source.result()),
        Err(_) => {}
    }
}

fn dial_result(opened: &Result<Tunnel, TunnelError>) -> DialResult {
    match opened {
        Ok(_) => DialResult::Ok,
        Err(TunnelError::Connect { .. }) => DialResult::ConnectFailed,
        Err(TunnelError::Timeout { .. }) => DialResult::Timeout,
        Err(TunnelError::Tls { .. }) => DialResult::Tls,
        Err(
            TunnelError::Http { .. }
            | TunnelError::Revoked { .. }
            | TunnelError::Refused { .. }
            | TunnelError::Request { .. }
            | TunnelError::Abandoned { .. },
        ) => DialResult::Http2,
    }
}
