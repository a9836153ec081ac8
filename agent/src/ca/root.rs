//! A root: a P-256 key and the self-signed certificate that peers trust.
//!
//! In: a trust domain, or the PEM of an earlier root. Out: a [`Root`] that can sign. Files are `directory.rs`'s, what
//! is signed is `signing.rs`'s.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use rustls::{
    crypto::SecureRandom,
    pki_types::{CertificateDer, pem::PemObject},
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::error::CaError;
use crate::mesh::TrustDomain;

/// Signs. Without `Debug`, so that no log line can hold it.
pub(super) struct Root {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) not_after: SystemTime,
    pub(super) issuer: Issuer<'static, KeyPair>,
}

/// A root as its two files hold it.
pub(super) struct RootPem {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl RootPem {
    /// Makes a new root that begins at `now`.
    pub(super) fn make(domain: &TrustDomain, now: SystemTime, lifetime: Duration) -> Result<Self, CaError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(CaError::Making)?;
        let certificate =
            root_params(domain, now, lifetime).and_then(|params| params.self_signed(&key)).map_err(CaError::Making)?;
        Ok(Self { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

impl Root {
    /// Reads and checks a root; `certificate_path` and `key_path` are for the messages.
    pub(super) fn parse(
        pem: &RootPem,
        certificate_path: &Path,
        key_path: &Path,
        domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<Self, CaError> {
        let content = |path: &Path, problem: String| CaError::Content { path: path.to_owned(), problem };
        let bad = |problem: String| content(certificate_path, problem);
        let certificate = CertificateDer::from_pem_slice(pem.certificate.as_bytes())
            .map_err(|e| bad(format!("not a PEM certificate: {e}")))?;
        let key = KeyPair::from_pem(&pem.key)
            .map_err(|e| content(key_path, format!("not a PKCS#8 private key in PEM: {e}")))?;
        let (_, parsed) =
            X509Certificate::from_der(&certificate).map_err(|e| bad(format!("not an X.509 certificate: {e}")))?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(bad(format!("it is not the certificate of the key in {}", key_path.display())));
        }
        if !parsed.is_ca() {
            return Err(bad("it may not sign certificates (basicConstraints CA is not set)".to_owned()));
        }
        check_domain(&parsed, domain, certificate_path)?;
        let not_after = check_time(&parsed, now, certificate_path)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|e| bad(e.to_string()))?;
        Ok(Self { certificate, not_after, issuer })
    }
}

/// 128 random bits, positive and never zero (RFC 5280 4.1.2.2).
pub(super) fn random_serial() -> Result<SerialNumber, rcgen::Error> {
    let mut bytes = [0; 16];
    let random: &dyn SecureRandom = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| rcgen::Error::RingUnspecified)?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn root_params(domain: &TrustDomain, now: SystemTime, lifetime: Duration) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, domain.as_str());
    params.subject_alt_names = vec![SanType::URI(format!("spiffe://{domain}").try_into()?)];
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = (now - super::signing::BACKDATE).into();
    params.not_after = (now + lifetime).into();
    params.serial_number = Some(random_serial()?);
    Ok(params)
}

/// A root that names a trust domain must name ours; roots of other makers may name none.
pub(super) fn check_domain(root: &X509Certificate<'_>, domain: &TrustDomain, path: &Path) -> Result<(), CaError> {
    let names = root
        .subject_alternative_name()
        .map_err(|e| CaError::Content { path: path.to_owned(), problem: format!("its names are not readable: {e}") })?;
    let ours = format!("spiffe://{domain}");
    let uris = names.iter().flat_map(|extension| &extension.value.general_names).filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    match uris.into_iter().find(|uri| *uri != ours) {
        Some(found) => {
            Err(CaError::TrustDomain { path: path.to_owned(), found: found.to_owned(), expected: domain.clone() })
        }
        None => Ok(()),
    }
}

pub(super) fn check_time(root: &X509Certificate<'_>, now: SystemTime, path: &Path) -> Result<SystemTime, CaError> {
    let time = |seconds: i64| SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    let (not_before, not_after) =
        (time(root.validity().not_before.timestamp()), time(root.validity().not_after.timestamp()));
    if now < not_before || not_after <= now {
        return Err(CaError::NotValidNow { path: path.to_owned(), not_before, not_after });
    }
    Ok(not_after)
}

/// 3652 days: ten years and two leap days.
pub(super) const ROOT_LIFETIME: Duration = Duration::from_secs(3652 * 86_400);
