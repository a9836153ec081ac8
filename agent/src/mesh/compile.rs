//! Objects to snapshot (being written).

use std::sync::Arc;

use super::{MeshProblem, Snapshot, TrustDomain};
use crate::objects::ObjectSet;

/// What the compiler needs to know besides the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshSettings {
    /// This node: its pods are enrolled here.
    pub node: Arc<str>,
    /// The domain of all identities.
    pub trust_domain: TrustDomain,
}

/// Objects in; the contents of a snapshot (generation 0) and everything that could not be honoured out. Pure.
pub fn compile(_objects: &ObjectSet, _settings: &MeshSettings) -> (Snapshot, Vec<MeshProblem>) {
    (Snapshot::default(), Vec::new())
}
