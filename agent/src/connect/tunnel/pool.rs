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

use crate::mesh::{SpiffeId, WorkloadUid};

use super::{ConnectHeaders, Tunnel, TunnelError, TunnelStream};

/// Streams on each tunnel of a pair at which it gets one more: so many connections keep one TCP stream busy, and
/// lost packets on it would stop them all.
const HOT: usize = 16;
/// Tunnels of a pair on one data thread that [`HOT`] alone can ask for; more come only when these are full.
const SPREAD: usize = 4;
/// A tunnel without a stream is closed after this long.
const IDLE: Duration = Duration::from_secs(60);

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

type Opening = Shared<BoxFuture<'static, Result<Arc<Tunnel>, TunnelError>>>;

#[derive(Default)]
struct Pair {
    open: Vec<Arc<Tunnel>>,
    opening: Option<Opening>,
    idle_since: Option<Instant>,
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

    /// Opens a stream in a tunnel of this pair. `open` makes a new tunnel where one is needed.
    pub async fn connect<F>(
        &self,
        key: &TunnelKey,
        authority: &str,
        headers: &ConnectHeaders,
        open: impl Fn() -> F,
    ) -> Result<(TunnelStream, Arc<Tunnel>), TunnelError>
    where
        F: Future<Output = Result<Tunnel, TunnelError>> + Send + 'static,
    {
        // A tunnel that goes away under our hands is no failure of the peer, but each time it must have been another.
        loop {
            let (tunnel, permit) = self.tunnel(key, &open).await?;
            if let Some(stream) = tunnel.connect(permit, authority, headers).await? {
                return Ok((stream, tunnel));
            }
            self.forget(key, &tunnel);
        }
    }

    /// Closes tunnels that nobody has used for a while. To be called every few seconds.
    pub fn close_idle(&self) {
        let now = Instant::now();
        self.pairs.lock().retain(|_, pair| {
            pair.open.retain(|tunnel| !tunnel.is_closed());
            let busy = pair.opening.is_some() || pair.open.iter().any(|tunnel| tunnel.streams() > 0);
            match (busy, pair.idle_since) {
                (true, _) => pair.idle_since = None,
                (false, None) => pair.idle_since = Some(now),
                (false, Some(_)) => {}
            }
            let idle = pair.idle_since.is_some_and(|since| now.duration_since(since) >= IDLE);
            !idle && (busy || !pair.open.is_empty())
        });
    }

    /// Tunnels that are open, and streams in them.
    pub fn usage(&self) -> (usize, usize) {
        let pairs = self.pairs.lock();
        let open = pairs.values().flat_map(|pair| &pair.open);
        open.fold((0, 0), |(tunnels, streams), tunnel| (tunnels + 1, streams + tunnel.streams()))
    }

    async fn tunnel<F>(
        &self,
        key: &TunnelKey,
        open: &impl Fn() -> F,
    ) -> Result<(Arc<Tunnel>, StreamPermit), TunnelError>
    where
        F: Future<Output = Result<Tunnel, TunnelError>> + Send + 'static,
    {
        let opening = {
            let mut pairs = self.pairs.lock();
            let pair = pairs.entry(key.clone()).or_default();
            if let Some(tunnel) = pair.pick(self.streams_per_tunnel) {
                let permit = tunnel.permit();
                return Ok((tunnel, permit));
            }
            pair.opening.get_or_insert_with(|| start(open())).clone()
        };
        let opened = opening.clone().await;
        self.settle(key, &opening, opened.as_ref().ok());
        let tunnel = opened?;
        let permit = tunnel.permit();
        Ok((tunnel, permit))
    }

    /// The first who sees that a tunnel was opened, or not, makes it known.
    fn settle(&self, key: &TunnelKey, opening: &Opening, opened: Option<&Arc<Tunnel>>) {
        let mut pairs = self.pairs.lock();
        let Some(pair) = pairs.get_mut(key) else { return };
        if pair.opening.as_ref().is_some_and(|current| current.ptr_eq(opening)) {
            pair.opening = None;
            pair.open.extend(opened.cloned());
        }
    }

    fn forget(&self, key: &TunnelKey, tunnel: &Arc<Tunnel>) {
        if let Some(pair) = self.pairs.lock().get_mut(key) {
            pair.open.retain(|other| !Arc::ptr_eq(other, tunnel));
        }
    }
}

/// Opens a tunnel in a task of its own: it goes on, within its own bound, when those who wait for it give up.
fn start(open: impl Future<Output = Result<Tunnel, TunnelError>> + Send + 'static) -> Opening {
    let (done, opened) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        // Without anybody waiting the tunnel is dropped, which closes it.
        let _ = done.send(open.await.map(Arc::new));
    });
    let lost = || TunnelError::Request {
        to: SocketAddr::from(([0, 0, 0, 0], 0)),
        reason: "the agent is shutting down".to_owned(),
    };
    async move { opened.await.unwrap_or_else(|_| Err(lost())) }.boxed().shared()
}

impl Pair {
    /// The least used tunnel; `None` if another should be opened.
    fn pick(&mut self, limit: usize) -> Option<Arc<Tunnel>> {
        self.open.retain(|tunnel| !tunnel.is_closed());
        let least = self.open.iter().min_by_key(|tunnel| tunnel.streams())?;
        let wanted = if self.open.len() < SPREAD { HOT.min(limit) } else { limit };
        (least.streams() < wanted).then(|| Arc::clone(least))
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
