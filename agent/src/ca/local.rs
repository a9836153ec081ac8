//! The embedded authority: signs for the agents that can read its root.
//!
//! In: signing requests. Out: leaves for 24 hours. It trusts its caller, which runs in the same process, to hold the
//! identity; it checks that the identity is of its own trust domain, and the request as `signing.rs` does.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use futures_util::future::{BoxFuture, ready};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};

use super::{
    directory,
    error::CaError,
    root::{ROOT_LIFETIME, Root, RootPem},
    signing::{Keyring, Life},
};
use crate::{
    identify::{Clock, IssueError, Issuer, SignedChain},
    mesh::{SpiffeId, TrustDomain},
};

/// How the embedded authority signs.
#[derive(Clone, Debug)]
pub struct LocalCaSettings {
    /// The only domain that it signs for.
    pub trust_domain: TrustDomain,
    /// How long a leaf is valid from now. Its beginning is a minute earlier, for peers whose clocks are late.
    pub leaf_lifetime: Duration,
    /// Says when now is.
    pub clock: Clock,
}

impl LocalCaSettings {
    /// Leaves for 24 hours by the system's clock.
    pub fn new(trust_domain: TrustDomain) -> Self {
        Self { trust_domain, leaf_lifetime: Duration::from_secs(86_400), clock: Clock::system() }
    }
}

/// An authority within the agent.
pub struct LocalCa {
    root: CertificateDer<'static>,
    keyring: Keyring,
    settings: LocalCaSettings,
}

impl LocalCa {
    /// A new root that is never written down: peers are only those with this very object.
    pub fn in_memory(settings: LocalCaSettings) -> Result<Self, CaError> {
        let now = settings.clock.now();
        let pem = RootPem::make(&settings.trust_domain, now, ROOT_LIFETIME)?;
        let nowhere = Path::new("in memory");
        let root = Root::parse(&pem, nowhere, nowhere, &settings.trust_domain, now)?;
        Ok(Self::with(root, settings))
    }

    /// The root in `directory`, which is made when there is none. Agents that start at once agree on one root.
    ///
    /// Blocks on the disk, and up to ten seconds on another agent's lock.
    pub fn open(directory: &Path, settings: LocalCaSettings) -> Result<Self, CaError> {
        let root = directory::load_or_make(directory, &settings.trust_domain, settings.clock.now())?;
        Ok(Self::with(root, settings))
    }

    fn with(root: Root, settings: LocalCaSettings) -> Self {
        Self { root: root.certificate.clone(), keyring: Keyring::of_root(root), settings }
    }

    /// The certificate that peers must trust.
    pub fn root_certificate(&self) -> &CertificateDer<'static> {
        &self.root
    }

    /// When the root ends; leaves never outlive it.
    pub fn root_not_after(&self) -> SystemTime {
        self.keyring.not_after()
    }

    fn sign_now(&self, id: &SpiffeId, request: &CertificateSigningRequestDer<'_>) -> Result<SignedChain, IssueError> {
        if *id.trust_domain() != self.settings.trust_domain {
            let issuer = self.settings.trust_domain.clone();
            return Err(IssueError::TrustDomain { id: id.clone(), issuer });
        }
        let life = Life { now: self.settings.clock.now(), lifetime: self.settings.leaf_lifetime };
        Ok(self.keyring.sign(id, request, life)?.chain)
    }
}

impl Issuer for LocalCa {
    fn sign<'a>(
        &'a self,
        id: &'a SpiffeId,
        request: &'a CertificateSigningRequestDer<'static>,
    ) -> BoxFuture<'a, Result<SignedChain, IssueError>> {
        Box::pin(ready(self.sign_now(id, request)))
    }
}
