//! Proof of who opens a connection, by the network namespace of this node that the kernel has seen it open from.

use super::EnrolledPod;
use crate::mesh::{Snapshot, SpiffeId};

/// Who opens a connection. Made of an enrolled pod only, which is what a namespace's cookie leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByNamespace(SpiffeId);

impl ByNamespace {
    /// The identity of the pod that the namespace is of.
    pub fn id(&self) -> &SpiffeId {
        &self.0
    }
}

impl EnrolledPod {
    /// Who opens a connection from this pod's network namespace.
    pub fn proves(&self, snapshot: &Snapshot) -> ByNamespace {
        ByNamespace(snapshot.current(&self.workload).identity.clone())
    }
}
