//! A root, and a certificate of each proxy, made anew for every run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::NAME;

/// Files in PEM.
pub(super) struct Certificates {
    /// The root that both trust.
    pub(super) root: PathBuf,
    /// The client's certificate and its key.
    pub(super) client: PathBuf,
    /// The server's.
    pub(super) server: PathBuf,
}

impl Certificates {
    /// ECDSA on P-256 throughout, as the mesh's own.
    pub(super) fn make(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        let mut root = CertificateParams::default();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        root.distinguished_name = named("the peers' root");
        let key = KeyPair::generate()?;
        let pem = root.self_signed(&key)?.pem();
        let issuer = Issuer::new(root, key);
        let write = |name: &str, text: &str| {
            let file = directory.join(name);
            fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
            anyhow::Ok(file)
        };
        Ok(Self {
            root: write("root.pem", &pem)?,
            client: write("client.pem", &leaf("client.peers.example", ExtendedKeyUsagePurpose::ClientAuth, &issuer)?)?,
            server: write("server.pem", &leaf(NAME, ExtendedKeyUsagePurpose::ServerAuth, &issuer)?)?,
        })
    }
}

/// A certificate with its key behind it.
fn leaf(name: &str, usage: ExtendedKeyUsagePurpose, issuer: &Issuer<'_, KeyPair>) -> Result<String> {
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.distinguished_name = named(name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate()?;
    Ok(params.signed_by(&key, issuer)?.pem() + &key.serialize_pem())
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}
