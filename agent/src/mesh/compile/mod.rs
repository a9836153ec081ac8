//! Objects to snapshot: a pure function that the agent and every offline command call alike.
//!
//! In: a complete set of objects and whose node this is. Out: the contents of a snapshot, and what could not be
//! honoured. It neither reads nor waits for anything, and the order in which objects arrived plays no part.

mod annotations;
mod membership;
mod services;
mod workloads;

use std::sync::Arc;

use self::workloads::Workloads;
use super::{MeshProblem, ObjectRef, Snapshot, TrustDomain};
use crate::objects::{Kind, ObjectKey, ObjectName, ObjectSet};

/// What the compiler needs to know besides the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshSettings {
    /// This node: its pods are enrolled here.
    pub node: Arc<str>,
    /// The domain of all identities.
    pub trust_domain: TrustDomain,
    /// The namespace of mesh documents that concern the whole mesh.
    pub root_namespace: Arc<str>,
}

/// Objects in; the contents of a snapshot (generation 0) and everything that could not be honoured out. Pure.
pub fn compile(objects: &ObjectSet, settings: &MeshSettings) -> (Snapshot, Vec<MeshProblem>) {
    let mut problems = Problems::default();
    let Workloads { by_address, local } = workloads::compile(objects, settings, &mut problems);
    let services = services::compile(objects, &by_address, &mut problems);
    let (virtual_ports, virtual_addresses) = services::virtual_addresses(&services, &mut problems);
    let snapshot = Snapshot { generation: 0, workloads: by_address, local, services, virtual_ports, virtual_addresses };
    (snapshot, problems.0)
}

/// Collects what could not be honoured.
#[derive(Debug, Default)]
struct Problems(Vec<MeshProblem>);

impl Problems {
    fn add(&mut self, kind: Kind, name: &ObjectName, message: String) {
        let object = ObjectRef(ObjectKey { kind, name: name.clone() });
        self.0.push(MeshProblem { object, message });
    }
}

#[cfg(test)]
mod tests;
