//! Objects from a directory of plain Kubernetes YAML or JSON.
//!
//! Every `*.yaml`, `*.yml` and `*.json` below the directory is read, at any depth, in path order. Changes are seen by
//! watching the directories; a slow rescan catches what a watch missed. Nothing is written.

mod assemble;
mod once;
mod overlooked;
mod parse;
mod scan;
mod walk;
mod watch;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::watch as signal;

use self::{
    assemble::Assembled,
    scan::Scanner,
    watch::{Change, Watches},
};
pub(super) use once::{read_once, read_text, unlabelled};

use super::{Changes, ObjectFeed, ObjectStream, stream};

/// Why a directory cannot serve as a source.
#[derive(Debug, thiserror::Error)]
pub enum FileSourceError {
    /// It cannot be listed.
    #[error("cannot read the directory of objects {}: {source}; create it or correct {key}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The key of agent.yaml that names it.
        key: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A path that a command was given cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The reading thread died.
    #[error("reading the directory of objects {} was interrupted; restart the agent", path.display())]
    Interrupted {
        /// The directory.
        path: PathBuf,
    },
}

/// How long changes are waited for.
#[derive(Clone, Copy, Debug)]
struct Timing {
    /// Silence after which a burst of changes is taken to be over.
    settle: Duration,
    /// The same where the last change left nothing unfinished.
    settle_whole: Duration,
    /// How long a burst may go on before it is read anyway.
    longest_burst: Duration,
    /// Between readings without any change seen.
    rescan: Duration,
    /// Between readings while the directory cannot be read, since there is nothing to watch then.
    retry: Duration,
}

/// An editor's save takes a few milliseconds; changes must be in force within one second.
const TIMING: Timing = Timing {
    settle: Duration::from_millis(50),
    settle_whole: Duration::from_millis(2),
    longest_burst: Duration::from_millis(500),
    rescan: Duration::from_secs(10),
    retry: Duration::from_secs(1),
};

/// Reads the directory once and keeps reading it on changes, in a task that ends when the stream is dropped.
///
/// `key` is the one of agent.yaml that names the directory, for messages.
///
/// # Errors
/// The directory cannot be read now. Should it vanish later, the last state stays in force and is reported.
pub(super) async fn open(path: PathBuf, key: &'static str) -> Result<ObjectStream, FileSourceError> {
    open_with(path, key, TIMING).await
}

async fn open_with(path: PathBuf, key: &'static str, timing: Timing) -> Result<ObjectStream, FileSourceError> {
    let (signal, signals) = signal::channel(Change::Whole);
    let mut directory = Directory { scanner: Scanner::new(path.clone(), key), watches: Watches::new(signal) };
    let reading = tokio::task::spawn_blocking(move || directory.read().map(|first| (directory, first)));
    let (directory, first) = reading.await.map_err(|_| FileSourceError::Interrupted { path: path.clone() })??;
    let (feed, stream) = stream(changes(&Assembled::default(), &first));
    tokio::spawn(follow(directory, first, signals, feed, timing));
    Ok(stream)
}

/// A directory with the watches on it.
#[derive(Debug)]
struct Directory {
    scanner: Scanner,
    watches: Watches,
}

impl Directory {
    /// Reads until all directories that were read are watched, so that no change falls between the two.
    fn read(&mut self) -> Result<Assembled, FileSourceError> {
        /// Directories that appear faster than they are watched are left to the rescan.
        const PASSES: usize = 5;
        let mut scan = self.scanner.scan()?;
        for _ in 1..PASSES {
            if !self.watches.follow(&scan.directories) {
                break;
            }
            scan = self.scanner.scan()?;
        }
        scan.contents.problems.extend(self.watches.problem());
        Ok(scan.contents)
    }

    /// Like `read`; a directory that cannot be read any more leaves the last state in force.
    fn reread(&mut self) -> (Assembled, bool) {
        match self.read() {
            Ok(contents) => (contents, true),
            Err(error) => (self.scanner.last_state(&error), false),
        }
    }
}

async fn follow(
    mut directory: Directory,
    mut current: Assembled,
    mut signals: signal::Receiver<Change>,
    feed: ObjectFeed,
    timing: Timing,
) {
    let mut readable = true;
    loop {
        let pause = if readable { timing.rescan } else { timing.retry };
        tokio::select! {
            () = feed.closed() => return,
            Ok(()) = signals.changed() => settle(&mut signals, timing).await,
            () = tokio::time::sleep(pause) => {}
        }
        let reading = tokio::task::spawn_blocking(move || {
            let (contents, readable) = directory.reread();
            let changes = changes(&current, &contents);
            (directory, contents, readable, changes)
        });
        let Ok((back, contents, now_readable, changes)) = reading.await else {
            tracing::error!(
                "reading the directory of objects was interrupted, changes are not seen any more; restart the agent"
            );
            return;
        };
        (directory, current, readable) = (back, contents, now_readable);
        if changes != Changes::default() {
            feed.send(changes);
        }
    }
}

fn changes(before: &Assembled, now: &Assembled) -> Changes {
    let problems = (before.problems != now.problems).then(|| Arc::new(now.problems.clone()));
    Changes { objects: before.set.changes_to(&now.set), problems }
}

/// Waits until a burst of changes is over, or has gone on for too long.
async fn settle(signals: &mut signal::Receiver<Change>, timing: Timing) {
    let quiet = async {
        loop {
            let silence = match *signals.borrow_and_update() {
                Change::Whole => timing.settle_whole,
                Change::Begun => timing.settle,
            };
            if !tokio::time::timeout(silence, signals.changed()).await.is_ok_and(|changed| changed.is_ok()) {
                return;
            }
        }
    };
    // Running into the limit only means to read now.
    let _ = tokio::time::timeout(timing.longest_burst, quiet).await;
}

#[cfg(test)]
mod tests;
