//! A trial of keys before they are used: a leaf is signed with them, and verified as a peer of the mesh would.
//!
//! It finds what no look at the files finds: an issuer's name that is written differently, a path that may not be so long,
//! a certificate of the chain that is missing.

use std::time::SystemTime;

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use rustls::{
    RootCertStore,
    client::verify_server_cert_signed_by_trust_anchor,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, UnixTime},
    server::ParsedCertificate,
};

use crate::{
    ca::signing::{Keyring, Life},
    mesh::{SpiffeId, TrustDomain},
};

/// Which of the keyring's roots verifies what it signs, or why peers would refuse that.
pub(super) fn prove(keyring: &Keyring, domain: &TrustDomain, now: SystemTime) -> Result<usize, String> {
    let chain = trial_chain(keyring, domain, now).map_err(|e| format!("a trial signature failed: {e}"))?;
    let since = now.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| "the clock is before 1970".to_owned())?;
    let now = UnixTime::since_unix_epoch(since);
    let mut last = None;
    for (index, root) in keyring.roots().iter().enumerate() {
        let mut store = RootCertStore::empty();
        store.add(root.clone()).map_err(|e| format!("root {} cannot be trusted: {e}", index + 1))?;
        match verify(&chain, &store, now) {
            Ok(()) => return Ok(index),
            Err(error) => last = Some(error),
        }
    }
    let reason = last.map_or_else(|| "there is no root".to_owned(), |error| error.to_string());
    Err(format!("peers would refuse what it signs: {reason}; check that the chain leads to a root"))
}

fn verify(chain: &[CertificateDer<'_>], roots: &RootCertStore, now: UnixTime) -> Result<(), rustls::Error> {
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
    let (leaf, rest) = chain.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
    verify_server_cert_signed_by_trust_anchor(&ParsedCertificate::try_from(leaf)?, roots, rest, now, algorithms)
}

fn trial_chain(
    keyring: &Keyring,
    domain: &TrustDomain,
    now: SystemTime,
) -> Result<Vec<CertificateDer<'static>>, Box<dyn std::error::Error + Send + Sync>> {
    let id = SpiffeId::new(domain.clone(), "heddle-system".into(), "trial".into());
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(id.to_string().try_into()?)];
    let request = params.serialize_request(&key)?.into();
    let life = Life { now, lifetime: std::time::Duration::from_secs(60) };
    Ok(keyring.sign(&id, &request, life)?.chain.chain)
}
