//! Objects to snapshot: a pure function that the agent and every offline command call alike.
//!
//! In: changes of objects, and whose node this is. Out: the contents of a snapshot, and what could not be honoured. It
//! neither reads nor waits for anything. What comes out depends on the objects that there are and on nothing else: not
//! on the order in which they came, nor on how they were before. The work of a change grows with what it touches and
//! not with the size of the mesh.

mod annotations;
mod batch;
mod capture;
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
use super::{
    DocumentStatus, Entries, MeshProblem, Names, Rules, Snapshot, TrustDomain, destinations::Destinations,
    documents::Documents, policies::Policies, rate_limits::RateLimits, telemetry::TelemetryDocuments,
    token_rules::TokenDocuments,
};
use crate::{
    objects::{Change, ObjectSet},
    rules::{Enforced, RuleKind},
};

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

/// All objects, and what they mean.
#[derive(Debug)]
pub struct Compiler {
    settings: MeshSettings,
    objects: ObjectSet,
    documents: Documents,
    names: Names,
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
    /// What became of every mesh document, where any has changed.
    pub documents: Option<Vec<DocumentStatus>>,
}

/// What a set of objects means.
#[derive(Debug)]
pub struct Compiled {
    /// The contents of the snapshot (generation 0).
    pub snapshot: Snapshot,
    /// Everything that cannot be honoured, ordered by object.
    pub problems: Vec<MeshProblem>,
    /// What became of every mesh document.
    pub documents: Vec<DocumentStatus>,
}

impl Compiler {
    /// A compiler without objects.
    pub fn new(settings: MeshSettings) -> Self {
        Self::enforcing(settings, Enforced::THIS_BUILD)
    }

    /// The same for another build than this one.
    pub(super) fn enforcing(settings: MeshSettings, enforced: Enforced) -> Self {
        Self {
            documents: Documents::new(Arc::clone(&settings.root_namespace), enforced),
            snapshot: Snapshot {
                policies: Policies::new(Arc::clone(&settings.root_namespace)),
                token_documents: TokenDocuments::new(Arc::clone(&settings.root_namespace)),
                destinations: Destinations::new(Arc::clone(&settings.root_namespace)),
                rate_limits: RateLimits::new(Arc::clone(&settings.root_namespace)),
                telemetry: TelemetryDocuments::new(Arc::clone(&settings.root_namespace)),
                ..Snapshot::default()
            },
            settings,
            objects: ObjectSet::default(),
            names: Names::new(),
            pods: Pods::default(),
            services: Services::default(),
            problems: Problems::default(),
        }
    }

    /// The objects that there are.
    pub fn objects(&self) -> &ObjectSet {
        &self.objects
    }

    /// Brings everything up to date.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>) -> Outcome {
        let batch = Batch::take_in(changes, &mut self.objects);
        let Self { settings, objects, documents, names, pods, services, problems, snapshot } = self;
        membership::check_namespaces(&batch, objects, problems);
        let rules = documents.update(&batch.config_maps, objects);
        let rules_before = std::mem::replace(&mut snapshot.rules, documents.in_force().clone());
        for key in &rules {
            let rule_of = |rules: &Rules| rules.get(key).map(Arc::clone);
            let (before, now) = (rule_of(&rules_before), rule_of(&snapshot.rules));
            snapshot.policies.replace(before.as_deref(), now.as_deref());
            snapshot.token_documents.replace(before.as_deref(), now.as_deref());
            snapshot.destinations.replace(before.as_deref(), now.as_deref());
            snapshot.backend_policies.replace(before.as_deref(), now.as_deref());
            snapshot.rate_limits.replace(before.as_deref(), now.as_deref());
            snapshot.fallbacks.replace(before.as_deref(), now.as_deref());
            snapshot.telemetry.replace(before.as_deref(), now.as_deref());
        }
        snapshot.routes.update(&rules, &rules_before, &snapshot.rules);
        if rules.iter().any(|key| key.kind == RuleKind::ServiceEntry) {
            snapshot.entries = Arc::new(Entries::build(&snapshot.rules, names));
        }
        if rules.iter().any(|key| key.kind == RuleKind::PeerAuthentication) {
            let modes = snapshot.modes.updated(&snapshot.rules, &rules, &settings.root_namespace);
            snapshot.modes = Arc::new(modes);
        }
        let pods_changed = pods.update(&batch, &rules, objects, settings, snapshot, problems);
        let services_changed = services.update(&batch, objects, settings, snapshot, problems);
        let changed = !rules.is_empty() || pods_changed || services_changed;
        let (problems, new_problems) = problems.changed();
        let documents = (!batch.config_maps.is_empty()).then(|| documents.status());
        Outcome { snapshot: changed.then(|| snapshot.clone()), problems, new_problems, documents }
    }
}

impl Compiler {
    /// Takes in what names resolve to now. The snapshot, where that changes anything.
    pub fn resolve(&mut self, names: Names) -> Option<Snapshot> {
        self.names = names;
        let entries = Entries::build(&self.snapshot.rules, &self.names);
        (*self.snapshot.entries != entries).then(|| {
            self.snapshot.entries = Arc::new(entries);
            self.snapshot.clone()
        })
    }
}

/// Objects in; what they mean out. Pure.
pub fn compile(objects: &ObjectSet, settings: &MeshSettings) -> Compiled {
    compile_enforcing(objects, settings, Enforced::THIS_BUILD)
}

/// The same for another build than this one.
pub(crate) fn compile_enforcing(objects: &ObjectSet, settings: &MeshSettings, enforced: Enforced) -> Compiled {
    let mut compiler = Compiler::enforcing(settings.clone(), enforced);
    let outcome = compiler.apply(objects.objects().map(Change::Put));
    let (problems, documents) = (outcome.problems.unwrap_or_default(), outcome.documents.unwrap_or_default());
    Compiled { snapshot: compiler.snapshot, problems, documents }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod document_tests;
#[cfg(test)]
mod order_tests;
