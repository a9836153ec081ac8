//! The embedded authority: signs for the agents that can read its root.
//!
//! In: signing requests. Out: leaves for 24 hours. It trusts its caller, which runs in the same process, to hold the
//! identity; it checks the request itself: the signature, the key's kind, and that the only name is the one asked for
//! and of its own trust domain. Whatever else a request asks for (purposes, CA rights, a subject) is not looked at.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use futures_util::future::{BoxFuture, ready};
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, CustomExtension, DistinguishedName, ExtendedKeyUsagePurpose,
    IsCa, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};

use super::{
    directory,
    error::CaError,
    root::{Root, RootPem, random_serial},
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
    root: Root,
    settings: LocalCaSettings,
}

impl LocalCa {
    /// A new root that is never written down: peers are only those with this very object.
    pub fn in_memory(settings: LocalCaSettings) -> Result<Self, CaError> {
        let now = settings.clock.now();
        let pem = RootPem::make(&settings.trust_domain, now)?;
        let nowhere = Path::new("in memory");
        let root = Root::parse(&pem, nowhere, nowhere, &settings.trust_domain, now)?;
        Ok(Self { root, settings })
    }

    /// The root in `directory`, which is made when there is none. Agents that start at once agree on one root.
    ///
    /// Blocks on the disk, and up to ten seconds on another agent's lock.
    pub fn open(directory: &Path, settings: LocalCaSettings) -> Result<Self, CaError> {
        let root = directory::load_or_make(directory, &settings.trust_domain, settings.clock.now())?;
        Ok(Self { root, settings })
    }

    /// The certificate that peers must trust.
    pub fn root_certificate(&self) -> &CertificateDer<'static> {
        &self.root.certificate
    }

    /// When the root ends; leaves never outlive it.
    pub fn root_not_after(&self) -> SystemTime {
        self.root.not_after
    }

    fn sign_now(&self, id: &SpiffeId, request: &CertificateSigningRequestDer<'_>) -> Result<SignedChain, IssueError> {
        if *id.trust_domain() != self.settings.trust_domain {
            let issuer = self.settings.trust_domain.clone();
            return Err(IssueError::TrustDomain { id: id.clone(), issuer });
        }
        let request = checked_request(id, request)?;
        let leaf = self
            .leaf_params(id, &request.public_key)
            .and_then(|params| params.signed_by(&request.public_key, &self.root.issuer))
            .map_err(|e| IssueError::Signing { id: id.clone(), source: Box::new(e) })?;
        Ok(SignedChain { chain: vec![leaf.into()], roots: vec![self.root.certificate.clone()] })
    }

    fn leaf_params(&self, id: &SpiffeId, key: &impl PublicKeyData) -> Result<CertificateParams, rcgen::Error> {
        let now = self.settings.clock.now();
        let mut params = CertificateParams::default();
        // An empty subject makes the name critical (RFC 5280 4.2.1.6), as X509-SVID wants it.
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(id.to_string().try_into()?)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = (now - BACKDATE).into();
        params.not_after = (now + self.settings.leaf_lifetime).min(self.root.not_after).into();
        params.serial_number = Some(random_serial()?);
        params.use_authority_key_identifier_extension = true;
        params.custom_extensions = vec![subject_key_identifier(&params.key_identifier(key))];
        Ok(params)
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

/// Refuses requests that were tampered with, or name anyone but `id`.
fn checked_request(
    id: &SpiffeId,
    request: &CertificateSigningRequestDer<'_>,
) -> Result<CertificateSigningRequestParams, IssueError> {
    let refused = |problem: String| IssueError::Refused { id: id.clone(), problem };
    let request = CertificateSigningRequestParams::from_der(request).map_err(|e| refused(e.to_string()))?;
    if request.public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
        return Err(refused("its key is not ECDSA on P-256".to_owned()));
    }
    match request.params.subject_alt_names.as_slice() {
        [SanType::URI(name)] if name.as_str() == id.to_string() => Ok(request),
        [SanType::URI(name)] => Err(refused(format!("it names {:?}", name.as_str()))),
        names => Err(refused(format!("it has {} names, and must have one URI only", names.len()))),
    }
}

/// RFC 5280 4.2.1.2. rcgen writes it for authorities only.
fn subject_key_identifier(identifier: &[u8]) -> CustomExtension {
    // OCTET STRING of less than 128 bytes: tag, length, content. The identifier has 20.
    let mut content = vec![0x04, u8::try_from(identifier.len()).unwrap_or(u8::MAX)];
    content.extend_from_slice(identifier);
    CustomExtension::from_oid_content(&[2, 5, 29, 14], content)
}

/// Covers clocks that differ between nodes; more would lengthen a stolen certificate's life.
pub(super) const BACKDATE: Duration = Duration::from_secs(60);
