//! The one owner of the generation: has each batch of changes compiled and publishes what came of it.
//!
//! In: an [`ObjectStream`], and what names of ServiceEntries resolve to. Out: the [`SnapshotHandle`] that connections read, and a [`MeshState`] for those who react
//! to changes (enrolment, certificates, metrics, `/config`).

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    Compiler, DocumentState, DocumentStatus, MeshProblem, MeshSettings, Names, Rules, Snapshot, SnapshotHandle,
};
use crate::{
    config::Problem,
    objects::{Changes, Kind, ObjectStream},
};

/// What is in force, and what is wrong with its objects.
#[derive(Clone, Debug)]
pub struct MeshState {
    /// The snapshot in force.
    pub snapshot: Arc<Snapshot>,
    /// Since when that is.
    pub published: Instant,
    /// What it took to get here.
    pub compiling: Compiling,
    /// How many objects of each kind.
    pub objects: [(Kind, usize); Kind::ALL.len()],
    /// Documents that could not be read.
    pub source_problems: Arc<Vec<Problem>>,
    /// What the compiler could not honour.
    pub mesh_problems: Arc<Vec<MeshProblem>>,
    /// What became of each mesh document.
    pub documents: Arc<Vec<DocumentStatus>>,
}

/// How often was compiled since the agent started, and how long that took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compiling {
    /// Batches of changes.
    pub batches: u64,
    /// Time that they took.
    pub took: Duration,
}

impl MeshState {
    /// How many problems there are in all, those of mesh documents apart.
    pub fn problem_count(&self) -> usize {
        let of_rules = self.snapshot.route_problems().len()
            + self.snapshot.extension_problems().len()
            + self.snapshot.fallback_problems().len()
            + self.snapshot.overlaps().len();
        self.source_problems.len() + self.mesh_problems.len() + of_rules
    }

    /// All of them in words.
    pub fn problems(&self) -> Vec<String> {
        let of_source = self.source_problems.iter().map(ToString::to_string);
        let of_mesh = self.mesh_problems.iter().map(ToString::to_string);
        let of_routes = self.snapshot.route_problems().into_iter().map(|problem| problem.to_string());
        let of_filters = self.snapshot.extension_problems().into_iter().map(|problem| problem.to_string());
        let of_fallbacks = self.snapshot.fallback_problems().into_iter().map(|problem| problem.to_string());
        let of_overlaps = self.snapshot.overlaps().into_iter().map(|overlap| overlap.to_string());
        of_source.chain(of_mesh).chain(of_routes).chain(of_filters).chain(of_fallbacks).chain(of_overlaps).collect()
    }
}

/// The rules in force, for a task that follows them and nothing else of the mesh.
pub struct FollowedRules {
    mesh: watch::Receiver<MeshState>,
    rules: Rules,
}

impl FollowedRules {
    /// Those of this mesh.
    pub fn of(mut mesh: watch::Receiver<MeshState>) -> Self {
        let rules = mesh.borrow_and_update().snapshot.rules().clone();
        Self { mesh, rules }
    }

    /// Those that were in force at the last look.
    pub fn get(&self) -> &Rules {
        &self.rules
    }

    /// Waits until others are in force; `None` when the mesh has ended. None are missed when it is dropped meanwhile.
    pub async fn changed(&mut self) -> Option<&Rules> {
        loop {
            self.mesh.changed().await.ok()?;
            let now = self.mesh.borrow_and_update().snapshot.rules().clone();
            if !now.ptr_eq(&self.rules) {
                self.rules = now;
                return Some(&self.rules);
            }
        }
    }
}

/// Compiles and publishes.
#[derive(Debug)]
struct Publisher {
    handle: SnapshotHandle,
    published: Instant,
    compiler: Compiler,
    compiling: Compiling,
    source_problems: Arc<Vec<Problem>>,
    mesh_problems: Arc<Vec<MeshProblem>>,
    documents: Arc<Vec<DocumentStatus>>,
}

impl Publisher {
    fn new(settings: MeshSettings, handle: SnapshotHandle) -> Self {
        let compiler = Compiler::new(settings);
        let (source_problems, mesh_problems, documents) = Default::default();
        let (published, compiling) = (Instant::now(), Compiling::default());
        Self { handle, published, compiler, compiling, source_problems, mesh_problems, documents }
    }

    /// Publishes the snapshot after these changes if it differs from the one in force.
    fn publish(&mut self, changes: Changes) -> MeshState {
        if let Some(problems) = changes.problems {
            log_new_problems(&self.source_problems, &problems);
            self.source_problems = problems;
        }
        let begun = Instant::now();
        let outcome = self.compiler.apply(changes.objects);
        self.compiling.add(begun);
        outcome.new_problems.iter().for_each(|problem| tracing::warn!("{problem}"));
        if let Some(problems) = outcome.problems {
            self.mesh_problems = Arc::new(problems);
        }
        if let Some(documents) = outcome.documents {
            log_refused_documents(&self.documents, &documents);
            self.documents = Arc::new(documents);
        }
        // Generation 0 is "nothing yet": even an empty first snapshot is an answer.
        let first = (self.handle.load().generation == 0).then(Snapshot::default);
        if let Some(snapshot) = outcome.snapshot.or(first) {
            self.put_in_force(snapshot);
        }
        self.state()
    }

    /// The same after names resolve to something else. Nothing where that decides nothing.
    fn resolve(&mut self, names: Names) -> Option<MeshState> {
        let begun = Instant::now();
        let snapshot = self.compiler.resolve(names);
        self.compiling.add(begun);
        let snapshot = snapshot?;
        self.put_in_force(snapshot);
        Some(self.state())
    }

    fn put_in_force(&mut self, snapshot: Snapshot) {
        let generation = self.handle.load().generation + 1;
        self.handle.publish(Snapshot { generation, ..snapshot });
        self.published = Instant::now();
    }

    fn state(&self) -> MeshState {
        MeshState {
            snapshot: self.handle.load(),
            published: self.published,
            compiling: self.compiling,
            objects: self.compiler.objects().counts(),
            source_problems: Arc::clone(&self.source_problems),
            mesh_problems: Arc::clone(&self.mesh_problems),
            documents: Arc::clone(&self.documents),
        }
    }
}

impl Compiling {
    fn add(&mut self, begun: Instant) {
        self.batches += 1;
        self.took += begun.elapsed();
    }
}

/// Says each problem once, when it appears, and not with every batch that still has it.
fn log_new_problems(before: &[Problem], now: &[Problem]) {
    let known: BTreeSet<String> = before.iter().map(ToString::to_string).collect();
    for problem in now.iter().map(ToString::to_string).filter(|problem| !known.contains(problem)) {
        tracing::warn!("{problem}");
    }
}

/// The same for documents that are not in force as they are written.
fn log_refused_documents(before: &[DocumentStatus], now: &[DocumentStatus]) {
    let is_new = |document: &&DocumentStatus| !before.contains(document);
    let refused = now.iter().filter(|document| document.state != DocumentState::Accepted);
    for document in refused.filter(is_new) {
        match document.leaves_workloads_open() {
            true => tracing::error!("{document}"),
            false => tracing::warn!("{document}"),
        }
    }
}

/// Publishes the stream's first batch before it returns, then every change from a task that ends with the stream. Names
/// whose sender is gone stay as they are.
///
/// The receiver is marked changed with every batch that was compiled; compare `snapshot.generation` to see whether
/// the snapshot itself is new. Must be called within a tokio runtime.
pub fn run(
    mut objects: ObjectStream,
    mut names: watch::Receiver<Names>,
    settings: MeshSettings,
    handle: SnapshotHandle,
) -> watch::Receiver<MeshState> {
    let mut publisher = Publisher::new(settings, handle);
    let first = publisher.publish(objects.take());
    let (sender, receiver) = watch::channel(first);
    tokio::spawn(async move {
        loop {
            let state = tokio::select! {
                changes = objects.next() => match changes {
                    Some(changes) => Some(publisher.publish(changes)),
                    None => return,
                },
                Ok(()) = names.changed() => {
                    let now = names.borrow_and_update().clone();
                    publisher.resolve(now)
                }
            };
            state.map(|state| sender.send_replace(state));
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::time::Duration;

    use super::*;
    use crate::objects::{Change, Namespace, Object, ObjectName, Service, stream};

    fn settings() -> MeshSettings {
        MeshSettings {
            node: "node-a".into(),
            trust_domain: "cluster.local".parse().unwrap(),
            root_namespace: "heddle-system".into(),
        }
    }

    /// Names that never change.
    fn unresolved() -> watch::Receiver<Names> {
        watch::channel(Names::new()).1
    }

    fn put(objects: impl IntoIterator<Item = Object>) -> Changes {
        Changes { objects: objects.into_iter().map(Change::Put).collect(), problems: None }
    }

    fn service(cluster_ip: &str) -> Object {
        Object::Service(Arc::new(Service {
            name: ObjectName::new("shop", "web"),
            cluster_ips: vec![cluster_ip.parse().unwrap()],
            ..Service::default()
        }))
    }

    #[tokio::test]
    async fn generation_grows_only_with_the_contents() {
        let handle = SnapshotHandle::default();
        assert_eq!(handle.load().generation, 0);
        let (feed, stream) = stream(Changes::default());
        let mut state = run(stream, unresolved(), settings(), handle.clone());
        assert_eq!(handle.load().generation, 1, "the first set is in force when run returns, empty or not");

        let mut publish = async |object: Object| {
            feed.send(put([object]));
            tokio::time::timeout(Duration::from_secs(10), state.changed()).await.unwrap().unwrap();
            let seen = state.borrow_and_update().clone();
            assert_eq!(seen.snapshot.generation, handle.load().generation);
            seen
        };
        assert_eq!(publish(service("10.96.0.1")).await.snapshot.generation, 2);
        let irrelevant = Object::Namespace(Arc::new(Namespace { name: "shop".into(), ..Default::default() }));
        let unchanged = publish(irrelevant).await;
        assert_eq!(unchanged.snapshot.generation, 2, "the objects differ, what they mean does not");
        assert_eq!(unchanged.objects[0].1, 1, "but they are counted");
        assert_eq!(publish(service("10.96.0.2")).await.snapshot.generation, 3);
    }

    #[tokio::test]
    async fn task_ends_with_the_stream_and_leaves_the_last_snapshot_in_force() {
        let handle = SnapshotHandle::default();
        let (feed, stream) = stream(put([service("10.96.0.1")]));
        let mut state = run(stream, unresolved(), settings(), handle.clone());
        drop(feed);
        assert!(tokio::time::timeout(Duration::from_secs(10), state.changed()).await.unwrap().is_err());
        assert_eq!(handle.load().services().len(), 1);
    }
}
