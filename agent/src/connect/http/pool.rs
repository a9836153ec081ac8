//! HTTP connections that are kept for further requests, by who talks to whom: those of one data thread to endpoints, and those
//! of one client's connection to an application.
//!
//! They are never shared between pods: the server's node sees each pod by itself. An HTTP/1.1 connection is lent to one request and comes back with the end of its answer; an HTTP/2 connection takes as many requests
//! as its server takes streams, and then another is opened.

use std::{
    collections::HashMap,
    future::Future,
    net::SocketAddr,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{Request, Response};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::{net::TcpStream, sync::Notify, time::timeout};

use crate::{
    balance::breaker::{Breaker, Overflow, Underway},
    connect::{ApplicationError, ConnectError, Opened, VisibleWire, Wire, tunnel::Tunnel},
    mesh::{SpiffeId, WorkloadUid},
    observe::{GaugeGuard, SocketView, Transport},
    shares::{Place, PodIsFull},
};

use super::{
    client::{Http1Client, Http2Client, HttpVersion, SendError, StreamPlace},
    flight::Flight,
    replay::RequestBody,
};

/// Idle connections to one endpoint of one pod: more than that were a burst.
const MOST_IDLE: usize = 64;
/// Requests on one HTTP/2 connection at which another is opened, as long as there are few.
const HOT: usize = 64;
/// HTTP/2 connections that [`HOT`] alone can ask for.
const SPREAD: usize = 4;

/// Who talks to whom, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolKey {
    /// The pod that the connections start from.
    pub source: WorkloadUid,
    /// The identity that it shows.
    pub identity: SpiffeId,
    /// The endpoint.
    pub to: SocketAddr,
    /// Who must answer there; `None` for plain TCP.
    pub expected: Option<SpiffeId>,
    /// The version of HTTP.
    pub version: HttpVersion,
}

/// How long a connection is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Requests that it may carry.
    pub max_requests: Option<NonZeroU32>,
    /// Without a request; `None` for ever.
    pub idle: Option<Duration>,
}

/// What is known of a way that was opened.
#[derive(Clone)]
pub struct WayFacts {
    /// How it is protected.
    pub transport: Transport,
    /// The identity that the other end proved.
    pub peer: Option<SpiffeId>,
    /// Its socket, or that of its tunnel.
    socket: Arc<SocketView>,
    /// The tunnel that it is in.
    tunnel: Option<Arc<Tunnel>>,
    /// Counts the connection for as long as it is there.
    held: Arc<Held>,
}

/// What a connection holds.
pub struct Held {
    /// Among the pod's.
    pub place: Place,
    /// Among those to its destination.
    pub underway: Option<Underway>,
    /// Among those of the pool.
    pub open: Option<GaugeGuard>,
}

impl Terms {
    fn allows(self, served: usize) -> bool {
        self.max_requests.is_none_or(|most| served < most.get() as usize)
    }
}

impl WayFacts {
    /// Its socket, or that of its tunnel.
    pub fn socket(&self) -> Arc<SocketView> {
        Arc::clone(&self.socket)
    }

    /// Whether requests may still start on it: not when the tunnel's peer or own certificate does not hold any more.
    fn is_usable(&self) -> bool {
        self.tunnel.as_ref().is_none_or(|tunnel| !tunnel.is_closed())
    }
}

/// A way that was opened, on which HTTP can start.
pub struct OpenWay {
    wire: VisibleWire,
    facts: WayFacts,
}

impl OpenWay {
    /// A way to an endpoint, which counts among the connections under way for as long as it is there.
    pub fn new(opened: Opened, held: Held) -> Self {
        let Opened { wire, transport, peer, tunnel, .. } = opened;
        let (wire, socket) = VisibleWire::over(wire);
        Self { wire, facts: WayFacts { transport, peer, socket, tunnel, held: Arc::new(held) } }
    }

    /// One to an application, in plain TCP.
    pub fn plain(stream: TcpStream, place: Place) -> Self {
        let (wire, socket) = VisibleWire::over(Wire::Tcp(stream));
        let held = Arc::new(Held { place, underway: None, open: None });
        Self { wire, facts: WayFacts { transport: Transport::Plain, peer: None, socket, tunnel: None, held } }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The way could not be opened.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Nor that to the application.
    #[error(transparent)]
    Application(#[from] ApplicationError),
    /// As many connections are open as a DestinationRule allows.
    #[error(transparent)]
    Full(#[from] Overflow),
    /// Or as the pod may have.
    #[error(transparent)]
    PodIsFull(#[from] PodIsFull),
    /// It is open, but nobody speaks HTTP there.
    #[error("start HTTP with {to}: {source}")]
    Http {
        /// The endpoint.
        to: SocketAddr,
        /// What happened.
        source: hyper::Error,
    },
}

impl Held {
    /// Whether it counts among the connections to a destination.
    pub fn is_under_way_to(&self, breaker: &Arc<Breaker>) -> bool {
        self.underway.as_ref().is_some_and(|underway| underway.is_of(breaker))
    }
}

impl PoolError {
    /// Whether there may be one when another is given up.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_) | Self::PodIsFull(_))
    }
}

#[derive(Default)]
struct Pair {
    idle: Vec<(Http1Client, WayFacts)>,
    shared: Vec<(Http2Client, WayFacts)>,
    opening: Arc<Flight<(Http2Client, WayFacts), PoolError>>,
    used: Option<Instant>,
    terms: Option<Terms>,
}

/// The HTTP connections of one data thread.
#[derive(Default)]
pub struct HttpPool {
    pairs: Mutex<HashMap<PoolKey, Pair>>,
    /// A connection came back, or ended.
    freed: Notify,
}

/// A connection for one request.
pub struct Lease {
    leased: Leased,
    facts: WayFacts,
    /// Whether others had it before: then the server may have closed it meanwhile.
    pub is_used: bool,
    pool: Arc<HttpPool>,
    key: PoolKey,
    terms: Terms,
}

enum Leased {
    Http1(Http1Client),
    /// Counts as open for as long as the lease is there.
    Http2(Http2Client, #[expect(dead_code, reason = "counts the stream until it is dropped")] StreamPlace),
}

impl Lease {
    /// Sends a request, and waits for the head of its answer.
    pub async fn send(&mut self, request: Request<RequestBody>) -> Result<Response<Incoming>, SendError> {
        match &mut self.leased {
            Leased::Http1(client) => client.send(request).await,
            Leased::Http2(client, _) => client.send(request).await,
        }
    }

    /// What is known of the way.
    pub fn facts(&self) -> &WayFacts {
        &self.facts
    }

    /// Gives the connection back: request and answer have ended. A lease that is dropped closes what was its own.
    pub fn give_back(self) {
        if let Leased::Http1(client) = self.leased
            && self.terms.allows(client.served as usize)
        {
            self.pool.put(&self.key, client, self.facts, self.terms);
        }
        self.pool.freed.notify_one();
    }
}

impl HttpPool {
    /// A connection that is there and has room: its request waits for nothing.
    pub fn ready(self: &Arc<Self>, key: &PoolKey, terms: Terms) -> Option<Lease> {
        let (leased, facts) = match key.version {
            HttpVersion::Http1 => {
                let (client, facts) = self.idle(key)?;
                (Leased::Http1(client), facts)
            }
            HttpVersion::Http2 => {
                let mut pairs = self.pairs.lock();
                let pair = pairs.get_mut(key)?;
                (pair.used, pair.terms) = (Some(Instant::now()), Some(terms));
                let (client, facts) = pair.pick(terms)?;
                let place = client.place();
                (Leased::Http2(client, place), facts)
            }
        };
        Some(self.lease(key, terms, leased, facts, true))
    }

    /// A connection, one that is there or a new one, for which `open` opens the way.
    pub async fn get<F>(
        self: &Arc<Self>,
        key: &PoolKey,
        terms: Terms,
        open: impl FnOnce() -> F,
    ) -> Result<Lease, Arc<PoolError>>
    where
        F: Future<Output = Result<OpenWay, PoolError>> + Send + 'static,
    {
        if let Some(ready) = self.ready(key, terms) {
            return Ok(ready);
        }
        match key.version {
            HttpVersion::Http1 => {
                let OpenWay { wire, facts } = open().await?;
                let failed = |source| PoolError::Http { to: key.to, source };
                let client = Http1Client::open(wire).await.map_err(failed)?;
                Ok(self.lease(key, terms, Leased::Http1(client), facts, false))
            }
            HttpVersion::Http2 => {
                let (client, facts) = self.open_shared(key, terms, open).await?;
                let place = client.place();
                Ok(self.lease(key, terms, Leased::Http2(client, place), facts, false))
            }
        }
    }

    fn lease(self: &Arc<Self>, key: &PoolKey, terms: Terms, leased: Leased, facts: WayFacts, is_used: bool) -> Lease {
        Lease { leased, facts, is_used, pool: Arc::clone(self), key: key.clone(), terms }
    }

    /// Closes a connection like this that nobody uses; whether there was one.
    pub fn give_way(&self, is_one: impl Fn(&Held) -> bool) -> bool {
        self.pairs.lock().values_mut().any(|pair| {
            let idle = pair.idle.iter().position(|(_, way)| is_one(&way.held));
            let unused = |(client, way): &(Http2Client, WayFacts)| client.streams() == 0 && is_one(&way.held);
            match (idle, pair.shared.iter().position(unused)) {
                (Some(idle), _) => drop(pair.idle.remove(idle)),
                (None, Some(unused)) => drop(pair.shared.remove(unused)),
                (None, None) => return false,
            }
            true
        })
    }

    /// Waits until a connection came back, at most for so long.
    pub async fn freed(&self, patience: Duration) {
        let _ = timeout(patience, self.freed.notified()).await;
    }

    /// Takes a connection back.
    fn put(&self, key: &PoolKey, mut client: Http1Client, facts: WayFacts, terms: Terms) {
        if !client.is_open() || !facts.is_usable() {
            return;
        }
        client.idle_since = Instant::now();
        let mut pairs = self.pairs.lock();
        let pair = pairs.entry(key.clone()).or_default();
        pair.terms = Some(terms);
        if pair.idle.len() < MOST_IDLE {
            pair.idle.push((client, facts));
        }
    }

    /// Closes what nobody has used for as long as its terms say. To be called every few seconds.
    pub fn close_idle(&self) {
        let now = Instant::now();
        self.pairs.lock().retain(|_, pair| {
            let idle = pair.terms.and_then(|terms| terms.idle).unwrap_or(Duration::MAX);
            let is_fresh = |client: &Http1Client| now.duration_since(client.idle_since) < idle;
            pair.idle.retain(|(client, way)| client.is_open() && way.is_usable() && is_fresh(client));
            let busy = pair.shared.iter().any(|(client, _)| client.streams() > 0);
            let is_recent = pair.used.is_some_and(|used| now.duration_since(used) < idle);
            // A connection that is still busy ends with its requests, whoever has it.
            pair.shared.retain(|(client, way)| client.is_open() && way.is_usable() && (busy || is_recent));
            !pair.idle.is_empty() || !pair.shared.is_empty() || Arc::strong_count(&pair.opening) > 1
        });
    }

    /// Connections that wait for requests, or are shared by some.
    pub fn len(&self) -> usize {
        self.pairs.lock().values().map(|pair| pair.idle.len() + pair.shared.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The one that was used last: the others may go.
    fn idle(&self, key: &PoolKey) -> Option<(Http1Client, WayFacts)> {
        let mut pairs = self.pairs.lock();
        let idle = &mut pairs.get_mut(key)?.idle;
        loop {
            let (client, way) = idle.pop()?;
            if client.is_open() && way.is_usable() {
                return Some((client, way));
            }
        }
    }

    /// Opens one that several requests share, together with all who need it.
    async fn open_shared<F>(
        self: &Arc<Self>,
        key: &PoolKey,
        terms: Terms,
        open: impl FnOnce() -> F,
    ) -> Result<(Http2Client, WayFacts), Arc<PoolError>>
    where
        F: Future<Output = Result<OpenWay, PoolError>> + Send + 'static,
    {
        let opening = {
            let mut pairs = self.pairs.lock();
            let pair = pairs.entry(key.clone()).or_default();
            (pair.used, pair.terms) = (Some(Instant::now()), Some(terms));
            Arc::clone(&pair.opening)
        };
        let (pool, key) = (Arc::downgrade(self), key.clone());
        let start = || {
            let way = open();
            async move {
                let OpenWay { wire, facts } = way.await?;
                let failed = |source| PoolError::Http { to: key.to, source };
                let client = Http2Client::open(wire).await.map_err(failed)?;
                if let Some(pool) = pool.upgrade() {
                    pool.pairs.lock().entry(key).or_default().shared.push((client.clone(), facts.clone()));
                }
                Ok((client, facts))
            }
        };
        opening.join(start).await
    }
}

impl Pair {
    /// The least busy one that has room.
    fn pick(&mut self, terms: Terms) -> Option<(Http2Client, WayFacts)> {
        // One that has carried as many as it may ends with the last of them.
        self.shared.retain(|(client, way)| client.is_open() && way.is_usable() && terms.allows(client.served()));
        let few = self.shared.len() < SPREAD;
        let (client, way) = self.shared.iter().min_by_key(|(client, _)| client.streams())?;
        let has_room = client.streams() < client.room() && !(few && client.streams() >= HOT);
        has_room.then(|| (client.clone(), way.clone()))
    }
}
