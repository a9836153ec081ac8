//! The one owner of the generation: compiles each set of objects and publishes what changed.
//!
//! In: an [`ObjectStream`]. Out: the [`SnapshotHandle`] that connections read, and a [`MeshState`] for those who react
//! to changes (enrolment, certificates, metrics, `/config`).

use std::{sync::Arc, time::Instant};

use tokio::sync::watch;

use super::{MeshProblem, MeshSettings, Snapshot, SnapshotHandle, compile};
use crate::{
    config::Problem,
    objects::{Kind, ObjectSet, ObjectStream},
};

/// What is in force, and what is wrong with its objects.
#[derive(Clone, Debug)]
pub struct MeshState {
    /// The snapshot in force.
    pub snapshot: Arc<Snapshot>,
    /// When objects were last read and compiled, changed or not.
    pub compiled_at: Instant,
    /// How many objects of each kind.
    pub objects: [(Kind, usize); 4],
    /// Documents that could not be read.
    pub source_problems: Arc<Vec<Problem>>,
    /// What the compiler could not honour.
    pub mesh_problems: Arc<Vec<MeshProblem>>,
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

/// Compiles and publishes.
#[derive(Debug)]
struct Publisher {
    settings: MeshSettings,
    handle: SnapshotHandle,
}

impl Publisher {
    /// Publishes the snapshot of these objects if it differs from the one in force.
    fn publish(&self, objects: &ObjectSet) -> MeshState {
        let (mut snapshot, problems) = compile(objects, &self.settings);
        let current = self.handle.load();
        // Generation 0 is "nothing yet": even an empty first snapshot is an answer.
        if current.generation == 0 || !current.same_contents(&snapshot) {
            snapshot.generation = current.generation + 1;
            self.handle.publish(snapshot);
        }
        MeshState {
            snapshot: self.handle.load(),
            compiled_at: Instant::now(),
            objects: objects.counts(),
            source_problems: Arc::new(objects.problems.clone()),
            mesh_problems: Arc::new(problems),
        }
    }
}

/// Publishes the stream's first set before it returns, then every change from a task that ends with the stream.
///
/// The receiver is marked changed with every set that was compiled; compare `snapshot.generation` to see whether
/// the snapshot itself is new. Must be called within a tokio runtime.
pub fn run(mut objects: ObjectStream, settings: MeshSettings, handle: SnapshotHandle) -> watch::Receiver<MeshState> {
    let publisher = Publisher { settings, handle };
    let (sender, receiver) = watch::channel(publisher.publish(&objects.current()));
    tokio::spawn(async move {
        while let Some(set) = objects.next().await {
            sender.send_replace(publisher.publish(&set));
        }
    });
    receiver
}
