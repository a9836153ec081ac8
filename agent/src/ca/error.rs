//! Why there is no embedded authority, and what to do about it.

use std::{io, path::PathBuf, time::SystemTime};

use humantime::format_rfc3339_seconds;

use crate::mesh::TrustDomain;

/// Failures of making or opening the embedded authority.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file or the directory could not be used.
    #[error("{action} {} failed: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// Others could replace the root.
    #[error(
        "directory {} has mode {mode:04o}: others than its owner can replace the root in it; run: chmod 0700 {}",
        path.display(), path.display()
    )]
    DirectoryWritable {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others can read the key, so it may be known already.
    #[error(
        "root key {} has mode {mode:04o}: others than its owner can use it; if nobody has read it run: chmod 0600 {}; \
         otherwise replace the root",
        path.display(), path.display()
    )]
    KeyExposed {
        /// The key's file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another process has kept the lock for long.
    #[error(
        "{} has been locked by another process for {waited} s; find it with: lsof {}",
        path.display(), path.display()
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// How long we tried.
        waited: u64,
    },
    /// Somebody was interrupted, or removed one of the files.
    #[error(
        "{} has {present} but no {absent}: its making was interrupted or a file was removed; restore {absent}, or \
         remove {present} to have a new root made (peers that trust the old one must restart)",
        path.display()
    )]
    HalfWritten {
        /// The directory.
        path: PathBuf,
        /// Found.
        present: &'static str,
        /// Not found.
        absent: &'static str,
    },
    /// A file's content is not what it should be.
    #[error("{} is not usable: {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The root is another mesh's.
    #[error(
        "root {} is of {found:?}, but trustDomain is {expected}; use another directory or correct agent.yaml",
        path.display()
    )]
    TrustDomain {
        /// The root's file.
        path: PathBuf,
        /// Name in the root.
        found: String,
        /// The agent's domain.
        expected: TrustDomain,
    },
    /// Nothing that it signs would be accepted.
    #[error(
        "root {} is valid from {} to {} and not now; correct the clock or replace the root",
        path.display(), format_rfc3339_seconds(*not_before), format_rfc3339_seconds(*not_after)
    )]
    NotValidNow {
        /// The root's file.
        path: PathBuf,
        /// It begins.
        not_before: SystemTime,
        /// It ends.
        not_after: SystemTime,
    },
    /// The cryptography library failed.
    #[error("making a root failed: {0}")]
    Making(rcgen::Error),
}
