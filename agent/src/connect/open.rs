//! Opening the way to one of several endpoints.
//!
//! The first candidate is tried at once; the next one joins as soon as one fails, or after a while without an answer,
//! and the first success wins. So a dead endpoint costs a connection [`NEXT_AFTER`] and not its whole time, and
//! nobody waits longer than the connect timeout.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use heddle_common::HBONE_PORT;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    balance::{Candidate, Way},
    capture::{AgentSockets, EnrolledPod},
    identify::{Certificates, client_config},
    mesh::{SpiffeId, Workload},
    observe::Transport,
};

use super::{
    relay::Upstream,
    tunnel::{ConnectHeaders, Tunnel, TunnelError, TunnelKey, TunnelPool},
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

/// An open way.
pub struct Opened {
    /// The endpoint that it leads to.
    pub candidate: Candidate,
    /// The way itself.
    pub upstream: Upstream,
    /// How it is protected.
    pub transport: Transport,
    /// The identity that the other end proved.
    pub peer: Option<SpiffeId>,
    /// Candidates that were tried.
    pub tries: u32,
}

/// Opens ways from one pod.
pub struct Opener<'a> {
    /// Sockets inside pods.
    pub sockets: &'a Arc<AgentSockets>,
    /// Identities of this node's pods.
    pub certificates: &'a Certificates,
    /// Tunnels of this data thread.
    pub tunnels: &'a TunnelPool,
    /// The pod to start from.
    pub pod: &'a Arc<EnrolledPod>,
    /// The same pod, as the snapshot has it.
    pub source: &'a Workload,
    /// What the request for a stream says about the client.
    pub headers: &'a ConnectHeaders,
    /// Bound for everything.
    pub connect_timeout: Duration,
    /// Bound for a tunnel's handshake.
    pub handshake_timeout: Duration,
}

impl Opener<'_> {
    /// Opens a way to the first of the candidates that answers.
    pub async fn open(&self, candidates: Vec<Candidate>) -> Result<Opened, ConnectError> {
        let to = candidates.first().map_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)), |first| first.address);
        let late = |_| ConnectError::Timeout { to, after: self.connect_timeout };
        timeout(self.connect_timeout, self.race(candidates)).await.map_err(late)?
    }

    async fn race(&self, candidates: Vec<Candidate>) -> Result<Opened, ConnectError> {
        let mut waiting = candidates.into_iter();
        let mut running = FuturesUnordered::new();
        let mut tries = 0;
        running.extend(waiting.next().map(|first| self.try_one(first)));
        let mut next_at = Instant::now() + NEXT_AFTER;
        loop {
            tries = tries.max(1);
            let failure = tokio::select! {
                finished = running.next() => match finished {
                    Some(Ok(opened)) => return Ok(Opened { tries, ..opened }),
                    Some(Err(error)) => Some(error),
                    None => None,
                },
                () = sleep(next_at.saturating_duration_since(Instant::now())), if waiting.len() > 0 => None,
            };
            match (waiting.next(), failure) {
                (Some(next), _) => {
                    running.push(self.try_one(next));
                    next_at = Instant::now() + NEXT_AFTER;
                    tries += 1;
                }
                (None, Some(error)) if running.is_empty() => return Err(error),
                (None, _) => {}
            }
        }
    }

    async fn try_one(&self, candidate: Candidate) -> Result<Opened, ConnectError> {
        match &candidate.way {
            Way::Plain => {
                let to = candidate.address;
                let stream = self
                    .sockets
                    .dial(&self.pod.netns, to)
                    .await
                    .map_err(|source| ConnectError::Plain { to, source })?;
                let upstream = Upstream::Tcp(stream);
                Ok(Opened { candidate, upstream, transport: Transport::Plain, peer: None, tries: 0 })
            }
            Way::Tunnel(expected) => {
                let (stream, tunnel) = self.tunnel(&candidate, expected).await?;
                let transport = Transport::Hbone { tls_version: tunnel.tls.version, group: tunnel.tls.group };
                let peer = Some(tunnel.peer.id().clone());
                Ok(Opened { candidate, upstream: Upstream::Tunnel(stream), transport, peer, tries: 0 })
            }
        }
    }

    async fn tunnel(
        &self,
        candidate: &Candidate,
        expected: &SpiffeId,
    ) -> Result<(super::tunnel::TunnelStream, Arc<Tunnel>), ConnectError> {
        let identity = &self.source.identity;
        let own = self
            .certificates
            .get(identity)
            .ok_or_else(|| ConnectError::Identity { identity: identity.clone() })?;
        let key = TunnelKey {
            source: self.source.uid.clone(),
            identity: identity.clone(),
            to: SocketAddr::new(candidate.address.ip(), HBONE_PORT),
            expected: expected.clone(),
        };
        let open = || {
            let (sockets, pod) = (Arc::clone(self.sockets), Arc::clone(self.pod));
            let (to, connect, handshake) = (key.to, self.connect_timeout, self.handshake_timeout);
            let config = client_config(&own, std::slice::from_ref(expected));
            async move {
                let late = |_| TunnelError::Timeout { to, what: "TCP connection", after: connect };
                let failed = |source: io::Error| TunnelError::Connect { to, source: Arc::new(source) };
                let dial = sockets.dial(&pod.netns, to);
                let stream = timeout(connect, dial).await.map_err(late)?.map_err(failed)?;
                Tunnel::open(stream, to, config, handshake).await
            }
        };
        Ok(self.tunnels.connect(&key, &candidate.address.to_string(), self.headers, open).await?)
    }
}
