//! The directory of mesh documents beside the API: plain files, such as a mounted ConfigMap.
//!
//! Only documents of mesh configuration come out of it. Everything else in it would contradict the API server, which is the
//! one source of objects, so it is refused.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use crate::{
    config::Problem,
    objects::{Change, Changes, FileSourceError, Object, ObjectKey, ObjectStream, files},
};

/// What the directory holds.
#[derive(Debug)]
pub(super) struct Documents {
    path: PathBuf,
    stream: ObjectStream,
    foreign: BTreeSet<ObjectKey>,
    unreadable: Arc<Vec<Problem>>,
}

impl Documents {
    /// Reads the directory once, and follows it from then on.
    pub(super) async fn open(path: PathBuf) -> Result<Self, FileSourceError> {
        let stream = files::open(path.clone(), "source.kubernetes.documents").await?;
        Ok(Self { path, stream, foreign: BTreeSet::new(), unreadable: Arc::default() })
    }

    /// What is there already.
    pub(super) fn first(&mut self) -> Vec<Change> {
        let changes = self.stream.take();
        self.sort_out(changes)
    }

    /// Waits for changes. For ever, should the directory not be read any more.
    pub(super) async fn next(&mut self) -> Vec<Change> {
        match self.stream.next().await {
            Some(changes) => self.sort_out(changes),
            None => std::future::pending().await,
        }
    }

    /// What cannot be read, or does not belong here.
    pub(super) fn problems(&self) -> impl Iterator<Item = Problem> {
        let directory = self.path.display().to_string();
        let foreign = self.foreign.iter().map(move |key| {
            let message = format!("{key}: comes from the API server; take it out of this directory of mesh documents");
            Problem::of_file(&directory, message)
        });
        self.unreadable.iter().cloned().chain(foreign)
    }

    fn sort_out(&mut self, changes: Changes) -> Vec<Change> {
        if let Some(problems) = changes.problems {
            self.unreadable = problems;
        }
        let mut documents = Vec::new();
        for change in changes.objects {
            match change {
                Change::Put(Object::ConfigMap(map)) if map.is_file() => {
                    documents.push(Change::Put(Object::ConfigMap(map)));
                }
                Change::Put(object) => drop(self.foreign.insert(object.key())),
                Change::Remove(key) if self.foreign.remove(&key) => {}
                Change::Remove(key) => documents.push(Change::Remove(key)),
            }
        }
        documents
    }
}
