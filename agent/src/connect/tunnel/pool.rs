//! The tunnels of one data thread, by who talks to whom.
//!
//! Connections of one pod to one peer share a tunnel; a hot pair gets several, and each data thread has its own, so no
//! lock is ever waited for. Connections that need a tunnel which is being opened wait for it together, and if it
//! fails they fail together: none waits for the failures of those before it.

use std::{
    collections::HashMap,
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;
use tokio::net::TcpStream;

use crate::{
    mesh::{SpiffeId, WorkloadUid},
    shares,
};

use super::{ConnectHeaders, Tunnel, TunnelError, TunnelStream};

/// Streams on each tunnel of a pair at which it gets one more: so many connections keep one TCP stream busy, and
/// lost packets on it would stop them all.
const HOT: usize = 16;
/// Tunnels of a pair on one data thread that [`HOT`] alone can ask for; more come only when these are full.
const SPREAD: usize = 4;
/// The last tunnel of a pair is closed when it has had no stream for this long.
const IDLE: Duration = Duration::from_secs(60);
/// Where another has room, sooner: it was for more connections at a time than there are by now, and keeps what those took.
const SURPLUS: Duration = Duration::from_secs(10);

/// Who talks to whom. The source is a pod and not only an identity, since the tunnel starts from the pod's address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TunnelKey {
    /// The pod that it starts from.
    pub source: WorkloadUid,
    /// The identity that it shows.
    pub identity: SpiffeId,
    /// Where it goes.
    pub to: SocketAddr,
    /// Who must answer there.
    pub expected: SpiffeId,
}

type Opening = Shared<BoxFuture<'static, Result<(), TunnelError>>>;

#[derive(Default)]
struct Pair {
    open: Vec<Open>,
    opening: Option<Opening>,
}

struct Open {
    tunnel: Arc<Tunnel>,
    /// Since when nobody uses it, by the looks at it.
    idle_since: Option<Instant>,
    /// How often it was picked, as of the last look.
    picked: usize,
}

/// The tunnels of one data thread.
pub struct TunnelPool {
    pairs: Mutex<HashMap<TunnelKey, Pair>>,
    streams_per_tunnel: usize,
}

impl TunnelPool {
    /// A pool whose tunnels take at most so many streams each.
    pub fn new(streams_per_tunnel: usize) -> Arc<Self> {
        Arc::new(Self { pairs: Mutex::default(), streams_per_tunnel })
    }

    /// Opens a stream in a tunnel of this pair. `open` makes a new tunnel where one is needed. The first words of `client` may be sent
    /// along.
    pub async fn connect<F>(
        self: &Arc<Self>,
        key: &TunnelKey,
        (authority, headers): (&str, &ConnectHeaders),
        client: Option<&TcpStream>,
        open: impl Fn() -> F,
    ) -> Result<(TunnelStream, Arc<Tunnel>), TunnelError>
    where
        F: Future<Output = Result<Tunnel, TunnelError>> + Send + 'static,
    {
        // A tunnel that goes away under our hands is no failure of the peer, but each time it must have been another.
        loop {
            let (tunnel, permit) = self.tunnel(key, &open).await?;
            if let Some(stream) = tunnel.connect(permit, authority, headers, client).await? {
                return Ok((stream, tunnel));
            }
            self.forget(key, &tunnel);
        }
    }

    /// Closes tunnels that nobody has used for a while. To be called every few seconds.
    pub fn close_idle(&self) {
        let now = Instant::now();
        self.pairs.lock().retain(|_, pair| {
            pair.close_idle(now, self.streams_per_tunnel);
            pair.opening.is_some() || !pair.open.is_empty()
        });
    }

    /// A tunnel with room for one more stream, an open one if there is one.
    async fn tunnel<F>(
        self: &Arc<Self>,
        key: &TunnelKey,
        open: &impl Fn() -> F,
    ) -> Result<(Arc<Tunnel>, StreamPermit), TunnelError>
    where
        F: Future<Output = Result<Tunnel, TunnelError>> + Send + 'static,
    {
        loop {
            let opening = {
                let mut pairs = self.pairs.lock();
                let pair = pairs.entry(key.clone()).or_default();
                let found = pair.pick(self.streams_per_tunnel);
                if found.as_ref().is_none_or(|tunnel| pair.is_hot(tunnel)) {
                    pair.opening.get_or_insert_with(|| self.start(key.clone(), open()));
                }
                match (found, &pair.opening) {
                    (Some(tunnel), _) => {
                        let permit = tunnel.permit();
                        return Ok((tunnel, permit));
                    }
                    (None, Some(opening)) => opening.clone(),
                    (None, None) => continue,
                }
            };
            // All who wait fail together; where it succeeds, each looks again for room, since there are many of them.
            opening.await?;
        }
    }

    /// Opens a tunnel in a task of its own, which also makes it known: those who wait may give up before.
    fn start(
        self: &Arc<Self>,
        key: TunnelKey,
        open: impl Future<Output = Result<Tunnel, TunnelError>> + Send + 'static,
    ) -> Opening {
        let pool = Arc::downgrade(self);
        let to = key.to;
        // A task around the task: what it does at the end is done also if the opening panics.
        let task = shares::spawn(async move {
            let opened = shares::spawn(open).await.unwrap_or(Err(TunnelError::Abandoned { to })).map(Arc::new);
            if let Some(pool) = pool.upgrade() {
                pool.opened(&key, opened.as_ref().ok());
            }
            opened.map(drop)
        });
        async move { task.await.unwrap_or(Err(TunnelError::Abandoned { to })) }.boxed().shared()
    }

    /// Makes a tunnel known, and closes those of its pod that nobody uses where that has too many.
    fn opened(&self, key: &TunnelKey, tunnel: Option<&Arc<Tunnel>>) {
        let mut pairs = self.pairs.lock();
        if let Some(pair) = pairs.get_mut(key) {
            pair.opening = None;
            pair.open.extend(tunnel.cloned().map(Open::from));
        }
        if tunnel.is_some_and(|tunnel| tunnel.is_one_too_many()) {
            let others = pairs.iter_mut().filter(|(other, _)| other.source == key.source && *other != key);
            others.for_each(|(_, pair)| pair.open.retain(|open| !open.tunnel.is_left()));
        }
    }

    fn forget(&self, key: &TunnelKey, tunnel: &Arc<Tunnel>) {
        if let Some(pair) = self.pairs.lock().get_mut(key) {
            pair.open.retain(|open| !Arc::ptr_eq(&open.tunnel, tunnel));
        }
    }
}

impl Pair {
    /// The least used tunnel, if it has room.
    fn pick(&mut self, limit: usize) -> Option<Arc<Tunnel>> {
        self.open.retain(|open| !open.tunnel.is_closed());
        let least = self.open.iter().map(|open| &open.tunnel).min_by_key(|tunnel| tunnel.streams())?;
        (least.streams() < limit.min(least.peer_limit())).then(|| Arc::clone(least))
    }

    /// Whether there should be one tunnel more, when this is the least used.
    fn is_hot(&self, least: &Tunnel) -> bool {
        self.open.len() < SPREAD && least.streams() >= HOT
    }

    /// Of those that could take more connections without getting hot, one stays for longer.
    fn close_idle(&mut self, now: Instant, limit: usize) {
        self.open.retain(|open| !open.tunnel.is_closed());
        let has_room = |open: &Open| open.tunnel.streams() < HOT.min(limit).min(open.tunnel.peer_limit());
        let mut with_room = self.open.iter().filter(|open| has_room(open)).count();
        self.open.retain_mut(|open| {
            let patience = if with_room > 1 { SURPLUS } else { IDLE };
            let stays = open.idle_for(now) < patience;
            with_room -= usize::from(!stays && has_room(open));
            stays
        });
    }
}

impl Open {
    /// How long nobody has used it.
    fn idle_for(&mut self, now: Instant) -> Duration {
        let picked = self.tunnel.picked();
        let was_picked = std::mem::replace(&mut self.picked, picked) != picked;
        if self.tunnel.streams() > 0 {
            self.idle_since = None;
            return Duration::ZERO;
        }
        if was_picked {
            self.idle_since = Some(now);
        }
        now.saturating_duration_since(*self.idle_since.get_or_insert(now))
    }
}

impl From<Arc<Tunnel>> for Open {
    fn from(tunnel: Arc<Tunnel>) -> Self {
        Self { tunnel, idle_since: None, picked: 0 }
    }
}

/// A place in a tunnel; given back when dropped.
pub(super) struct StreamPermit(Arc<AtomicUsize>);

impl StreamPermit {
    pub(super) fn new(streams: &Arc<AtomicUsize>) -> Self {
        streams.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(streams))
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
