//! Whom a connection is accepted from: the verifiers that rustls calls with the peer's chain.
//!
//! In: the peer's chain, the trusted roots, the trust domains, and at a client the identities that it expects. Out: an
//! answer for rustls, or a [`Refusal`] that says what was found. A chain is checked before its names are read.
//!
//! Of the names, exactly one URI is an identity (X509-SVID 2 and 5.2). Names of other kinds (DNS, IP) are passed over,
//! as Istio's ztunnel does and X509-SVID allows: they grant nothing. ztunnel would also accept a certificate with
//! several URIs of which one fits; no issuer of Istio makes one, SPIFFE forbids it, and whom it proves would be a
//! matter of order.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::tls::TlsSettings;
use crate::mesh::{SpiffeId, SpiffeIdError, TrustDomain};

/// The agent's own trust domain, and others that name the same mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustDomains {
    own: TrustDomain,
    aliases: Arc<[TrustDomain]>,
}

impl TrustDomains {
    /// `own`, and `aliases` of which peers are accepted likewise.
    pub fn new(own: TrustDomain, aliases: impl IntoIterator<Item = TrustDomain>) -> Self {
        Self { own, aliases: aliases.into_iter().collect() }
    }

    /// The domain of this agent's identities.
    pub fn own(&self) -> &TrustDomain {
        &self.own
    }

    /// The own domain and its aliases: names of one mesh.
    pub fn names(&self) -> impl Iterator<Item = &TrustDomain> {
        std::iter::once(&self.own).chain(self.aliases.iter())
    }

    fn accept(&self, domain: &TrustDomain) -> bool {
        *domain == self.own || self.aliases.contains(domain)
    }
}

/// Why a certificate with a good chain is not accepted. The peer is only told `certificate_unknown`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// None or several URIs.
    #[error("it has {found} URI names, and only exactly one is an identity")]
    UriNames {
        /// How many.
        found: usize,
    },
    /// The URI is not an identity of a service account.
    #[error("its name is not an identity of a service account: {0}")]
    NotIdentity(SpiffeIdError),
    /// Another mesh's identity.
    #[error(
        "{found} is not of trust domain {expected}, nor of one of its {aliases} aliases; see trustDomain in agent.yaml"
    )]
    TrustDomain {
        /// The peer's identity.
        found: SpiffeId,
        /// This agent's domain.
        expected: TrustDomain,
        /// How many other domains would have done.
        aliases: usize,
    },
    /// A good identity, but not one that was dialled.
    #[error("{found} answered where {} was expected", list(expected))]
    Unexpected {
        /// The peer's identity.
        found: SpiffeId,
        /// Those that the destination may have.
        expected: Arc<[SpiffeId]>,
    },
}

impl Refusal {
    /// The refusal in an error of rustls, which shows it only in its debug form.
    pub(super) fn within(problem: &CertificateError) -> Option<&Self> {
        match problem {
            CertificateError::Other(other) => other.0.downcast_ref(),
            _ => None,
        }
    }
}

impl From<Refusal> for rustls::Error {
    fn from(refusal: Refusal) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refusal))))
    }
}

/// A server's check of its clients: chain, validity, purpose, and a single identity of an accepted trust domain.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    domains: TrustDomains,
}

impl ClientVerifier {
    /// Fails when there is no root.
    pub(super) fn new(settings: &TlsSettings, roots: Arc<RootCertStore>) -> Result<Self, rustls::Error> {
        let chain = WebPkiClientVerifier::builder_with_provider(roots, settings.provider().clone())
            // A hint would tell an unauthenticated caller who our CA is; peers have one certificate to offer anyway.
            .clear_root_hint_subjects()
            .build()
            .map_err(|e| rustls::Error::General(e.to_string()))?;
        Ok(Self { chain, domains: settings.domains().clone() })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now).map_err(untrusted)?;
        identity(end_entity, &self.domains)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// A client's check of a server: the same, and the identity is one of those expected. The name dialled plays no part.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
    domains: TrustDomains,
    expected: Arc<[SpiffeId]>,
}

impl ServerVerifier {
    pub(super) fn new(settings: &TlsSettings, roots: Arc<RootCertStore>, expected: Arc<[SpiffeId]>) -> Self {
        let algorithms = settings.provider().signature_verification_algorithms;
        Self { roots, algorithms, domains: settings.domains().clone(), expected }
    }

    pub(super) fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<SpiffeId, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, algorithms)
            .map_err(untrusted)?;
        let found = identity(end_entity, &self.domains)?;
        if self.expected.contains(&found) {
            return Ok(found);
        }
        Err(Refusal::Unexpected { found, expected: self.expected.clone() }.into())
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify(end_entity, intermediates, now).map(|_| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Roots of one mesh have one name, so the other of two roots shows as a signature that does not fit. Both are said to
/// be what they are: no trusted root signed this.
fn untrusted(error: rustls::Error) -> rustls::Error {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::BadSignature) => {
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)
        }
        other => other,
    }
}

/// The one identity in a certificate whose chain is good.
fn identity(certificate: &CertificateDer<'_>, domains: &TrustDomains) -> Result<SpiffeId, rustls::Error> {
    let found = named_identity(certificate)?;
    if domains.accept(found.trust_domain()) {
        return Ok(found);
    }
    Err(Refusal::TrustDomain { found, expected: domains.own.clone(), aliases: domains.aliases.len() }.into())
}

/// Reads the identity out of a certificate and verifies nothing.
pub(super) fn named_identity(certificate: &CertificateDer<'_>) -> Result<SpiffeId, rustls::Error> {
    let unreadable = || rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| unreadable())?;
    let names = parsed.subject_alternative_name().map_err(|_| unreadable())?;
    let names = names.map_or(&[][..], |extension| &extension.value.general_names);
    if names.iter().any(|name| matches!(name, GeneralName::Invalid(..))) {
        return Err(unreadable());
    }
    let uris: Vec<&str> =
        names.iter().filter_map(|n| if let GeneralName::URI(uri) = n { Some(*uri) } else { None }).collect();
    let [uri] = uris.as_slice() else {
        return Err(Refusal::UriNames { found: uris.len() }.into());
    };
    let id: SpiffeId = uri.parse().map_err(Refusal::NotIdentity)?;
    if kubernetes_name(id.namespace()) && kubernetes_name(id.service_account()) {
        return Ok(id);
    }
    Err(Refusal::NotIdentity(SpiffeIdError::Path((*uri).to_owned())).into())
}

/// Names of namespaces and service accounts are DNS subdomains (RFC 1123). Without this, `sa/*` or `sa/A` would be
/// taken for an identity, and be compared with policies' patterns.
fn kubernetes_name(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
        && !matches!(name, "." | "..")
}

fn list(ids: &[SpiffeId]) -> String {
    match ids {
        [] => "no identity".to_owned(),
        [one] => one.to_string(),
        [one, rest @ ..] => format!("{one} (or {} others)", rest.len()),
    }
}
