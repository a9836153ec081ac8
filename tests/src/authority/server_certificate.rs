//! The authority's own certificate, and what can be wrong with it.

use std::sync::Arc;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::version::{TLS12, TLS13};
use time::{Duration, OffsetDateTime};

/// What is wrong with the authority's certificate, or with its TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It has ended.
    Expired,
    /// It is for another name.
    OtherName,
    /// A root signed it that clients do not know.
    OtherRoot,
    /// Only an old version of TLS is spoken.
    OldTls,
}

/// The root that clients have to know.
pub(super) struct ServerRoot {
    issuer: Issuer<'static, KeyPair>,
    pub(super) pem: String,
}

impl ServerRoot {
    pub(super) fn make() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "the root of the authority's own certificate");
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    pub(super) fn serve_with(&self, flaw: Option<Flaw>) -> Result<Arc<ServerConfig>> {
        let names: &[&str] = match flaw {
            Some(Flaw::OtherName) => &["elsewhere.example"],
            _ => &["localhost", "127.0.0.1", "heddle-ca.heddle-system.svc"],
        };
        let mut leaf = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if flaw == Some(Flaw::Expired) {
            leaf.not_after = OffsetDateTime::now_utc() - Duration::MINUTE;
        }
        let key = KeyPair::generate()?;
        let signed = match flaw {
            Some(Flaw::OtherRoot) => leaf.signed_by(&key, &Self::make()?.issuer)?,
            _ => leaf.signed_by(&key, &self.issuer)?,
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let versions = if flaw == Some(Flaw::OldTls) { [&TLS12] } else { [&TLS13] };
        let mut tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&versions)?
            .with_no_client_auth()
            .with_single_cert(vec![signed.der().clone()], key)
            .context("serving with the authority's certificate")?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(tls))
    }
}
