//! What an authority signs with, and what it signs: leaves of workloads, and the serving certificate of `heddle ca`.
//!
//! In: a key that may sign, and signing requests. Out: chains that lead to the roots. A request is checked for its
//! signature, its key's kind and its only name; whatever else it asks for (purposes, CA rights, a subject) is not looked
//! at. Who may ask for which name is decided elsewhere.

use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, CustomExtension, DistinguishedName, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};

use super::root::{Root, random_serial};
use crate::{
    identify::{IssueError, SignedChain},
    mesh::SpiffeId,
};

/// A key that signs, the way from its certificate up to a root, and every root to trust. Without `Debug`, so that no log
/// line can hold it.
pub(super) struct Keyring {
    issuer: Issuer<'static, KeyPair>,
    /// The signer's certificate and those above it, without the root. Empty where a root signs.
    intermediates: Vec<CertificateDer<'static>>,
    /// The signer's own root first.
    roots: Vec<CertificateDer<'static>>,
    /// The first end on the way up: no leaf outlives it.
    not_after: SystemTime,
}

/// How long a certificate is to live.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    /// The moment of signing. A certificate begins a minute earlier, for peers whose clocks are late.
    pub(super) now: SystemTime,
    /// From then on, but no longer than the signer.
    pub(super) lifetime: Duration,
}

/// A signed leaf, and what an audit says of it.
pub(super) struct SignedLeaf {
    /// As the issuer answers it.
    pub(super) chain: SignedChain,
    /// In hexadecimal, as `openssl x509 -serial` prints it.
    pub(super) serial: String,
    /// Its end.
    pub(super) not_after: SystemTime,
}

impl Keyring {
    /// A root that signs by itself.
    pub(super) fn of_root(root: Root) -> Self {
        let Root { certificate, not_after, issuer } = root;
        Self { issuer, intermediates: Vec::new(), roots: vec![certificate], not_after }
    }

    /// A key below a root; `intermediates` begins with the key's own certificate.
    pub(super) fn of_intermediate(
        issuer: Issuer<'static, KeyPair>,
        intermediates: Vec<CertificateDer<'static>>,
        roots: Vec<CertificateDer<'static>>,
        not_after: SystemTime,
    ) -> Self {
        Self { issuer, intermediates, roots, not_after }
    }

    /// Has peers trust other roots beside its own.
    pub(super) fn with_roots(mut self, others: impl IntoIterator<Item = CertificateDer<'static>>) -> Self {
        for root in others {
            if !self.roots.contains(&root) {
                self.roots.push(root);
            }
        }
        self
    }

    /// What peers must trust.
    pub(super) fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// The certificate of the key that signs.
    pub(super) fn signer(&self) -> Option<&CertificateDer<'static>> {
        self.intermediates.first().or(self.roots.first())
    }

    /// Puts a root before the others.
    pub(super) fn put_root_first(&mut self, index: usize) {
        if let Some(before) = self.roots.get_mut(..=index) {
            before.rotate_right(1);
        }
    }

    /// When it can sign no more.
    pub(super) fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Signs the key of `request` as `id`, if that is its only name.
    pub(super) fn sign(
        &self,
        id: &SpiffeId,
        request: &CertificateSigningRequestDer<'_>,
        life: Life,
    ) -> Result<SignedLeaf, IssueError> {
        let key = checked_request(id, request)?.public_key;
        let failed = |e: rcgen::Error| IssueError::Signing { id: id.clone(), source: Box::new(e) };
        let name = id.to_string().try_into().map_err(failed)?;
        let both = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = self.leaf(vec![SanType::URI(name)], &both, &key, life).map_err(failed)?;
        let (chain, roots) = (self.chain_of(leaf.certificate), self.roots.clone());
        Ok(SignedLeaf { chain: SignedChain { chain, roots }, serial: leaf.serial, not_after: leaf.not_after })
    }

    /// Signs a key for a server that is known by DNS names or addresses. It proves no identity of the mesh.
    pub(super) fn sign_server(
        &self,
        names: &[String],
        key: &KeyPair,
        life: Life,
    ) -> Result<(Vec<CertificateDer<'static>>, SystemTime), rcgen::Error> {
        let names = CertificateParams::new(names)?.subject_alt_names;
        let leaf = self.leaf(names, &[ExtendedKeyUsagePurpose::ServerAuth], key, life)?;
        Ok((self.chain_of(leaf.certificate), leaf.not_after))
    }

    fn chain_of(&self, leaf: CertificateDer<'static>) -> Vec<CertificateDer<'static>> {
        [leaf].into_iter().chain(self.intermediates.iter().cloned()).collect()
    }

    fn leaf(
        &self,
        names: Vec<SanType>,
        purposes: &[ExtendedKeyUsagePurpose],
        key: &impl PublicKeyData,
        life: Life,
    ) -> Result<Leaf, rcgen::Error> {
        let (serial, not_after) = (random_serial()?, (life.now + life.lifetime).min(self.not_after));
        let mut params = CertificateParams::default();
        // An empty subject makes the name critical (RFC 5280 4.2.1.6), as X509-SVID wants it.
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = names;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = purposes.to_vec();
        params.not_before = (life.now - BACKDATE).into();
        params.not_after = not_after.into();
        params.serial_number = Some(serial.clone());
        params.use_authority_key_identifier_extension = true;
        params.custom_extensions = vec![subject_key_identifier(&params.key_identifier(key))];
        let certificate = params.signed_by(key, &self.issuer)?.into();
        let serial = serial.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        Ok(Leaf { certificate, serial, not_after })
    }
}

struct Leaf {
    certificate: CertificateDer<'static>,
    serial: String,
    not_after: SystemTime,
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
