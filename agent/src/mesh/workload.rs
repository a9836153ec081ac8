//! A workload: one pod as the mesh sees it, wherever it runs.

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use ipnet::IpNet;

use super::SpiffeId;
use crate::{objects::Map, shares::SaidShare};

/// The pod's `metadata.uid`, or `namespace/name` where the source has no uid (plain files).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkloadUid(pub Arc<str>);

/// Whether a workload's traffic goes through the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// Enrolled on its node: peers reach it by a tunnel, with mutual TLS.
    Enrolled,
    /// Known, but not enrolled: peers reach it by plain TCP.
    Outside,
}

/// One pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// What tells this pod from a later one with the same name.
    pub uid: WorkloadUid,
    /// Pod name.
    pub name: Arc<str>,
    /// Kubernetes namespace.
    pub namespace: Arc<str>,
    /// Kubernetes service account, `default` where the pod names none.
    pub service_account: Arc<str>,
    /// Name of the node that runs it.
    pub node: Arc<str>,
    /// The identity that its certificate must carry.
    pub identity: SpiffeId,
    /// The pod's addresses, at most one of each family in plain Kubernetes.
    pub addresses: Arc<[IpAddr]>,
    /// Whether peers reach it by a tunnel.
    pub membership: Membership,
    /// Name of what owns the pod (Deployment, StatefulSet, ...), derived from `ownerReferences`
    /// with a ReplicaSet's hash cut off, else the pod's name. Istio's `workload` label.
    pub owner: Arc<str>,
    /// `app.kubernetes.io/name`, else `app`, else empty: Istio's `app` label.
    pub app: Arc<str>,
    /// `app.kubernetes.io/version`, else `version`, else empty.
    pub version: Arc<str>,
    /// `service.istio.io/canonical-name`, else app, else owner.
    pub canonical_service: Arc<str>,
    /// `service.istio.io/canonical-revision`, else version, else `latest`.
    pub canonical_revision: Arc<str>,
    /// The pod's labels, which documents select it by. Shared by the pods of one owner.
    pub labels: Arc<Map>,
    /// Its TCP ports that are never parsed as HTTP, sorted; by its annotation and by Capture documents.
    pub opaque_ports: Arc<[u16]>,
    /// What enrolment needs, for enrolled pods of this node only.
    pub local: Option<Box<LocalPod>>,
}

impl Workload {
    /// Whether what comes to this port is carried as it is.
    pub fn is_opaque(&self, port: u16) -> bool {
        self.opaque_ports.binary_search(&port).is_ok()
    }
}

/// What capture needs of a pod that runs on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalPod {
    /// The pod's network namespace.
    pub netns: Netns,
    /// What stays out of the mesh.
    pub rules: CaptureRules,
    /// What documents say that it may have of the agent.
    pub share: SaidShare,
}

/// How a pod's network namespace is found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Netns {
    /// A path that can be opened (`/run/netns/NAME`).
    Path(PathBuf),
    /// By the pod's processes, which the kubelet keeps in a cgroup that is named after the pod's uid.
    OfUid,
}

/// What of one pod goes past the agent: exclusions, and probes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptureRules {
    /// Local TCP ports that peers reach without the agent.
    pub exclude_inbound_ports: Vec<u16>,
    /// Remote TCP ports that the pod reaches without the agent.
    pub exclude_outbound_ports: Vec<u16>,
    /// Remote networks that the pod reaches without the agent.
    pub exclude_outbound_cidrs: Vec<IpNet>,
    /// Local TCP ports that the kubelet probes: it reaches them without the agent, and nobody else does.
    pub probed_ports: Arc<[u16]>,
}
