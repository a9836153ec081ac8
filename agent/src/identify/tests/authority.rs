//! An authority for tests that signs whatever a test wants, the wrong included.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::future::{BoxFuture, ready};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, DistinguishedName,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, PublicKeyData, SanType,
};
use rustls::{
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer},
    sign::{CertifiedKey, SingleCertAndKey},
};

use crate::{
    identify::{IssueError, Issuer, SignedChain},
    mesh::SpiffeId,
};

pub(super) struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
    also_trusted: Vec<CertificateDer<'static>>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Two roots of one name are told apart by their keys, which is what a rotated root needs.
        Self { root: CertifiedIssuer::self_signed(params, key).unwrap(), also_trusted: vec![] }
    }

    /// Hands out the other's root beside its own.
    pub(super) fn trusting(mut self, other: &Self) -> Self {
        self.also_trusted.push(other.root_certificate());
        self
    }

    pub(super) fn root_certificate(&self) -> CertificateDer<'static> {
        self.root.der().clone()
    }

    fn sign(&self, key: &impl PublicKeyData, params: &CertificateParams) -> CertificateDer<'static> {
        params.signed_by(key, &self.root).unwrap().into()
    }

    /// A key whose certificate is as `params` says.
    pub(super) fn key_with(&self, params: &CertificateParams) -> Arc<SingleCertAndKey> {
        let key = KeyPair::generate().unwrap();
        certified(self.sign(&key, params), &key)
    }
}

/// A key that vouches for itself.
pub(super) fn self_signed(params: &CertificateParams) -> Arc<SingleCertAndKey> {
    let key = KeyPair::generate().unwrap();
    certified(params.self_signed(&key).unwrap().into(), &key)
}

fn certified(certificate: CertificateDer<'static>, key: &KeyPair) -> Arc<SingleCertAndKey> {
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    Arc::new(CertifiedKey::from_der(vec![certificate], key, &default_provider()).unwrap().into())
}

/// A certificate as it should be, for tests to spoil.
pub(super) fn good(names: &[&str]) -> CertificateParams {
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

pub(super) fn id(text: &str) -> SpiffeId {
    text.parse().unwrap()
}

impl Issuer for Authority {
    fn sign<'a>(
        &'a self,
        id: &'a SpiffeId,
        request: &'a CertificateSigningRequestDer<'static>,
    ) -> BoxFuture<'a, Result<SignedChain, IssueError>> {
        let key = CertificateSigningRequestParams::from_der(request).unwrap().public_key;
        let chain = vec![self.sign(&key, &good(&[&id.to_string()]))];
        let roots = [vec![self.root_certificate()], self.also_trusted.clone()].concat();
        Box::pin(ready(Ok(SignedChain { chain, roots })))
    }
}
