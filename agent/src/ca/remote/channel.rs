//! The one connection to a remote authority: kept while it is used, opened again when it is needed.
//!
//! Requests that need a connection which is being opened wait for it together and fail together: none waits for the
//! failures of those before it. A connection that was opened with other roots than the file has now is not used again.

use std::{path::PathBuf, sync::Arc};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;

use super::{
    dial::{Dialer, Link},
    error::RemoteError,
    files::{self, Roots},
};
use crate::{config::RemoteCaConfig, identify::TlsSettings};

/// A connection, or the way to one.
pub(super) struct Channel {
    dialer: Arc<Dialer>,
    roots: PathBuf,
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    roots: Roots,
    opening: Opening,
}

type Opening = Shared<BoxFuture<'static, Result<Link, RemoteError>>>;

impl Channel {
    /// Connects nowhere yet.
    pub(super) fn new(config: &RemoteCaConfig, tls: &TlsSettings) -> Self {
        let dialer = Arc::new(Dialer::new(config, tls));
        Self { dialer, roots: config.roots.clone(), kept: Mutex::default() }
    }

    /// An open connection, and whether it was open before.
    pub(super) async fn link(&self) -> Result<(Link, bool), RemoteError> {
        let roots = files::roots(&self.roots).await?;
        let (opening, is_reused) = self.kept_or_new(roots);
        Ok((opening.await?, is_reused))
    }

    /// Does not use this connection again.
    pub(super) fn forget(&self, link: &Link) {
        let mut kept = self.kept.lock();
        let is_kept = |kept: &Kept| matches!(kept.opening.peek(), Some(Ok(other)) if other.is(link));
        if kept.as_ref().is_some_and(is_kept) {
            *kept = None;
        }
    }

    fn kept_or_new(&self, roots: Roots) -> (Opening, bool) {
        let mut slot = self.kept.lock();
        if let Some(kept) = slot.as_ref().filter(|kept| kept.roots == roots) {
            match kept.opening.peek() {
                None => return (kept.opening.clone(), false),
                Some(Ok(link)) if link.is_open() => return (kept.opening.clone(), true),
                Some(_) => {}
            }
        }
        let opening = self.start(roots.clone());
        *slot = Some(Kept { roots, opening: opening.clone() });
        (opening, false)
    }

    /// Opens a connection in a task of its own: those who wait may give up before.
    fn start(&self, roots: Roots) -> Opening {
        let dialer = self.dialer.clone();
        let address = dialer.address().to_string();
        let task = tokio::spawn(async move { dialer.open(&roots).await });
        async move { task.await.unwrap_or(Err(RemoteError::Abandoned { address })) }.boxed().shared()
    }
}
