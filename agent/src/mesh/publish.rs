//! The one owner of the generation: compiles each set of objects and publishes what changed.
//!
//! In: an [`ObjectStream`]. Out: the [`SnapshotHandle`] that connections read, and a [`MeshState`] for those who react
//! to changes (enrolment, certificates, metrics, `/config`).

use std::{sync::Arc, time::Instant};

use tokio::sync::watch;

use super::{
    DocumentSettings, DocumentState, DocumentStatus, Documents, MeshProblem, MeshSettings, Snapshot, SnapshotHandle,
    compile,
};
use crate::{
    config::Problem,
    objects::{Change, Changes, Kind, Object, ObjectSet, ObjectStream},
    rules::Enforced,
};

/// What is in force, and what is wrong with its objects.
#[derive(Clone, Debug)]
pub struct MeshState {
    /// The snapshot in force.
    pub snapshot: Arc<Snapshot>,
    /// When objects were last read and compiled, changed or not.
    pub compiled_at: Instant,
    /// How many objects of each kind.
    pub objects: [(Kind, usize); Kind::ALL.len()],
    /// Documents that could not be read.
    pub source_problems: Arc<Vec<Problem>>,
    /// What the compiler could not honour.
    pub mesh_problems: Arc<Vec<MeshProblem>>,
    /// What became of each mesh document.
    pub documents: Arc<Vec<DocumentStatus>>,
}

impl MeshState {
    /// How many problems there are in all.
    pub fn problem_count(&self) -> usize {
        self.source_problems.len() + self.mesh_problems.len()
    }

    /// All of them in words.
    pub fn problems(&self) -> Vec<String> {
        let of_source = self.source_problems.iter().map(ToString::to_string);
        of_source.chain(self.mesh_problems.iter().map(ToString::to_string)).collect()
    }
}

/// Says each problem once, when it appears, and not with every set that still has it.
fn log_new_problems(before: Option<&MeshState>, now: &MeshState) {
    let is_new_source = |problem: &&Problem| before.is_none_or(|state| !state.source_problems.contains(problem));
    let is_new_mesh = |problem: &&MeshProblem| before.is_none_or(|state| !state.mesh_problems.contains(problem));
    for problem in now.source_problems.iter().filter(is_new_source) {
        tracing::warn!("{problem}");
    }
    for problem in now.mesh_problems.iter().filter(is_new_mesh) {
        tracing::warn!("{problem}");
    }
    let is_new_document = |document: &&DocumentStatus| before.is_none_or(|state| !state.documents.contains(document));
    let refused = now.documents.iter().filter(|document| document.state != DocumentState::Accepted);
    for document in refused.filter(is_new_document) {
        match document.leaves_workloads_open() {
            true => tracing::error!("{document}"),
            false => tracing::warn!("{document}"),
        }
    }
}

/// Compiles and publishes.
#[derive(Debug)]
struct Publisher {
    settings: MeshSettings,
    handle: SnapshotHandle,
    objects: ObjectSet,
    source_problems: Arc<Vec<Problem>>,
    documents: Documents,
    document_status: Arc<Vec<DocumentStatus>>,
}

impl Publisher {
    /// Publishes the snapshot after these changes if it differs from the one in force.
    fn publish(&mut self, changes: Changes) -> MeshState {
        self.judge_documents(&changes.objects);
        self.objects.apply(changes.objects);
        if let Some(problems) = changes.problems {
            self.source_problems = problems;
        }
        let (mut snapshot, problems) = compile(&self.objects, &self.settings);
        let current = self.handle.load();
        // Generation 0 is "nothing yet": even an empty first snapshot is an answer.
        if current.generation == 0 || !current.same_contents(&snapshot) {
            snapshot.generation = current.generation + 1;
            self.handle.publish(snapshot);
        }
        MeshState {
            snapshot: self.handle.load(),
            compiled_at: Instant::now(),
            objects: self.objects.counts(),
            source_problems: Arc::clone(&self.source_problems),
            mesh_problems: Arc::new(problems),
            documents: Arc::clone(&self.document_status),
        }
    }

    fn judge_documents(&mut self, changes: &[Change]) {
        let mut any = false;
        for change in changes {
            match change {
                Change::Put(Object::ConfigMap(map)) => drop(self.documents.put(map)),
                Change::Remove(key) if key.kind == Kind::ConfigMap => drop(self.documents.remove(&key.name)),
                Change::Put(_) | Change::Remove(_) => continue,
            }
            any = true;
        }
        if any {
            self.document_status = Arc::new(self.documents.status());
        }
    }
}

/// Publishes the stream's first batch before it returns, then every change from a task that ends with the stream.
///
/// The receiver is marked changed with every batch that was compiled; compare `snapshot.generation` to see whether
/// the snapshot itself is new. Must be called within a tokio runtime.
pub fn run(mut objects: ObjectStream, settings: MeshSettings, handle: SnapshotHandle) -> watch::Receiver<MeshState> {
    let document_settings =
        DocumentSettings { root_namespace: Arc::clone(&settings.root_namespace), enforced: Enforced::THIS_BUILD };
    let mut publisher = Publisher {
        settings,
        handle,
        objects: ObjectSet::default(),
        source_problems: Arc::default(),
        documents: Documents::new(document_settings),
        document_status: Arc::default(),
    };
    let first = publisher.publish(objects.take());
    log_new_problems(None, &first);
    let (sender, receiver) = watch::channel(first);
    tokio::spawn(async move {
        while let Some(changes) = objects.next().await {
            let state = publisher.publish(changes);
            log_new_problems(Some(&sender.borrow()), &state);
            sender.send_replace(state);
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::time::Duration;

    use super::*;
    use crate::objects::{Change, Namespace, Object, ObjectName, Service, ServiceKind, stream};

    fn settings() -> MeshSettings {
        MeshSettings {
            node: "node-a".into(),
            trust_domain: "cluster.local".parse().unwrap(),
            root_namespace: "heddle-system".into(),
        }
    }

    fn put(objects: impl IntoIterator<Item = Object>) -> Changes {
        Changes { objects: objects.into_iter().map(Change::Put).collect(), problems: None }
    }

    fn service(cluster_ip: &str) -> Object {
        Object::Service(Arc::new(Service {
            name: ObjectName::new("shop", "web"),
            kind: ServiceKind::ClusterIp,
            cluster_ips: vec![cluster_ip.parse().unwrap()],
            ports: Vec::new(),
            selector: Default::default(),
            publish_not_ready: false,
        }))
    }

    #[tokio::test]
    async fn generation_grows_only_with_the_contents() {
        let handle = SnapshotHandle::default();
        assert_eq!(handle.load().generation, 0);
        let (feed, stream) = stream(Changes::default());
        let mut state = run(stream, settings(), handle.clone());
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
        let mut state = run(stream, settings(), handle.clone());
        drop(feed);
        assert!(tokio::time::timeout(Duration::from_secs(10), state.changed()).await.unwrap().is_err());
        assert_eq!(handle.load().services().len(), 1);
    }
}
