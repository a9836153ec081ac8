//! One identity that this node holds: its key and chain, ready as TLS configurations.
//!
//! In: an issuer and a name. Out: an [`Identity`] that peers will accept, because the issuer's answer is first put
//! through the check that peers make. The key cannot be read, printed or written out; it is dropped with the last
//! connection.

use std::{fmt, sync::Arc, time::SystemTime};

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use rustls::{
    ClientConfig, ServerConfig,
    pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer},
    sign::{CertifiedKey, SingleCertAndKey},
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{
    chain::VerifiedChain,
    issuer::{IssueError, Issuer, SignedChain},
    roots::{Roots, time},
    tls::TlsSettings,
    verify::{ClientVerifier, Proof, Refusal, ServerVerifier},
};
use crate::mesh::SpiffeId;

/// A name, and the means to prove it until [`Identity::not_after`].
pub struct Identity {
    id: SpiffeId,
    not_before: SystemTime,
    not_after: SystemTime,
    serial: String,
    settings: TlsSettings,
    roots: Arc<Roots>,
    /// Our own chain, as peers verify it.
    chain: VerifiedChain,
    key: Arc<SingleCertAndKey>,
    /// Expects nobody; a dial replaces the verifier.
    client: ClientConfig,
}

/// Makes a key, has it signed, and checks the answer.
pub async fn issue(issuer: &dyn Issuer, id: &SpiffeId, settings: &TlsSettings) -> Result<Identity, IssueError> {
    let (key, request) = signing_request(id).map_err(|source| IssueError::Request { id: id.clone(), source })?;
    let signed = issuer.sign(id, &request).await?;
    Identity::assemble(id, &key, signed, settings)
        .map_err(|error| IssueError::Unusable { id: id.clone(), problem: in_words(&error) })
}

impl Identity {
    /// Whose.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// When the certificate begins.
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// When the certificate ends.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// The certificate's serial number in hexadecimal, as `openssl x509 -serial` prints it.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// Whether both trust the same roots.
    pub(super) fn has_roots_of(&self, other: &Self) -> bool {
        let trusts_all = |one: &Self, all: &Self| all.roots.iter().all(|root| one.roots.trusts(root.name));
        trusts_all(self, other) && trusts_all(other, self)
    }

    /// Whether the certificate is valid at `now`.
    pub fn is_valid(&self, now: SystemTime) -> bool {
        self.not_before <= now && now < self.not_after
    }

    /// The roots that it trusts.
    pub fn roots(&self) -> &Roots {
        &self.roots
    }

    /// Its own chain, up to the root that vouches for it.
    pub fn chain(&self) -> &VerifiedChain {
        &self.chain
    }

    /// What its connections have in common.
    pub fn settings(&self) -> &TlsSettings {
        &self.settings
    }

    /// How this identity serves one client, who must prove an identity of the mesh; what was proven is in `proof` afterwards.
    /// Costs a few small allocations.
    pub(super) fn server_config(&self, proof: Proof) -> Result<Arc<ServerConfig>, rustls::Error> {
        let verifier = ClientVerifier::new(&self.settings, self.roots.clone(), proof);
        Ok(Arc::new(self.settings.server_config(self.key.clone(), Arc::new(verifier))?))
    }

    /// How this identity dials once a destination that has one of the `expected` identities; see [`Self::server_config`].
    pub(super) fn client_config(&self, expected: &[SpiffeId], proof: Proof) -> Arc<ClientConfig> {
        let verifier = ServerVerifier::new(&self.settings, self.roots.clone(), expected.into(), proof);
        let mut config = self.client.clone();
        config.dangerous().set_certificate_verifier(Arc::new(verifier));
        Arc::new(config)
    }

    fn assemble(
        id: &SpiffeId,
        key: &KeyPair,
        signed: SignedChain,
        settings: &TlsSettings,
    ) -> Result<Self, rustls::Error> {
        let roots = Arc::new(Roots::new(&signed.roots)?);
        let chain = check_as_a_peer_would(id, &signed.chain, &roots, settings)?;
        let (not_before, not_after, serial) = facts(&signed.chain)?;
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let certified = CertifiedKey::from_der(signed.chain, key, settings.provider())?;
        certified.keys_match()?;
        let key = Arc::new(SingleCertAndKey::from(certified));
        let nobody = ServerVerifier::new(settings, roots.clone(), Arc::default(), Proof::default());
        Ok(Self {
            id: id.clone(),
            not_before,
            not_after,
            serial,
            settings: settings.clone(),
            client: settings.client_config(key.clone(), Arc::new(nobody))?,
            key,
            chain,
            roots,
        })
    }
}

/// The key is not part of it.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, not_after, serial, .. } = self;
        write!(f, "Identity {{ id: {id}, serial: {serial}, not_after: {not_after:?}, key: hidden }}")
    }
}

/// A new key, and the request for `id`: an empty subject makes the only name critical (RFC 5280 4.2.1.6).
fn signing_request(id: &SpiffeId) -> Result<(KeyPair, CertificateSigningRequestDer<'static>), rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(id.to_string().try_into()?)];
    let request = params.serialize_request(&key)?;
    Ok((key, request.into()))
}

fn in_words(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(rustls::CertificateError::Revoked) => {
            "it, or that of an intermediate, is revoked".to_owned()
        }
        rustls::Error::InvalidCertificate(problem) => {
            Refusal::within(problem).map_or_else(|| problem.to_string(), Refusal::to_string)
        }
        other => other.to_string(),
    }
}

/// An answer that our peers would refuse is refused here, where the reason can be told to the operator.
fn check_as_a_peer_would(
    id: &SpiffeId,
    chain: &[CertificateDer<'static>],
    roots: &Arc<Roots>,
    settings: &TlsSettings,
) -> Result<VerifiedChain, rustls::Error> {
    let (leaf, intermediates) = chain.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
    let now = settings.clock().unix_time().ok_or(rustls::Error::FailedToGetCurrentTime)?;
    ServerVerifier::new(settings, roots.clone(), [id.clone()].into(), Proof::default()).verify(leaf, intermediates, now)
}

fn facts(chain: &[CertificateDer<'static>]) -> Result<(SystemTime, SystemTime, String), rustls::Error> {
    let leaf = chain.first().ok_or(rustls::Error::NoCertificatesPresented)?;
    let (_, parsed) = X509Certificate::from_der(leaf)
        .map_err(|_| rustls::Error::InvalidCertificate(rustls::CertificateError::BadEncoding))?;
    let validity = parsed.validity();
    let serial = parsed.raw_serial().iter().map(|byte| format!("{byte:02X}")).collect();
    Ok((time(validity.not_before.timestamp()), time(validity.not_after.timestamp()), serial))
}
