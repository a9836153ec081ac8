//! The CRL file: read at start, and again whenever it changes.
//!
//! It is looked at several times a second, which costs a system call, sees the symbolic link of a mounted ConfigMap or Secret
//! being swapped, and needs nothing of the file system. A file that cannot be read or used is said loudly and counted, and
//! what was read before stays in force. A start without a usable file is refused: the operator has asked for it.

use std::{
    collections::HashSet,
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::RwLock;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tracing::{error, info, warn};

use super::{RevocationStatus, Revocations, list::Lists};
use crate::{
    identify::{Certificates, chain::Signer},
    observe::{CrlLoad, Observer},
};

/// Between two looks. A change is read when two looks saw it alike, so that a file which is just being written is not taken
/// for a broken one: after half a second at most.
const LOOK: Duration = Duration::from_millis(200);
/// About 400,000 entries, which take 50 MB of memory. A list that grows beyond it should be split by intermediates.
const MAX_SIZE: u64 = 16 * 1024 * 1024;

/// Why there is no CRL to start with, or why a new one is not in force.
#[derive(Debug, thiserror::Error)]
pub enum CrlError {
    /// It is not there, or not readable.
    #[error(
        "read the revocation lists in {}: {source}; put the file there, or take tls.crl out of agent.yaml to revoke nobody",
        path.display()
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// It is too long.
    #[error("the revocation lists in {} have more than {} MiB, which is the limit", path.display(), MAX_SIZE >> 20)]
    Size {
        /// The file.
        path: PathBuf,
    },
    /// It is no CRL.
    #[error("the revocation lists in {} cannot be used: {}; have the authority write the file anew", path.display(), problems.join("; "))]
    Content {
        /// The file.
        path: PathBuf,
        /// All that is wrong.
        problems: Vec<String>,
    },
}

/// Follows the file. Nothing is read again unless [`Self::follow`] runs.
#[must_use = "changes of the file are not seen unless this follows it"]
pub struct CrlFile {
    path: PathBuf,
    lists: watch::Sender<Arc<Lists>>,
    status: Arc<RwLock<RevocationStatus>>,
    seen: Option<Stamp>,
    /// What was seen is not read yet.
    pending: bool,
    told_late: bool,
    /// Serial numbers of our own certificates that are revoked, and for which new ones were requested.
    told_own: HashSet<String>,
}

/// What tells one version of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl CrlFile {
    /// Reads the file, which must be there and good. Blocks on the disk.
    pub fn open(path: &Path) -> Result<(Revocations, Self), CrlError> {
        let seen = Stamp::of(path);
        let lists = read(path)?;
        let status = Arc::new(RwLock::new(RevocationStatus { path: Some(path.to_owned()), ..status(&lists) }));
        info!(path = %path.display(), lists = lists.len(), entries = lists.entries(), "revocation lists read");
        let (sender, receiver) = watch::channel(Arc::new(lists));
        let revocations = Revocations { lists: receiver, status: Arc::clone(&status) };
        let path = path.to_owned();
        let (pending, told_late, told_own) = (false, false, HashSet::new());
        Ok((revocations, Self { path, lists: sender, status, seen, pending, told_late, told_own }))
    }

    /// Reads the file again whenever it changes, has certificates of our own that turn out to be revoked replaced, and tells
    /// the metrics. For ever.
    pub async fn follow(mut self, certificates: Certificates, observer: Observer) {
        observer.metrics().crl_load(CrlLoad::Ok);
        let mut changes = certificates.changes();
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let changed = tokio::select! {
                _ = look.tick() => self.look(&certificates, &observer).await,
                Ok(()) = changes.changed() => true,
            };
            if changed {
                self.settle(&certificates, &observer);
            }
            self.tell_late();
        }
    }

    /// Whether other lists are in force now.
    async fn look(&mut self, certificates: &Certificates, observer: &Observer) -> bool {
        let path = self.path.clone();
        // A task that panics would be a defect of the standard library.
        let Ok(stamp) = tokio::task::spawn_blocking(move || Stamp::of(&path)).await else { return false };
        if stamp != self.seen {
            self.seen = stamp;
            self.pending = true;
            return false;
        }
        if !std::mem::take(&mut self.pending) {
            return false;
        }
        let path = self.path.clone();
        let Ok(lists) = tokio::task::spawn_blocking(move || read(&path)).await else { return false };
        observer.metrics().crl_load(if lists.is_ok() { CrlLoad::Ok } else { CrlLoad::Failed });
        match lists {
            Ok(lists) => self.adopt(lists, &certificates.signers()),
            Err(error) => {
                error!(%error, "the revocation lists read before stay in force");
                self.status.write().last_error = Some(error.to_string());
                return false;
            }
        }
        true
    }

    fn adopt(&mut self, mut lists: Lists, known: &[Signer]) {
        let before = Arc::clone(&self.lists.borrow());
        for issuer in lists.keep_from(&before, known) {
            error!(
                path = %self.path.display(), %issuer,
                "a revocation list is not signed by the issuer whose name it has; the one read before stays in force beside it"
            );
        }
        let (path, entries) = (self.path.display(), lists.entries());
        info!(%path, lists = lists.len(), entries, "revocation lists read again");
        *self.status.write() = RevocationStatus { path: Some(self.path.clone()), ..status(&lists) };
        self.told_late = false;
        self.lists.send_replace(Arc::new(lists));
    }

    /// What depends on the lists and on the certificates that this node holds.
    fn settle(&mut self, certificates: &Certificates, observer: &Observer) {
        let lists = Arc::clone(&self.lists.borrow());
        self.replace_own(&lists, certificates);
        let known = certificates.signers();
        // Before the first certificate nothing is known of any issuer.
        let unverified = if known.is_empty() { vec![] } else { lists.unverified(&known) };
        let mut status = self.status.write();
        if status.unverified != unverified {
            for issuer in &unverified {
                warn!(
                    path = %self.path.display(), %issuer,
                    "a revocation list is signed by none of the trusted roots; it counts only for peers with that intermediate"
                );
            }
            status.unverified = unverified;
        }
        observer.metrics().set_crl(status.entries, status.unverified.len());
        observer.metrics().set_crl_next_update(status.next_update);
    }

    /// Once for each certificate: what becomes of the request is the renewal's affair.
    fn replace_own(&mut self, lists: &Lists, certificates: &Certificates) {
        let revoked = certificates.held().into_iter().filter_map(|own| Some((lists.revoked(own.chain())?, own)));
        let revoked: Vec<_> = revoked.collect();
        self.told_own.retain(|serial| revoked.iter().any(|(_, own)| own.serial() == serial));
        for (why, own) in revoked {
            if self.told_own.insert(own.serial().to_owned()) {
                error!(id = %own.id(), %why, "a certificate of this node is revoked: peers refuse it; requesting a new one");
                certificates.request_now(own.id());
            }
        }
    }

    fn tell_late(&mut self) {
        let late = self.status.read().next_update.is_some_and(|next| next < SystemTime::now());
        if late && !self.told_late {
            self.told_late = true;
            warn!(
                path = %self.path.display(),
                "a revocation list is past its next update; it stays in force, and who was revoked since is not known here"
            );
        }
    }
}

fn status(lists: &Lists) -> RevocationStatus {
    RevocationStatus {
        lists: lists.len(),
        entries: lists.entries(),
        next_update: lists.next_update(),
        ..RevocationStatus::default()
    }
}

fn read(path: &Path) -> Result<Lists, CrlError> {
    let failed = |source: io::Error| CrlError::Read { path: path.to_owned(), source };
    let mut pem = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_SIZE + 1).read_to_end(&mut pem)).map_err(failed)?;
    if pem.len() as u64 > MAX_SIZE {
        return Err(CrlError::Size { path: path.to_owned() });
    }
    Lists::parse(&pem).map_err(|problems| CrlError::Content { path: path.to_owned(), problems })
}

impl Stamp {
    /// `None` where there is no file.
    fn of(path: &Path) -> Option<Self> {
        let of = |metadata: Metadata| Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        };
        fs::metadata(path).ok().map(of)
    }
}
