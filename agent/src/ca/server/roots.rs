//! What is signed with and trusted now, and the task that keeps it so.
//!
//! In: the place of the keys. Out: [`Roots::current`]. What a look finds and cannot use is refused loudly, and what was in
//! force stays so; out of a Secret it stays only for a while, since another replica may have gone on.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwapOption;
use kube::Client;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tracing::{error, info};

use super::{
    files::{self, Content, Found},
    publish::publish,
    rotation::{Pace, Policy},
    secret::{self, SecretError},
};
use crate::{
    ca::{error::CaError, signing::Keyring},
    config::authority::{ObjectPlace, RootConfig, SecretRoots},
    identify::Clock,
    mesh::TrustDomain,
    observe::AuthorityMetrics,
};

/// What is signed with now. Clones are the same.
#[derive(Clone, Default)]
pub struct Roots(Arc<Shared>);

#[derive(Default)]
struct Shared {
    current: ArcSwapOption<Current>,
    changed: watch::Sender<()>,
}

struct Current {
    keyring: Arc<Keyring>,
    /// Nothing is signed after this without another look.
    usable_until: Option<Instant>,
}

/// Where the keys come from, and who is told of them.
pub struct RootSource {
    /// The place of the keys.
    pub place: RootConfig,
    /// The ConfigMap for the certificates.
    pub publish: Option<ObjectPlace>,
    /// The domain that they must be of.
    pub domain: TrustDomain,
    /// The API server.
    pub client: Client,
    /// Says when now is.
    pub clock: Clock,
    /// Where it is told.
    pub metrics: AuthorityMetrics,
}

/// Why nothing can be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// No look has succeeded yet.
    #[error("the authority has no root yet; its log says why")]
    None,
    /// The last look is too long ago.
    #[error("the authority could not read its root for too long; its log says why")]
    Stale,
    /// It has ended.
    #[error("the root of the authority has ended; its log says more")]
    Ended,
}

/// What is in the way of a look.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Files(#[from] CaError),
    #[error("reading the directory of keys was interrupted")]
    Interrupted,
}

impl Roots {
    /// What is signed with now.
    pub(super) fn current(&self, clock: &Clock) -> Result<Arc<Keyring>, RootError> {
        let current = self.0.current.load_full().ok_or(RootError::None)?;
        if current.usable_until.is_some_and(|until| Instant::now() >= until) {
            return Err(RootError::Stale);
        }
        if current.keyring.not_after() <= clock.now() {
            return Err(RootError::Ended);
        }
        Ok(Arc::clone(&current.keyring))
    }

    /// Wakes when another key signs, or other roots are trusted.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// Puts it in force; whether anything is different then.
    pub(super) fn put(&self, keyring: &Arc<Keyring>, usable_until: Option<Instant>) -> bool {
        let before = self.0.current.swap(Some(Arc::new(Current { keyring: Arc::clone(keyring), usable_until })));
        let same = before.is_some_and(|before| {
            before.keyring.signer() == keyring.signer() && before.keyring.roots() == keyring.roots()
        });
        if !same {
            self.0.changed.send_replace(());
        }
        !same
    }

    /// Looks at the place of the keys again and again; `report` is told the outcome of each look, in words if it failed.
    pub async fn follow(self, source: RootSource, report: impl Fn(Result<(), &str>)) {
        let mut last = None;
        match source.place.clone() {
            RootConfig::Secret(settings) => {
                let pace = Pace::of(settings.overlap);
                loop {
                    let began = Instant::now();
                    let found = look_at_secret(&source, &settings).await.map(Arc::new);
                    self.settle(&source, found, Some(began + pace.stale_after), &mut last, &report).await;
                    sleep(spread(pace.look_every)).await;
                }
            }
            RootConfig::Files { path, generate } => {
                let mut known = Known::default();
                loop {
                    let found = look_at_files(&source, &path, generate, &mut known).await;
                    self.settle(&source, found, None, &mut last, &report).await;
                    sleep(FILES_EVERY).await;
                }
            }
        }
    }

    async fn settle(
        &self,
        source: &RootSource,
        found: Result<Arc<Keyring>, LookError>,
        usable_until: Option<Instant>,
        last: &mut Option<String>,
        report: &impl Fn(Result<(), &str>),
    ) {
        let problem = match found {
            Ok(keyring) => {
                source.metrics.set_roots(keyring.not_after(), keyring.roots().len());
                let changed = self.put(&keyring, usable_until);
                // The Secret is one for all replicas. Directories may differ for a minute, and replicas that see different
                // ones must not write over each other all the time.
                let repeat = matches!(source.place, RootConfig::Secret(_));
                publish(source, &keyring, changed || repeat || last.is_some()).await.err()
            }
            Err(error) => Some(error.to_string()),
        };
        source.metrics.set_root_problem(problem.is_some());
        match &problem {
            // Once for each problem, not with every look.
            Some(problem) if last.as_ref() != Some(problem) => error!("{problem}; what was in force stays so"),
            None if last.is_some() => info!("the roots are well again"),
            _ => {}
        }
        *last = problem;
        match self.0.current.load().is_some() {
            true => report(Ok(())),
            false => report(Err(last.as_deref().unwrap_or("not yet"))),
        }
    }
}

/// What the last look at a directory found.
#[derive(Default)]
struct Known {
    content: Option<Box<Content>>,
    keyring: Option<Arc<Keyring>>,
}

async fn look_at_secret(source: &RootSource, settings: &SecretRoots) -> Result<Keyring, LookError> {
    let policy = Policy { domain: &source.domain, settings };
    Ok(secret::look(&source.client, &policy, source.clock.now()).await?)
}

async fn look_at_files(
    source: &RootSource,
    path: &Path,
    generate: bool,
    known: &mut Known,
) -> Result<Arc<Keyring>, LookError> {
    let (directory, domain, now) = (PathBuf::from(path), source.domain.clone(), source.clock.now());
    let found = blocking(move || files::read(&directory)).await?;
    let Found::Files(content) = found else {
        // A root that is made once is read once.
        if let (None, Some(keyring)) = (&known.content, &known.keyring) {
            return Ok(Arc::clone(keyring));
        }
        let directory = PathBuf::from(path);
        let keyring = blocking(move || files::embedded(&directory, generate, &domain, now)).await?;
        let keyring = Arc::new(keyring);
        *known = Known { content: None, keyring: Some(Arc::clone(&keyring)) };
        return Ok(keyring);
    };
    if let (Some(before), Some(keyring)) = (&known.content, &known.keyring)
        && *before == content
    {
        return Ok(Arc::clone(keyring));
    }
    let keyring = Arc::new(content.keyring(&domain, now)?);
    info!(path = %path.display(), roots = keyring.roots().len(), "the keys of the directory are in force");
    *known = Known { content: Some(content), keyring: Some(Arc::clone(&keyring)) };
    Ok(keyring)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CaError> + Send + 'static,
) -> Result<T, LookError> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(|_| LookError::Interrupted)??)
}

/// Replicas that were started together do not stay together.
fn spread(pause: Duration) -> Duration {
    pause.mul_f64(0.8 + 0.2 * fastrand::f64())
}

/// The kubelet itself takes a minute to bring a Secret into a volume; four small files are read in no time.
const FILES_EVERY: Duration = Duration::from_secs(2);
