//! The endpoint's own certificate: signed by the same keys, renewed at half its life and whenever another key signs.
//!
//! It is exchanged in place: open connections go on with what they began with, new ones get the new one.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::{
    pki_types::PrivateKeyDer,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::time::sleep;
use tracing::{info, warn};

use super::roots::{RootError, Roots};
use crate::{
    ca::signing::Life,
    identify::{Clock, TlsSettings},
    observe::{AuthorityMetrics, SignedFor},
};

/// The certificate in use. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct ServingCertificate(Arc<Resolver>);

#[derive(Debug, Default)]
struct Resolver(ArcSwapOption<CertifiedKey>);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
enum ServingError {
    #[error(transparent)]
    Root(#[from] RootError),
    #[error("signing it failed: {0}")]
    Signing(#[from] rcgen::Error),
    #[error("the TLS library does not take it: {0}")]
    Tls(#[from] rustls::Error),
}

impl ServingCertificate {
    /// For the TLS configuration.
    pub fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::clone(&self.0) as _
    }

    /// Keeps it valid for ever; `ready` is called with each new one.
    pub async fn keep(
        self,
        roots: Roots,
        (names, lifetime): (Vec<String>, Duration),
        tls: TlsSettings,
        metrics: AuthorityMetrics,
        ready: impl Fn(),
    ) {
        let mut changes = roots.changes();
        loop {
            changes.borrow_and_update();
            let pause = match self.renew(&roots, &names, lifetime, &tls) {
                Ok(not_after) => {
                    info!(until = %humantime::format_rfc3339_seconds(not_after), "serving with a new certificate");
                    metrics.certificate(SignedFor::Own);
                    metrics.set_serving_end(not_after);
                    ready();
                    not_after.duration_since(tls.clock().now()).unwrap_or_default() / 2
                }
                Err(ServingError::Root(RootError::None)) => LOOK_AGAIN,
                Err(error) => {
                    warn!("no new certificate for this endpoint: {error}");
                    LOOK_AGAIN
                }
            };
            tokio::select! {
                _ = changes.changed() => {}
                () = sleep(pause.clamp(SHORTEST, LOOK_AGAIN_AT_LEAST)) => {}
            }
        }
    }

    fn renew(
        &self,
        roots: &Roots,
        names: &[String],
        lifetime: Duration,
        tls: &TlsSettings,
    ) -> Result<SystemTime, ServingError> {
        let clock: &Clock = tls.clock();
        let keyring = roots.current(clock)?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let (chain, not_after) = keyring.sign_server(names, &key, Life { now: clock.now(), lifetime })?;
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let certified = CertifiedKey::from_der(chain, key, tls.provider())?;
        self.0.0.store(Some(Arc::new(certified)));
        Ok(not_after)
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

/// After a failure.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// A root that is about to end must not make this spin.
const SHORTEST: Duration = Duration::from_secs(1);

/// Sleep does not see a clock that is set or a machine that was suspended; a certificate too many costs nothing.
const LOOK_AGAIN_AT_LEAST: Duration = Duration::from_secs(3600);
