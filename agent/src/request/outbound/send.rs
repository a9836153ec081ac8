//! One try: a connection to the endpoint, and the request over it.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use futures_util::FutureExt;
use http::{Method, Request, Response, Version};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{Asked, backend::Backend, forward::Forwarding, tries::Leg};
use crate::{
    balance::{
        Candidate, Way,
        breaker::{Breaker, Overflow, PoolSettings},
    },
    connect::{
        Opener,
        http::{
            Held, HttpVersion, Lease, OpenWay, PoolError, PoolKey, Replay, SendError, Terms,
            head::{self, Upgrade},
            undelivered,
        },
        tunnel::ConnectHeaders,
    },
    connection::bypass,
    mesh::{ServicePort, Workload},
    observe::{OverflowLimit, PoolResult, RequestRecord},
    request::failed::RequestFailed,
    route::{
        http::RequestEdits,
        protocol::Declared,
        retry::{BodyState, TryEnd},
    },
    shares::Bound,
};

/// A try that got an answer.
pub(super) struct Told {
    pub(super) response: Response<Incoming>,
    pub(super) connection: Lease,
    /// From sending the request: how long it took to connect says nothing of the endpoint's speed.
    pub(super) latency: Duration,
}

/// A try that got no answer.
pub(super) struct Untold {
    pub(super) why: RequestFailed,
    /// How it ended, for who may try again.
    pub(super) end: TryEnd,
    /// Whether this endpoint is to be left out from now on: not where only the connection was used up.
    pub(super) is_endpoint: bool,
}

/// A try that was not made. That says nothing of the endpoint.
impl From<Overflow> for Untold {
    fn from(overflow: Overflow) -> Self {
        Self { why: overflow.into(), end: TryEnd::Overflow, is_endpoint: false }
    }
}

impl Forwarding<'_> {
    /// Sends the request to an endpoint, and waits for the head of the answer.
    pub(super) async fn send(
        &self,
        leg: &Leg<'_>,
        candidate: &Candidate,
        replay: &Replay,
        record: &mut RequestRecord,
    ) -> Result<Told, Untold> {
        loop {
            let mut lease = self.connection(leg, candidate).await?;
            record.set_transport(lease.facts().transport);
            record.set_server_socket(lease.facts().socket());
            if let Some(peer) = lease.facts().peer.clone() {
                record.set_server(candidate.party(Some(peer)));
            }
            let request = Request::from_parts(leg.asked.parts.clone(), replay.next_try());
            let sent = Instant::now();
            match lease.send(request).await {
                Ok(response) => {
                    let response = delivered(response, candidate)?;
                    return Ok(Told { response, connection: lease, latency: sent.elapsed() });
                }
                // The server had closed a connection that was kept: that says nothing of the endpoint.
                Err(SendError::NotSent(..)) if lease.is_used && replay.state() == BodyState::Untouched => {}
                Err(error) => return Err(unanswered(error, lease.is_used, replay)),
            }
        }
    }

    /// A connection to an endpoint. Where as many are open as a document allows, the request waits for one to come free,
    /// if not too many wait already.
    async fn connection(&self, leg: &Leg<'_>, candidate: &Candidate) -> Result<Lease, Untold> {
        let (thread, backend) = (&self.at.thread, leg.backend);
        let metrics = thread.node.observer.metrics();
        let (key, terms) = (self.key(candidate, leg.version), self.terms(backend));
        if let Some(lease) = thread.http.ready(&key, terms) {
            metrics.pool_request(PoolResult::Reused);
            return Ok(lease);
        }
        let breaker = backend.breaker.as_ref();
        let pending =
            breaker.map(|breaker| thread.node.begin(breaker, OverflowLimit::Pending, backend.pool())).transpose();
        let _pending = pending.map_err(Untold::from)?;
        let give_up = Instant::now() + self.connect_timeout(backend);
        // Told once; after that it is looked again now and then.
        let mut room = pin!(self.at.pod.account.room(Bound::OutboundHttp).fuse());
        loop {
            let open = || self.open(candidate.clone(), backend);
            match thread.http.get(&key, terms, open).await {
                Ok(lease) => {
                    metrics.pool_request(if lease.is_used { PoolResult::Reused } else { PoolResult::New });
                    return Ok(lease);
                }
                Err(error) if error.is_full() && Instant::now() < give_up => {
                    let is_of_pod = matches!(*error, PoolError::PodIsFull(_));
                    let in_the_way = |held: &Held| match is_of_pod {
                        true => held.place.is_of(&self.at.pod.account, Bound::OutboundHttp),
                        false => breaker.is_some_and(|breaker| held.is_under_way_to(breaker)),
                    };
                    // One that is kept for nobody gives way, on whatever thread it is.
                    if thread.node.give_way(in_the_way) {
                        continue;
                    }
                    match is_of_pod {
                        true => tokio::select! {
                            () = &mut room => {}
                            () = thread.http.freed(FREED_OF_POD) => {}
                        },
                        false => thread.http.freed(FREED).await,
                    }
                }
                Err(error) => {
                    if let PoolError::Full(overflow) = *error {
                        metrics.overflowed(OverflowLimit::Connections);
                        return Err(overflow.into());
                    }
                    return Err(unconnected(error));
                }
            }
        }
    }

    pub(super) fn key(&self, candidate: &Candidate, version: HttpVersion) -> PoolKey {
        let expected = match &candidate.way {
            Way::Tunnel(identity) => Some(identity.clone()),
            Way::Plain(_) => None,
        };
        let Workload { uid, identity, .. } = self.source.as_ref();
        PoolKey { source: uid.clone(), identity: identity.clone(), to: candidate.address, expected, version }
    }

    /// How long connections for this request are used.
    pub(super) fn terms(&self, backend: &Backend<'_>) -> Terms {
        let pool = backend.pool();
        let idle = match pool.0 {
            None => Some(self.at.thread.node.http.idle_timeout),
            Some(_) => pool.http_idle_timeout(),
        };
        Terms { max_requests: pool.max_requests_per_connection(), idle }
    }

    fn connect_timeout(&self, backend: &Backend<'_>) -> Duration {
        backend.pool().own_connect_timeout().unwrap_or(self.at.thread.node.limits.connect_timeout)
    }

    /// Opens the way, by itself: others may wait for it too. It counts from its first poll on, and not while it is only
    /// prepared, as a copy's is.
    pub(super) fn open(
        &self,
        candidate: Candidate,
        backend: &Backend<'_>,
    ) -> impl Future<Output = Result<OpenWay, PoolError>> + Send + 'static {
        let (thread, pod) = (Arc::clone(&self.at.thread), Arc::clone(&self.at.pod));
        let source = Arc::clone(self.source);
        let headers =
            ConnectHeaders::new(&thread.node.cluster, &source, self.at.client, &candidate.address.to_string());
        let after = self.connect_timeout(backend);
        let (breaker, settings) = (backend.breaker.clone(), backend.settings.clone());
        async move {
            let pool = PoolSettings::of(settings.as_deref());
            let begin = |breaker: Arc<Breaker>| breaker.begin(OverflowLimit::Connections, pool);
            let underway = breaker.map(begin).transpose()?;
            let place = pod.account.try_place(Bound::OutboundHttp)?;
            if let Some(reason) = bypass(&candidate.way) {
                thread.node.observer.metrics().bypassed(reason, 1);
            }
            let node = &thread.node;
            let (tunnels, client) = (&thread.tunnels, None);
            let opener = Opener { node, tunnels, pod: &pod, source: &source, headers: &headers, client };
            let open = Some(node.observer.metrics().pool_connection_opened());
            Ok(OpenWay::new(opener.open_only(candidate, after).await?, Held { place, underway, open }))
        }
    }
}

fn unanswered(error: SendError, is_used: bool, replay: &Replay) -> Untold {
    let end = match &error {
        SendError::NotSent(..) | SendError::Refused(_) => TryEnd::Refused,
        SendError::Broken(_) if is_used => TryEnd::StaleConnection,
        SendError::Broken(_) => TryEnd::Reset,
    };
    let why = replay.broken().map_or_else(|| error.into(), RequestFailed::Body);
    Untold { why, end, is_endpoint: !is_used }
}

fn unconnected(error: Arc<PoolError>) -> Untold {
    // That says nothing of the endpoint.
    let is_endpoint = !error.is_full();
    let why = RequestFailed::from(error);
    let end = if !is_endpoint {
        TryEnd::Overflow
    } else if why.is_denied_connection() {
        TryEnd::Denied
    } else {
        TryEnd::ConnectFailed
    };
    Untold { why, end, is_endpoint }
}

/// The answer, unless it is that of the endpoint's agent, which could not pass the request to the application.
fn delivered(mut response: Response<Incoming>, candidate: &Candidate) -> Result<Response<Incoming>, Untold> {
    match matches!(candidate.way, Way::Tunnel(_)) && undelivered::take(response.headers_mut()) {
        true => {
            let (why, end) = (RequestFailed::Undelivered, TryEnd::ConnectFailed);
            Err(Untold { why, end, is_endpoint: true })
        }
        false => Ok(response),
    }
}

/// How often it is looked whether a connection may be opened that was freed on another data thread.
const FREED: Duration = Duration::from_millis(20);
/// The same where the pod has all that it may have: many may wait then, and each goes through what all threads keep.
const FREED_OF_POD: Duration = Duration::from_millis(100);

impl Asked {
    /// Makes the head that an endpoint gets.
    pub(super) fn prepare(&mut self, edits: &RequestEdits<'_>, target: Option<&str>, version: HttpVersion) {
        let is_upgrade = version == HttpVersion::Http1 && Upgrade::of(&self.parts).is_some();
        head::remove_hop_by_hop(&mut self.parts.headers, is_upgrade);
        // hyper has answered it where the body is wanted.
        self.parts.headers.remove(http::header::EXPECT);
        edits.apply(&mut self.parts.headers);
        // The target was read as one; CONNECT has none.
        if self.parts.method != Method::CONNECT
            && let Some(Ok(target)) = target.map(str::parse)
        {
            self.parts.uri = target;
        }
        let authority = edits.authority().and_then(|authority| authority.parse().ok());
        match version {
            HttpVersion::Http1 => head::to_http1(&mut self.parts),
            HttpVersion::Http2 => head::to_http2(&mut self.parts, authority.unwrap_or_else(|| self.authority.clone())),
        }
    }

    /// The version in which the server is spoken to: what its port declares, else what the client speaks. Upgrades are of
    /// HTTP/1.1, and calls of HTTP/2.
    pub(super) fn version_for(&self, port: Option<&Arc<ServicePort>>) -> HttpVersion {
        let own = if self.version == Version::HTTP_2 { HttpVersion::Http2 } else { HttpVersion::Http1 };
        if Upgrade::of(&self.parts).is_some() || self.parts.method == Method::CONNECT {
            return own;
        }
        match port.map(|port| Declared::of(port)) {
            Some(Declared::Http2 | Declared::Grpc) => HttpVersion::Http2,
            Some(Declared::Http1) if !self.is_grpc => HttpVersion::Http1,
            _ => own,
        }
    }
}
