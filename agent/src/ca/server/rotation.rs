//! When roots come, sign and go: a pure function of the state, the clock and the settings.
//!
//! A next root is published long before it signs, so that every peer trusts it by then: whoever was signed for before the
//! publication has been signed for anew. An old root is trusted until the last leaf that it signed has ended. Replicas
//! look at the Secret every [`Pace::look_every`]; what one of them may be behind is added to both waits.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use rustls::pki_types::{CertificateDer, pem::PemObject};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::state::{Phase, RootState, StoredRoot, Time, VERSION};
use crate::{
    ca::{
        error::CaError,
        root::{Root, RootPem},
        signing::Keyring,
    },
    config::authority::SecretRoots,
    mesh::TrustDomain,
};

/// How often replicas look, and how old what they saw may be when they sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    /// Between two looks.
    pub(super) look_every: Duration,
    /// Nothing is signed by what was seen so long ago.
    pub(super) stale_after: Duration,
}

/// What happened to the roots, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There was none.
    Made,
    /// The next one is published.
    Published,
    /// The next one signs from now on.
    Promoted,
    /// An old one is trusted no more.
    Dropped,
    /// The signing root ended before another was ready: peers trust the new one only as they renew.
    Emergency,
    /// Leaves may live longer than before.
    Widened,
}

/// How roots are made and replaced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy<'a> {
    pub(super) domain: &'a TrustDomain,
    pub(super) settings: &'a SecretRoots,
}

impl Pace {
    pub(super) fn of(overlap: Duration) -> Self {
        let look_every = (overlap / 20).clamp(Duration::from_millis(500), Duration::from_secs(30));
        Self { look_every, stale_after: look_every * 4 }
    }
}

impl Policy<'_> {
    /// The first state of a mesh.
    pub(super) fn begin(&self, now: SystemTime) -> Result<RootState, CaError> {
        let roots = vec![self.fresh(now, Phase::Signing {})?];
        Ok(RootState { version: VERSION, overlap_seconds: self.settings.overlap.as_secs(), roots })
    }

    /// Does whatever is due; the steps that it took, none if nothing was.
    pub(super) fn advance(&self, state: &mut RootState, now: SystemTime) -> Result<Vec<Step>, CaError> {
        let mut steps = Vec::new();
        let before = state.roots.len();
        state.roots.retain(|root| !matches!(root.phase, Phase::Retired { trusted_until } if trusted_until.0 <= now));
        if state.roots.len() < before {
            steps.push(Step::Dropped);
        }
        if state.overlap_seconds < self.settings.overlap.as_secs() {
            state.overlap_seconds = self.settings.overlap.as_secs();
            steps.push(Step::Widened);
        }
        let signing = state.signing().map(|root| lifespan(&root.certificate)).transpose()?;
        let ended = signing.is_none_or(|(_, end)| end <= now);
        match state.roots.iter().position(|root| matches!(root.phase, Phase::Next { .. })) {
            Some(next) if ended || is_due(&state.roots[next], now) => {
                self.promote(state, next, now);
                steps.push(if ended { Step::Emergency } else { Step::Promoted });
            }
            None if ended => {
                state.roots.push(self.fresh(now, Phase::Next { signs_from: Time(now) })?);
                self.promote(state, state.roots.len() - 1, now);
                steps.push(Step::Emergency);
            }
            None if signing.is_some_and(|life| self.is_old(life, now)) => {
                let signs_from = Time(whole_seconds(now + state.overlap() + self.lag()));
                state.roots.push(self.fresh(now, Phase::Next { signs_from })?);
                steps.push(Step::Published);
            }
            Some(_) | None => {}
        }
        Ok(steps)
    }

    /// What the state says to sign with and to trust.
    pub(super) fn keyring(&self, state: &RootState, place: &Path, now: SystemTime) -> Result<Keyring, CaError> {
        let unusable = |problem: &str| CaError::Content { path: place.to_owned(), problem: problem.to_owned() };
        let signing = state.signing().ok_or_else(|| unusable("no root signs"))?;
        let key = signing.key.clone().ok_or_else(|| unusable("the root that signs has no key"))?;
        let pem = RootPem { certificate: signing.certificate.clone(), key };
        let root = Root::parse(&pem, place, place, self.domain, now)?;
        let others = state.roots.iter().map(|root| CertificateDer::from_pem_slice(root.certificate.as_bytes()));
        let others = others.collect::<Result<Vec<_>, _>>().map_err(|_| unusable("a root is not a PEM certificate"))?;
        Ok(Keyring::of_root(root).with_roots(others))
    }

    fn promote(&self, state: &mut RootState, next: usize, now: SystemTime) {
        let trusted_until = Time(whole_seconds(now + state.overlap() + self.lag()));
        for (index, root) in state.roots.iter_mut().enumerate() {
            if index == next {
                root.phase = Phase::Signing {};
            } else if root.phase == (Phase::Signing {}) {
                root.phase = Phase::Retired { trusted_until };
                root.key = None;
            }
        }
        // Leaves of the new root live as long as is configured now.
        state.overlap_seconds = self.settings.overlap.as_secs();
    }

    /// How far another replica may be behind.
    fn lag(&self) -> Duration {
        Pace::of(self.settings.overlap).stale_after
    }

    fn is_old(&self, (begin, end): (SystemTime, SystemTime), now: SystemTime) -> bool {
        let (life, left) = (end.duration_since(begin), end.duration_since(now));
        let enough = life.unwrap_or_default() * u32::from(self.settings.rotate_below_percent) / 100;
        left.unwrap_or_default() < enough
    }

    fn fresh(&self, now: SystemTime, phase: Phase) -> Result<StoredRoot, CaError> {
        let RootPem { certificate, key } = RootPem::make(self.domain, now, self.settings.lifetime)?;
        Ok(StoredRoot { certificate, key: Some(key), phase })
    }
}

fn is_due(root: &StoredRoot, now: SystemTime) -> bool {
    matches!(root.phase, Phase::Next { signs_from } if signs_from.0 <= now)
}

/// From when to when a certificate is valid.
fn lifespan(pem: &str) -> Result<(SystemTime, SystemTime), CaError> {
    let unusable = || CaError::Content {
        path: Path::new(super::secret::STATE_KEY).to_owned(),
        problem: "the root that signs is not a PEM certificate".to_owned(),
    };
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| unusable())?;
    let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| unusable())?;
    Ok(super::certificate_times(&parsed))
}

/// The Secret keeps no fractions; what is compared with it must not either.
fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}
