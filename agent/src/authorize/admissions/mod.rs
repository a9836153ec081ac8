//! Open connections to pods of this node, decided again when what decides has changed.
//!
//! A connection is entered with what it is decided on, before it reads the snapshot that decides; it leaves with its
//! [`Admission`]. So a change finds every connection that was decided without it. What changed is told from one snapshot to
//! the next: the documents about access, or the labels of a pod. Other changes cost nothing here, and bytes never do.
//!
//! A connection that carries requests ends when none of them could be let through any more; a single request that is under
//! way is not looked at again.
//!
//! Only connections to pods of this node are decided; whoever opened them is told by the end that they come to.

mod carried;

use std::{
    collections::{HashMap, HashSet},
    future::Future,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use parking_lot::Mutex;
use pin_project_lite::pin_project;
use tokio::{
    sync::{oneshot, watch},
    task::yield_now,
};
use tracing::info;

use self::carried::Carried;
use super::{AccessSettings, Denied, Facts, Proven, approach, inbound};
use crate::{
    capture::ByNamespace,
    identify::VerifiedPeer,
    mesh::{MeshState, Rules, Snapshot, SnapshotHandle, Workload, WorkloadUid},
    rules::{Rule, RuleKind},
};

/// A power of two well above the number of data threads: two of them seldom meet, and none waits long for the walk.
const SHARDS: usize = 64;

/// Every open connection to a pod of this node.
#[derive(Debug)]
pub struct Admissions {
    shards: [Mutex<HashMap<u64, Entry>>; SHARDS],
    next: AtomicU64,
}

#[derive(Debug)]
struct Entry {
    kept: Arc<Kept>,
    withdraw: oneshot::Sender<Denied>,
}

/// What one connection is decided on.
#[derive(Debug)]
struct Kept {
    /// The pod as it was when it was enrolled.
    workload: Arc<Workload>,
    peer: Option<Proof>,
    client: IpAddr,
    to: SocketAddr,
    /// Requests, or bytes that are decided over all at once.
    carried: Carried,
}

/// What a client has proved, kept.
#[derive(Debug)]
enum Proof {
    ByCertificate(VerifiedPeer),
    ByNamespace(ByNamespace),
}

/// A connection's place among the open ones, for as long as it is open.
#[derive(Debug)]
#[must_use = "a connection that is not entered stays open when it is no longer permitted"]
pub struct Admission {
    all: Arc<Admissions>,
    id: u64,
    kept: Arc<Kept>,
    withdrawn: oneshot::Receiver<Denied>,
}

/// A connection that was permitted is not any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it was open and is no longer permitted: {0}")]
pub struct Withdrawn(pub Denied);

/// Whose connections have to be decided again.
#[derive(Debug, PartialEq, Eq)]
enum Affected {
    Everyone,
    Pods(HashSet<WorkloadUid>),
}

impl Default for Admissions {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), next: AtomicU64::new(0) }
    }
}

impl Admissions {
    /// Enters a connection to a pod. The snapshot that decides over it has to be read after this.
    pub fn enter(self: &Arc<Self>, workload: &Arc<Workload>, facts: Facts<'_>) -> Admission {
        let Facts { peer, client, to } = facts;
        let (workload, carried) = (Arc::clone(workload), Carried::new());
        let kept = Arc::new(Kept { workload, peer: peer.map(Proof::of), client, to, carried });
        let (withdraw, withdrawn) = oneshot::channel();
        let id = self.next.fetch_add(1, Relaxed);
        self.shard(id).lock().insert(id, Entry { kept: Arc::clone(&kept), withdraw });
        Admission { all: Arc::clone(self), id, kept, withdrawn }
    }

    /// Connections that are open now.
    pub fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Decides again over the affected connections, and ends those that are no longer permitted. How many these are.
    async fn decide_again(&self, snapshot: &SnapshotHandle, settings: &AccessSettings, affected: &Affected) -> usize {
        let mut ended = 0;
        for shard in &self.shards {
            // Out of the lock: a data thread may wait for it. The newest snapshot, so that none is ended by an older one
            // than it was let in by.
            let open: Vec<_> = shard.lock().iter().map(|(id, entry)| (*id, Arc::clone(&entry.kept))).collect();
            let snapshot = snapshot.load();
            for (id, kept) in open.into_iter().filter(|(_, kept)| affected.has(&kept.workload)) {
                if let Err(denied) = kept.decide(&snapshot, settings) {
                    ended += usize::from(self.withdraw(id, denied));
                }
            }
            // Other work of the control thread takes its turn.
            yield_now().await;
        }
        ended
    }

    /// Whether the connection was still there to be told.
    fn withdraw(&self, id: u64, denied: Denied) -> bool {
        let entry = self.shard(id).lock().remove(&id);
        entry.is_some_and(|entry| entry.withdraw.send(denied).is_ok())
    }

    fn shard(&self, id: u64) -> &Mutex<HashMap<u64, Entry>> {
        &self.shards[usize::try_from(id % SHARDS as u64).unwrap_or(0)]
    }
}

impl Proof {
    fn of(proven: Proven<'_>) -> Self {
        match proven {
            Proven::ByCertificate(peer) => Self::ByCertificate(peer.clone()),
            Proven::ByNamespace(peer) => Self::ByNamespace(peer.clone()),
        }
    }

    fn shown(&self) -> Proven<'_> {
        match self {
            Self::ByCertificate(peer) => Proven::ByCertificate(peer),
            Self::ByNamespace(peer) => Proven::ByNamespace(peer),
        }
    }
}

impl Kept {
    fn decide(&self, snapshot: &Snapshot, settings: &AccessSettings) -> Result<(), Denied> {
        let facts = Facts { peer: self.peer.as_ref().map(Proof::shown), client: self.client, to: self.to };
        let workload = snapshot.current(&self.workload);
        match self.carried.is_bytes() {
            true => inbound(snapshot, settings, &workload, facts).leave.map(drop),
            // Each request is decided by itself; what counts is whether any could be let through.
            false => approach(snapshot, settings, &workload, facts).map(drop),
        }
    }
}

impl Admission {
    /// The connection carries no requests. The snapshot that decides over its bytes has to be read after this.
    pub fn carries_bytes(&self) {
        self.kept.carried.turn_to_bytes();
    }

    /// Takes a step of the connection; breaks it off when the connection is not permitted any more. Not to be called
    /// again after that.
    pub fn unless_withdrawn<T, E, F>(&mut self, step: F) -> UnlessWithdrawn<'_, F>
    where
        E: From<Withdrawn>,
        F: Future<Output = Result<T, E>>,
    {
        UnlessWithdrawn { withdrawn: &mut self.withdrawn, step }
    }
}

pin_project! {
    /// See [`Admission::unless_withdrawn`]. Written out, since an async function would hold the step twice, for as long as a
    /// connection may last.
    pub struct UnlessWithdrawn<'a, F> {
        withdrawn: &'a mut oneshot::Receiver<Denied>,
        #[pin]
        step: F,
    }
}

impl<T, E: From<Withdrawn>, F: Future<Output = Result<T, E>>> Future for UnlessWithdrawn<'_, F> {
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // First: a step that is always ready uses up what the task may do at a time, and leaves nothing to look here. That
        // nobody is there to withdraw comes only when the admission is dropped.
        if let Poll::Ready(Ok(denied)) = Pin::new(&mut **this.withdrawn).poll(context) {
            return Poll::Ready(Err(Withdrawn(denied).into()));
        }
        this.step.poll(context)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        drop(self.all.shard(self.id).lock().remove(&self.id));
    }
}

impl Affected {
    /// Whose access the second snapshot may decide differently than the first. `None` for nobody's.
    fn between(before: &Snapshot, now: &Snapshot) -> Option<Self> {
        if documents_differ(before.rules(), now.rules()) {
            return Some(Self::Everyone);
        }
        if std::ptr::eq(before.local_pods(), now.local_pods()) {
            return None;
        }
        let all = before.local_pods().iter().chain(now.local_pods());
        let relabelled = all.filter(|pod| before.current(pod).labels != now.current(pod).labels);
        let pods: HashSet<_> = relabelled.map(|pod| pod.uid.clone()).collect();
        (!pods.is_empty()).then_some(Self::Pods(pods))
    }

    fn has(&self, workload: &Workload) -> bool {
        match self {
            Self::Everyone => true,
            Self::Pods(pods) => pods.contains(&workload.uid),
        }
    }
}

/// Whether the second snapshot may decide differently over access than the first.
pub fn access_differs(before: &Snapshot, now: &Snapshot) -> bool {
    Affected::between(before, now).is_some()
}

/// Whether documents that decide over access are other ones.
fn documents_differ(before: &Rules, now: &Rules) -> bool {
    let is_access = |rule: &&Arc<Rule>| {
        matches!(
            rule.key.kind,
            RuleKind::AuthorizationPolicy | RuleKind::PeerAuthentication | RuleKind::RequestAuthentication
        )
    };
    let same = |(before, now): (&Arc<Rule>, &Arc<Rule>)| Arc::ptr_eq(before, now) || before == now;
    let (of_before, of_now) = (|| before.values().filter(is_access), || now.values().filter(is_access));
    !before.ptr_eq(now) && (of_before().count() != of_now().count() || !of_before().zip(of_now()).all(same))
}

/// Follows the mesh until its end, and decides again over open connections whenever access has changed since this was
/// called.
pub fn follow(
    admissions: Arc<Admissions>,
    snapshot: SnapshotHandle,
    settings: AccessSettings,
    mut mesh: watch::Receiver<MeshState>,
) -> impl Future<Output = ()> + Send {
    // Not in the task: connections may be let in before it runs for the first time.
    let mut before = Arc::clone(&mesh.borrow_and_update().snapshot);
    async move {
        while mesh.changed().await.is_ok() {
            let now = Arc::clone(&mesh.borrow_and_update().snapshot);
            if let Some(affected) = Affected::between(&before, &now) {
                let ended = admissions.decide_again(&snapshot, &settings, &affected).await;
                if ended > 0 {
                    info!(ended, generation = now.generation, "ended open connections that are no longer permitted");
                }
            }
            before = now;
        }
    }
}

#[cfg(test)]
mod tests;
