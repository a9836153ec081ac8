//! Who is revoked: the lists in force, for handshakes and for whoever keeps a connection open.
//!
//! In: the PEM file of `tls.crl`, followed by [`CrlFile`]. Out: an answer about a [`VerifiedChain`], and a wake-up when it may
//! have changed. Nothing is fetched, and no OCSP is spoken: the operator puts the file there.

mod file;
pub(super) mod fuzz;
mod list;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use parking_lot::RwLock;
use tokio::sync::watch;

pub use file::{CrlError, CrlFile};
use list::Lists;

use super::chain::VerifiedChain;

/// A certificate that its issuer took back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("certificate {serial} is in the revocation list of its issuer, {issuer}")]
pub struct Revoked {
    /// The certificate's serial number in hexadecimal.
    pub serial: String,
    /// Who signed it.
    pub issuer: Arc<str>,
}

/// The lists in force. Clones are the same; each follows changes by itself.
#[derive(Clone, Debug)]
pub struct Revocations {
    lists: watch::Receiver<Arc<Lists>>,
    status: Arc<RwLock<RevocationStatus>>,
}

/// What is in force, for people. It is empty where no file is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RevocationStatus {
    /// The file.
    pub path: Option<PathBuf>,
    /// Lists in it.
    pub lists: usize,
    /// Certificates that they name.
    pub entries: usize,
    /// When the first of them should have been replaced.
    pub next_update: Option<SystemTime>,
    /// Issuers of lists that no known issuer has signed.
    pub unverified: Vec<Arc<str>>,
    /// Why the file as it is now is not in force; what was read before is.
    pub last_error: Option<String>,
}

impl Revocations {
    /// Nobody is revoked, ever.
    pub fn none() -> Self {
        Self { lists: watch::Sender::default().subscribe(), status: Arc::default() }
    }

    /// Whether a certificate of the chain is revoked now.
    pub fn revoked(&self, chain: &VerifiedChain) -> Option<Revoked> {
        let lists = Arc::clone(&self.lists.borrow());
        lists.revoked(chain)
    }

    /// Waits until other lists are in force than when this was called last. For ever, where no file is configured.
    pub async fn changed(&mut self) {
        if self.lists.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// What is in force.
    pub fn status(&self) -> RevocationStatus {
        self.status.read().clone()
    }
}
