//! An authority for tests that signs whatever a test wants, the wrong included.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::future::{BoxFuture, ready};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertificateSigningRequestParams,
    CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, PublicKeyData,
    RevokedCertParams, SanType, SerialNumber,
};
use rustls::{
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer},
    sign::{CertifiedKey, SingleCertAndKey},
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{
    identify::{Identity, IssueError, Issuer, SignedChain},
    mesh::SpiffeId,
};

pub(crate) struct Authority {
    signer: Arc<CertifiedIssuer<'static, KeyPair>>,
    /// What goes with each leaf.
    intermediates: Vec<CertificateDer<'static>>,
    root: CertificateDer<'static>,
    also_trusted: Vec<CertificateDer<'static>>,
}

impl Authority {
    /// A root. All of them have one name, and are told apart by their keys, which is what a rotated root needs.
    pub(crate) fn new() -> Self {
        let signer = CertifiedIssuer::self_signed(authority(), KeyPair::generate().unwrap()).unwrap();
        let root = signer.der().clone();
        Self { signer: Arc::new(signer), intermediates: vec![], root, also_trusted: vec![] }
    }

    /// An authority that this one vouches for, as `params` says.
    pub(crate) fn below(&self, params: CertificateParams) -> Self {
        let signer = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &**self.signer).unwrap();
        let intermediates = [vec![signer.der().clone()], self.intermediates.clone()].concat();
        Self { signer: Arc::new(signer), intermediates, root: self.root.clone(), also_trusted: vec![] }
    }

    /// A list in PEM that takes back certificates of these serial numbers, and was due to be replaced `next_update` from now.
    pub(crate) fn list(&self, serials: &[&[u8]], next_update: time::Duration) -> String {
        let now = time::OffsetDateTime::now_utc();
        let revoked = |serial: &&[u8]| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: now - time::Duration::HOUR,
            next_update: now + next_update,
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&**self.signer).unwrap().pem().unwrap()
    }

    /// A list in PEM that takes back the certificates of these identities.
    pub(crate) fn revoke(&self, identities: &[&Identity]) -> String {
        let serials: Vec<&[u8]> = identities.iter().map(|identity| &*identity.chain().links()[0].serial).collect();
        self.list(&serials, time::Duration::HOUR)
    }

    /// The same authority, which hands out the others' roots beside its own.
    pub(crate) fn again(&self, others: &[&Self]) -> Self {
        Self {
            signer: Arc::clone(&self.signer),
            intermediates: self.intermediates.clone(),
            root: self.root.clone(),
            also_trusted: others.iter().map(|other| other.root_certificate()).collect(),
        }
    }

    pub(crate) fn root_certificate(&self) -> CertificateDer<'static> {
        self.root.clone()
    }

    fn sign(&self, key: &impl PublicKeyData, params: &CertificateParams) -> CertificateDer<'static> {
        params.signed_by(key, &**self.signer).unwrap().into()
    }

    /// Serial number of the authority's own certificate.
    pub(crate) fn serial(&self) -> Vec<u8> {
        X509Certificate::from_der(self.signer.der()).unwrap().1.raw_serial().to_vec()
    }

    /// A key whose certificate is as `params` says.
    pub(crate) fn key_with(&self, params: &CertificateParams) -> Arc<SingleCertAndKey> {
        let key = KeyPair::generate().unwrap();
        certified([vec![self.sign(&key, params)], self.intermediates.clone()].concat(), &key)
    }
}

/// A key that vouches for itself.
pub(crate) fn self_signed(params: &CertificateParams) -> Arc<SingleCertAndKey> {
    let key = KeyPair::generate().unwrap();
    certified(vec![params.self_signed(&key).unwrap().into()], &key)
}

fn certified(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Arc<SingleCertAndKey> {
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    // Not `from_der`, which would refuse some of what tests want to show to others.
    let key = default_provider().key_provider.load_private_key(key).unwrap();
    Arc::new(CertifiedKey::new(chain, key).into())
}

/// An authority as it should be, for tests to spoil.
pub(crate) fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// The same under a name of its own.
pub(crate) fn named_authority(name: &str) -> CertificateParams {
    let mut params = authority();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// A certificate as it should be, for tests to spoil.
pub(crate) fn good(names: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = names.iter().map(|name| uri(name)).collect();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = (SystemTime::now() - Duration::from_secs(60)).into();
    params.not_after = (SystemTime::now() + Duration::from_secs(3600)).into();
    params
}

fn uri(name: &str) -> SanType {
    SanType::URI(name.to_owned().try_into().unwrap())
}

pub(crate) fn id(text: &str) -> SpiffeId {
    text.parse().unwrap()
}

impl Issuer for Authority {
    fn sign<'a>(
        &'a self,
        id: &'a SpiffeId,
        request: &'a CertificateSigningRequestDer<'static>,
    ) -> BoxFuture<'a, Result<SignedChain, IssueError>> {
        let key = CertificateSigningRequestParams::from_der(request).unwrap().public_key;
        let chain = [vec![self.sign(&key, &good(&[&id.to_string()]))], self.intermediates.clone()].concat();
        let roots = [vec![self.root_certificate()], self.also_trusted.clone()].concat();
        Box::pin(ready(Ok(SignedChain { chain, roots })))
    }
}
