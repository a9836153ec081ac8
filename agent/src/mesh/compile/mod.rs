//! Objects to snapshot: a pure function that the agent and every offline command call alike.
//!
//! In: changes of objects, and whose node this is. Out: the contents of a snapshot, and what could not be honoured. It
//! neither reads nor waits for anything. What comes out depends on the objects that there are and on nothing else: not
//! on the order in which they came, nor on how they were before. The work of a change grows with what it touches and
//! not with the size of the mesh.

mod annotations;
mod batch;
mod claims;
mod membership;
mod pods;
mod problems;
mod service;
mod services;
mod slice;
mod workload;

use std::sync::Arc;

use self::{batch::Batch, pods::Pods, problems::Problems, services::Services};
use super::{MeshProblem, Snapshot, TrustDomain};
use crate::objects::{Change, ObjectSet};

/// What the compiler needs to know besides the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshSettings {
    /// This node: its pods are enrolled here.
    pub node: Arc<str>,
    /// The domain of all identities.
    pub trust_domain: TrustDomain,
}

/// All objects, and what they mean.
#[derive(Debug)]
pub struct Compiler {
    settings: MeshSettings,
    objects: ObjectSet,
    pods: Pods,
    services: Services,
    problems: Problems,
    snapshot: Snapshot,
}

/// What became of a batch of changes.
#[derive(Debug)]
pub struct Outcome {
    /// The contents of the snapshot (generation 0), where something that decides has changed.
    pub snapshot: Option<Snapshot>,
    /// Everything that cannot be honoured, ordered by object, where that has changed.
    pub problems: Option<Vec<MeshProblem>>,
    /// Those among the problems that were not there before.
    pub new_problems: Vec<MeshProblem>,
}

impl Compiler {
    /// A compiler without objects.
    pub fn new(settings: MeshSettings) -> Self {
        Self {
            settings,
            objects: ObjectSet::default(),
            pods: Pods::default(),
            services: Services::default(),
            problems: Problems::default(),
            snapshot: Snapshot::default(),
        }
    }

    /// The objects that there are.
    pub fn objects(&self) -> &ObjectSet {
        &self.objects
    }

    /// Brings everything up to date.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>) -> Outcome {
        let batch = Batch::take_in(changes, &mut self.objects);
        let Self { settings, objects, pods, services, problems, snapshot } = self;
        membership::check_namespaces(&batch, objects, problems);
        let pods_changed = pods.update(&batch, objects, settings, snapshot, problems);
        let services_changed = services.update(&batch, objects, settings, snapshot, problems);
        let (problems, new_problems) = problems.changed();
        Outcome { snapshot: (pods_changed || services_changed).then(|| snapshot.clone()), problems, new_problems }
    }
}

/// Objects in; the contents of a snapshot (generation 0) and everything that could not be honoured out. Pure.
pub fn compile(objects: &ObjectSet, settings: &MeshSettings) -> (Snapshot, Vec<MeshProblem>) {
    let mut compiler = Compiler::new(settings.clone());
    let outcome = compiler.apply(objects.objects().map(Change::Put));
    (compiler.snapshot, outcome.problems.unwrap_or_default())
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod order_tests;
