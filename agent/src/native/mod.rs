//! Leaving connections to the kernel, where the agent would carry them all the same, and unread.
//!
//! In: a connection that the agent has just opened the way for. Out: a verdict for the kernel, by which the next ones of this
//! pod to the same address and port go natively, until anything changes that decisions are made on. It is decided by the steps'
//! own functions: nothing is decided here a second time in another way. What goes natively is followed (`follow.rs`): counted
//! and logged at its end as any other connection, and ended when it is no longer permitted.
//!
//! Only what cannot be told from being carried: bytes that nobody reads, to a pod of this node whose policies and mode allow
//! the client that the kernel proves, or to what is not in the mesh. Whatever has more to say (a Service, routes, requests,
//! documents that only report) stays with the agent.

mod declined;
mod follow;
mod followed;
#[cfg(test)]
mod tests;
mod unwanted;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::AtomicU64},
};

use tracing::warn;

pub use follow::{Follower, register};

use declined::Declined;

use crate::{
    authorize::{self, AccessSettings, Answer, Denied, Facts, Proven},
    balance::{self, Way, WhyPlain},
    capture::{EnrolledPod, KernelError, NativePaths, PodsByCookie, is_agent_port},
    config::FastPath,
    connection::{Expectation, Expected},
    mesh::{Snapshot, Workload},
    node::Node,
    route::{self, Route, protocol::Learned},
};

/// Why a connection stays with the agent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotNative {
    /// It is not to be.
    #[error("capture.fastPath of agent.yaml leaves no such connection to the kernel")]
    Off,
    /// Somebody has to look what it carries.
    #[error("it may carry requests, which the agent reads; heddle.io/opaque-ports declares a pod's port to carry none")]
    MayCarryRequests,
    /// An endpoint has to be picked for it.
    #[error("it goes to a Service, one of whose endpoints the agent picks")]
    Service,
    /// It goes nowhere.
    #[error("nothing serves there")]
    NoRoute,
    /// It travels between nodes.
    #[error("its pod is not enrolled on this node, and what travels between nodes is encrypted")]
    OtherNode,
    /// It is told to be in plaintext, from a client that proves nothing.
    #[error("the mode of the port is DISABLE, under which the client proves nothing")]
    Disabled,
    /// It does not leave the pod.
    #[error("it goes to the pod itself")]
    Itself,
    /// It goes to the agent.
    #[error("the port belongs to the agent")]
    AgentPort,
    /// The socket is bound to an address that no document knows.
    #[error("it does not come from the pod's own address")]
    OtherAddress,
    /// It is not permitted.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Documents have something to say of it each time.
    #[error("documents report each such connection")]
    Reported,
}

/// Where a connection goes that may be left to the kernel, as far as the way to there says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// To this pod of this node, if it is permitted.
    Pod(Arc<Workload>),
    /// To what is not in the mesh.
    Outside,
}

/// Where a pod's connection to an address goes natively, by the decisions of the client's side.
///
/// # Errors
/// It stays with the agent.
pub fn goal(
    setting: FastPath,
    snapshot: &Snapshot,
    learned: &Learned,
    source: &Workload,
    dialled: SocketAddr,
) -> Result<Goal, NotNative> {
    if setting == FastPath::Off {
        return Err(NotNative::Off);
    }
    let (address, workload) = match route::route(snapshot, dialled) {
        Ok(Route::Workload(workload, address)) => (address, Some(workload)),
        Ok(Route::External(address, _)) => (address, None),
        Ok(Route::Service(_)) => return Err(NotNative::Service),
        Err(_) => return Err(NotNative::NoRoute),
    };
    if Expectation::of(snapshot, source, dialled, learned).expected != Expected::Bytes {
        return Err(NotNative::MayCarryRequests);
    }
    match (balance::candidate(snapshot, address, workload.clone(), source).way, workload) {
        (Way::Plain(WhyPlain::OutsideMesh), _) => Ok(Goal::Outside),
        (Way::Plain(WhyPlain::Disabled), _) => Err(NotNative::Disabled),
        (Way::Plain(WhyPlain::Itself), _) => Err(NotNative::Itself),
        (Way::Tunnel(_), Some(pod)) if pod.local.is_some() => match (setting, is_agent_port(dialled.port())) {
            (FastPath::All, false) => Ok(Goal::Pod(pod)),
            (FastPath::All, true) => Err(NotNative::AgentPort),
            (FastPath::OutsideMesh | FastPath::Off, _) => Err(NotNative::Off),
        },
        (Way::Tunnel(_), _) => Err(NotNative::OtherNode),
    }
}

/// What becomes of native connections on this node.
#[derive(Debug)]
pub struct Native {
    setting: FastPath,
    paths: NativePaths,
    pods: PodsByCookie,
    declined: Declined,
    /// Ends of connections that could not be accounted, since nobody knows their pods any more.
    unaccounted: AtomicU64,
}

/// The way of a native connection that is permitted.
#[derive(Debug)]
struct Permitted {
    destination: Option<Arc<EnrolledPod>>,
}

impl Native {
    /// Those that this setting allows.
    pub fn new(setting: FastPath, paths: NativePaths, pods: PodsByCookie) -> Self {
        Self { setting, paths, pods, declined: Declined::default(), unaccounted: AtomicU64::new(0) }
    }

    /// Which connections may be.
    pub fn setting(&self) -> FastPath {
        self.setting
    }

    /// How many are open.
    pub fn count(&self) -> u64 {
        self.paths.count()
    }

    /// From now on the kernel goes by the next agent.
    pub fn hand_over(&self) {
        self.paths.hand_over();
    }

    /// It goes by this one after all, which decides on this generation.
    pub fn take_back(&self, generation: u64) -> Result<(), KernelError> {
        self.paths.take_over()?;
        self.paths.move_on(generation)
    }

    /// Ends all that pods of this node have open.
    pub fn end_all(&self) {
        let open = self.paths.entered().unwrap_or_else(|error| {
            warn!(%error, "end native connections; those that are open go on, and nobody follows them");
            Vec::new()
        });
        for connection in open {
            let Some(source) = self.pods.get(connection.key.netns) else { continue };
            if let Err(error) = source.end_native(&connection.key.tuple) {
                warn!(%error, pod = %source.workload.name, "end a native connection");
            }
        }
    }

    /// The agent has carried such a connection: the next ones go natively, if they may.
    pub fn offer(&self, node: &Node, source: &EnrolledPod, client: IpAddr, dialled: SocketAddr) {
        let snapshot = node.snapshot.load();
        let Ok(Permitted { destination }) = self.decide(node, &snapshot, source, client, dialled) else { return };
        let put = self.paths.put(source, client.into(), dialled, destination.as_deref(), snapshot.generation);
        if let Err(error) = put {
            warn!(%error, "leave the next connections of a pod to the kernel; the agent goes on carrying them");
        }
    }

    fn decide(
        &self,
        node: &Node,
        snapshot: &Snapshot,
        source: &EnrolledPod,
        client: IpAddr,
        dialled: SocketAddr,
    ) -> Result<Permitted, NotNative> {
        let workload = snapshot.current(&source.workload);
        let goal = goal(self.setting, snapshot, &node.learned, &workload, dialled)?;
        let is_own = workload.addresses.iter().find(|own| own.is_ipv4() == client.is_ipv4()) == Some(&client);
        if !is_own || self.declined.contains(source.netns.cookie()) {
            return Err(NotNative::OtherAddress);
        }
        let Goal::Pod(pod) = goal else { return Ok(Permitted { destination: None }) };
        let destination = self.pods.of(&pod.uid).ok_or(NotNative::OtherNode)?;
        let Answer { leave, remarks } = permission(snapshot, &node.access, source, &pod, client, dialled);
        leave?;
        match remarks.is_empty() {
            true => Ok(Permitted { destination: Some(destination) }),
            false => Err(NotNative::Reported),
        }
    }

    /// The kernel gives this pod's connections another address than the pod has: they stay with the agent.
    fn decline(&self, source: u64) {
        self.declined.insert(source);
    }

    /// Forgets what is kept about pods that are gone.
    pub fn forget_gone(&self) {
        self.declined.retain(|cookie| self.pods.get(cookie).is_some());
    }

    /// How many pods have connections with other addresses than their own.
    pub fn declined(&self) -> usize {
        self.declined.len()
    }
}

/// Whether all bytes from a pod of this node may reach another one.
fn permission(
    snapshot: &Snapshot,
    access: &AccessSettings,
    source: &EnrolledPod,
    destination: &Workload,
    client: IpAddr,
    to: SocketAddr,
) -> Answer<authorize::Permitted> {
    let peer = source.proves(snapshot);
    let facts = Facts { peer: Some(Proven::ByNamespace(&peer)), client, to };
    authorize::inbound(snapshot, access, destination, facts)
}
