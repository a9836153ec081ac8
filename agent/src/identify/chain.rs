//! Verifying a peer's chain, and what remains of it afterwards.
//!
//! In: the chain that a peer shows, the roots, the time, and what the certificate is to be used for. Out: a
//! [`VerifiedChain`] that knows the root which vouches for the peer and, of each certificate on the way there, what a
//! revocation list would name; or an error of rustls. Names are not read here, and revocation is not asked for.

use std::{fmt, sync::Arc, time::SystemTime};

use rustls::{
    CertificateError, ExtendedKeyPurpose, OtherError,
    pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime},
};
use webpki::{Cert, EndEntityCert, KeyUsage, VerifiedPath};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::roots::{Roots, time};
use crate::observe::RootName;

/// What a certificate is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usage {
    /// The peer dialled.
    Client,
    /// The peer was dialled.
    Server,
}

/// A chain that led to a trusted root when it was verified.
#[derive(Debug, PartialEq, Eq)]
pub struct VerifiedChain {
    root: RootName,
    not_after: SystemTime,
    /// From the leaf to the last intermediate.
    links: Box<[Link]>,
}

/// One certificate of a chain, as its issuer's revocation lists name it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) serial: Box<[u8]>,
    pub(super) issuer: Signer,
}

/// Who signs certificates and revocation lists.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Signer {
    /// Its name in DER, without the outer tag.
    pub(super) subject: Arc<[u8]>,
    /// Its public key, a SubjectPublicKeyInfo in DER.
    pub(super) key: Arc<[u8]>,
}

impl VerifiedChain {
    /// The root that vouches for the peer.
    pub fn root(&self) -> RootName {
        self.root
    }

    /// When the first certificate of the chain ends.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Who signed its certificates.
    pub(super) fn signers(&self) -> Vec<Signer> {
        self.links.iter().map(|link| link.issuer.clone()).collect()
    }

    pub(super) fn links(&self) -> &[Link] {
        &self.links
    }

    /// Verifies signatures, times, constraints and purpose from the leaf up to one of the roots.
    pub(super) fn verify(
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        roots: &Roots,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
        now: UnixTime,
        usage: Usage,
    ) -> Result<Self, rustls::Error> {
        let leaf = EndEntityCert::try_from(leaf).map_err(|error| refused(error, usage))?;
        let path = leaf
            .verify_for_usage(algorithms, roots.anchors(), intermediates, now, usage.as_webpki(), None, None)
            .map_err(|error| refused(error, usage))?;
        Self::of(&path, roots)
    }

    fn of(path: &VerifiedPath<'_>, roots: &Roots) -> Result<Self, rustls::Error> {
        let root = roots.behind(path.anchor()).ok_or(CertificateError::UnknownIssuer)?;
        let leaf: &Cert<'_> = path.end_entity();
        let certificates: Vec<&Cert<'_>> = std::iter::once(leaf).chain(path.intermediate_certificates()).collect();
        // The root's own end plays no part, as in verification: an authority signs nothing that outlives it.
        let mut not_after = end(&leaf.der())?;
        let mut links = Vec::with_capacity(certificates.len());
        for (index, certificate) in certificates.iter().enumerate() {
            let issuer = match certificates.get(index + 1) {
                Some(issuer) => {
                    let key = issuer.subject_public_key_info();
                    Signer { subject: issuer.subject().into(), key: key.as_ref().into() }
                }
                None => root.issuer.clone(),
            };
            not_after = not_after.min(end(&certificate.der())?);
            links.push(Link { serial: certificate.serial().into(), issuer });
        }
        Ok(Self { root: root.name, not_after, links: links.into() })
    }
}

impl Usage {
    fn as_webpki(self) -> KeyUsage {
        match self {
            Self::Client => KeyUsage::client_auth(),
            Self::Server => KeyUsage::server_auth(),
        }
    }

    fn as_rustls(self) -> ExtendedKeyPurpose {
        match self {
            Self::Client => ExtendedKeyPurpose::ClientAuth,
            Self::Server => ExtendedKeyPurpose::ServerAuth,
        }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, key } = self;
        write!(f, "Signer {{ subject: {} bytes, key: {} bytes }}", subject.len(), key.len())
    }
}

fn end(certificate: &CertificateDer<'_>) -> Result<SystemTime, rustls::Error> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| unreadable())?;
    Ok(time(parsed.validity().not_after.timestamp()))
}

pub(super) fn unreadable() -> rustls::Error {
    CertificateError::BadEncoding.into()
}

/// webpki's error in the words of rustls, which decide the alert that the peer is sent.
///
/// Roots of one mesh have one subject, so the other of two roots shows as a signature that does not fit. Both are said to be
/// what they are: no trusted root signed this.
fn refused(error: webpki::Error, usage: Usage) -> rustls::Error {
    use webpki::Error as E;
    let problem = match error {
        E::BadDer | E::BadDerTime | E::TrailingData(_) => CertificateError::BadEncoding,
        E::UnknownIssuer | E::InvalidSignatureForPublicKey => CertificateError::UnknownIssuer,
        E::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after },
        E::CertNotValidYet { time, not_before } => CertificateError::NotValidYetContext { time, not_before },
        E::RequiredEkuNotFoundContext(context) => CertificateError::InvalidPurposeContext {
            required: usage.as_rustls(),
            presented: context.present.iter().map(|oid| purpose(oid)).collect(),
        },
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    problem.into()
}

/// RFC 5280 4.2.1.12.
fn purpose(oid: &[usize]) -> ExtendedKeyPurpose {
    match oid {
        [1, 3, 6, 1, 5, 5, 7, 3, 1] => ExtendedKeyPurpose::ServerAuth,
        [1, 3, 6, 1, 5, 5, 7, 3, 2] => ExtendedKeyPurpose::ClientAuth,
        other => ExtendedKeyPurpose::Other(other.to_vec()),
    }
}
