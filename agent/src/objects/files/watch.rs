//! Watches on directories, which say no more than "read again".
//!
//! Each directory that was read is watched by its real path, so that a symbolic link which comes to point elsewhere
//! brings its new target with it.

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, CreateKind, ModifyKind},
};
use tokio::sync::watch;

use super::walk::Inode;
use crate::config::Problem;

/// What the last change left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// All is whole: files that their writers have closed, or that were renamed into their places or removed.
    Whole,
    /// There is something that somebody may still be writing.
    Begun,
}

/// The watches that are in place.
#[derive(Debug)]
pub(super) struct Watches {
    watcher: Result<RecommendedWatcher, notify::Error>,
    watched: BTreeMap<PathBuf, Inode>,
    failed: Option<(PathBuf, notify::Error)>,
}

impl Watches {
    /// Signals each change; of several that nobody has seen yet the last one is enough.
    pub(super) fn new(signal: watch::Sender<Change>) -> Self {
        let mut begun = HashSet::new();
        let watcher = notify::recommended_watcher(move |event| {
            if let Some(change) = change(&event, &mut begun) {
                signal.send_replace(change);
            }
        });
        Self { watcher, watched: BTreeMap::new(), failed: None }
    }

    /// Watches exactly these directories. True if one of them was not watched before.
    pub(super) fn follow(&mut self, directories: &BTreeMap<PathBuf, Inode>) -> bool {
        let Ok(watcher) = &mut self.watcher else { return false };
        self.failed = None;
        self.watched.retain(|path, inode| {
            let stays = directories.get(path) == Some(inode);
            if !stays {
                // The kernel has already dropped the watch of a directory that is gone.
                let _ = watcher.unwatch(path);
            }
            stays
        });
        let mut added = false;
        for (path, inode) in directories {
            if self.watched.contains_key(path) {
                continue;
            }
            match watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(path.clone(), *inode);
                    added = true;
                }
                Err(error) => self.failed = Some((path.clone(), error)),
            }
        }
        added
    }

    /// Why changes are seen late, if they are.
    pub(super) fn problem(&self) -> Option<Problem> {
        let late = "changes are only seen by the rescan; raise fs.inotify.max_user_watches and max_user_instances";
        let (path, error) = match (&self.watcher, &self.failed) {
            (Err(error), _) => ("directory of objects".to_owned(), error),
            (Ok(_), Some((path, error))) => (path.display().to_string(), error),
            (Ok(_), None) => return None,
        };
        Some(Problem::of_file(&path, format!("cannot be watched: {error}; {late}")))
    }
}

/// What an event tells, and which files were begun and are not whole yet. Reading the directory must not look like a change of it.
/// Errors, such as an overflow, may hide changes.
fn change(event: &notify::Result<Event>, begun: &mut HashSet<PathBuf>) -> Option<Change> {
    let Ok(event) = event else {
        begun.clear();
        return Some(Change::Begun);
    };
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(_))
        | EventKind::Remove(_) => begun.retain(|path| !event.paths.contains(path)),
        EventKind::Access(_) => return None,
        EventKind::Create(CreateKind::File) | EventKind::Modify(ModifyKind::Data(_)) => {
            begun.extend(event.paths.iter().cloned());
        }
        _ => return Some(Change::Begun),
    }
    Some(if begun.is_empty() { Change::Whole } else { Change::Begun })
}
