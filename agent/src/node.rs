//! What the connections of this node share, and what those of one data thread share.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http::HeaderMap;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    authorize::token::keys::KeyStore,
    authorize::{
        self, AccessSettings, Admissions, Answer, Denied, Facts, Permitted, Remark,
        limits::{LimitSource, Limited, RateLimiter},
    },
    balance::{
        Balancer,
        breaker::{Breaker, Breakers, Overflow, PoolSettings, Underway},
        session::SessionKey,
    },
    capture::{AgentSockets, EnrolledPod},
    config::{HttpLimits, Limits},
    connect::{
        http::{Held, HttpPool},
        tunnel::TunnelPool,
    },
    identify::Certificates,
    mesh::{AppliedLimits, ServiceName, Snapshot, SnapshotHandle, Workload},
    native::Native,
    observe::{ConnectionRecord, LimitedAt, Observer, OverflowLimit},
    route::{protocol::Learned, retry::budget::Budgets},
    shares::Overload,
};

/// Shared by all data threads; read only, or with its own synchronisation.
pub struct Node {
    /// Name of the cluster, for baggage.
    pub cluster: Arc<str>,
    /// What decisions read.
    pub snapshot: SnapshotHandle,
    /// Identities of this node's pods.
    pub certificates: Certificates,
    /// Sockets inside pods.
    pub sockets: Arc<AgentSockets>,
    /// What happened.
    pub observer: Observer,
    /// The keys of issuers of tokens, which requests show.
    pub token_keys: KeyStore,
    /// What agent.yaml says about access.
    pub access: AccessSettings,
    /// Open connections to pods of this node.
    pub admissions: Arc<Admissions>,
    /// Which endpoint of a Service is the best now.
    pub balancer: Balancer,
    /// How much is under way to each destination.
    pub breakers: Breakers,
    /// How much may be tried again.
    pub budgets: Budgets,
    /// How many requests clients made.
    pub rate_limiter: RateLimiter,
    /// What tokens of sessions are sealed with.
    pub session_key: SessionKey,
    /// Which ports were found to speak HTTP.
    pub learned: Learned,
    /// The HTTP connections of all data threads.
    pub pools: Mutex<Vec<Weak<HttpPool>>>,
    /// What is left to the kernel.
    pub native: Native,
    /// What all pods have of this agent together.
    pub overload: Arc<Overload>,
    /// Bounds.
    pub limits: Limits,
    /// Bounds of HTTP.
    pub http: HttpLimits,
    /// True from the moment that the agent is to end.
    pub draining: watch::Receiver<bool>,
}

/// One data thread: a runtime of its own, so that the tasks of a connection and of its tunnel wake each other without
/// another thread.
pub struct DataThread {
    /// What all data threads share.
    pub node: Arc<Node>,
    /// Tunnels that this thread opened.
    pub tunnels: Arc<TunnelPool>,
    /// HTTP connections that it opened.
    pub http: Arc<HttpPool>,
    open: AtomicUsize,
    accepted_tunnels: AtomicUsize,
}

/// How often unused tunnels are looked for.
const TUNNEL_CHECK: Duration = Duration::from_secs(10);

impl DataThread {
    /// State of a new data thread.
    pub fn new(node: Arc<Node>) -> Arc<Self> {
        let tunnels = TunnelPool::new(node.limits.streams_per_tunnel as usize);
        let http = Arc::default();
        node.pools.lock().push(Arc::downgrade(&http));
        Arc::new(Self { node, tunnels, http, open: AtomicUsize::default(), accepted_tunnels: AtomicUsize::default() })
    }

    /// Connections that it serves now.
    pub fn open_connections(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Those of them that are tunnels of others.
    pub fn accepted_tunnels(&self) -> usize {
        self.accepted_tunnels.load(Ordering::Relaxed)
    }

    /// Counts a connection until the result is dropped.
    pub fn count_connection(self: &Arc<Self>) -> OpenConnection {
        self.count(false)
    }

    /// The same, of a tunnel.
    pub fn count_tunnel(self: &Arc<Self>) -> OpenConnection {
        self.count(true)
    }

    fn count(self: &Arc<Self>, is_tunnel: bool) -> OpenConnection {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.accepted_tunnels.fetch_add(usize::from(is_tunnel), Ordering::Relaxed);
        OpenConnection { thread: Arc::clone(self), is_tunnel }
    }

    /// Closes unused tunnels, for ever. One task of this runs on each data thread.
    pub async fn keep_house(self: Arc<Self>) {
        loop {
            tokio::time::sleep(TUNNEL_CHECK).await;
            self.http.close_idle();
            self.tunnels.close_idle();
        }
    }
}

impl Node {
    /// Forgets what is kept about Services, endpoints, documents and pods that are gone. To be called now and then.
    pub fn forget_gone(&self) {
        let snapshot = self.snapshot.load();
        self.balancer.prune(&snapshot);
        let is_there = |service: &ServiceName| {
            snapshot.service(service).is_some() || snapshot.entries().iter().any(|entry| entry.name == *service)
        };
        self.breakers.retain(|service, _| is_there(service));
        self.budgets.retain(is_there);
        self.learned.retain(is_there);
        self.native.forget_gone();
        self.rate_limiter.retain(|document| snapshot.rate_limit(&document.namespace, &document.name).is_some());
    }

    /// Counts one more under way to a destination, or that there may be no more.
    pub fn begin(
        &self,
        breaker: &Arc<Breaker>,
        limit: OverflowLimit,
        pool: PoolSettings<'_>,
    ) -> Result<Underway, Overflow> {
        breaker.begin(limit, pool).inspect_err(|overflow| self.observer.metrics().overflowed(overflow.name))
    }

    /// Charges a request to the limits of a document.
    pub fn limited(
        &self,
        limits: &AppliedLimits,
        source: LimitSource<'_>,
        headers: &HeaderMap,
        at: LimitedAt,
    ) -> Result<(), Limited> {
        let checked = self.rate_limiter.check(&limits.document, &limits.limits, source, headers, Instant::now());
        checked.inspect_err(|_| self.observer.metrics().rate_limited(at))
    }

    /// Closes a connection like this that nobody uses; whether there was one.
    pub fn give_way(&self, is_one: impl Fn(&Held) -> bool) -> bool {
        let pools: Vec<_> = self.pools.lock().iter().filter_map(Weak::upgrade).collect();
        pools.iter().any(|pool| pool.give_way(&is_one))
    }

    /// Decides over the bytes of a connection to a pod of this node; what else documents have to say of it is counted and
    /// recorded.
    pub fn authorize(
        &self,
        snapshot: &Snapshot,
        workload: &Workload,
        facts: Facts<'_>,
        record: &mut ConnectionRecord,
    ) -> Result<Permitted, Denied> {
        let Answer { leave, remarks } = authorize::inbound(snapshot, &self.access, workload, facts);
        if !remarks.is_empty() {
            record.set_remarks(self.told(&remarks));
        }
        leave
    }

    /// Counts what documents have to say without deciding; for the log.
    pub fn told(&self, remarks: &[Remark]) -> Vec<String> {
        remarks.iter().for_each(|remark| self.observer.policy_hit(&remark.of(), remark.effect));
        remarks.iter().map(ToString::to_string).collect()
    }

    /// The pod as the snapshot has it now; as it was enrolled, where the snapshot has lost it.
    pub fn workload_of(&self, snapshot: &Snapshot, pod: &EnrolledPod) -> Arc<Workload> {
        snapshot.current(&pod.workload)
    }
}

/// A connection that is being served.
pub struct OpenConnection {
    thread: Arc<DataThread>,
    is_tunnel: bool,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.thread.open.fetch_sub(1, Ordering::Relaxed);
        self.thread.accepted_tunnels.fetch_sub(usize::from(self.is_tunnel), Ordering::Relaxed);
    }
}
