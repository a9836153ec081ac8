//! Keys that somebody else puts into a directory, under the names that Istio uses: a root, or a key below one.
//!
//! In: a directory, most often a mounted Secret, which is replaced as a whole by a symbolic link. Out: a [`Keyring`] that
//! has signed a trial leaf which its own roots verify. `root-cert.pem` may hold several roots: all of them are trusted,
//! which is how one follows another. The directory of an embedded authority is read too.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::SystemTime,
};

use rcgen::{Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::trial::prove;
use crate::{
    ca::{
        directory,
        error::CaError,
        root::{check_domain, check_time},
        signing::Keyring,
    },
    mesh::TrustDomain,
};

/// The signer's certificate.
const CERTIFICATE: &str = "ca-cert.pem";
/// Its key.
const KEY: &str = "ca-key.pem";
/// Every root to trust.
const ROOTS: &str = "root-cert.pem";
/// The way from the signer's certificate up. Where it is missing, the signer is right below a root, or is one.
const CHAIN: &str = "cert-chain.pem";

/// What the files held.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Content {
    /// Where they were, after symbolic links.
    directory: PathBuf,
    certificate: String,
    key: String,
    roots: String,
    chain: Option<String>,
}

/// What a directory holds.
pub(super) enum Found {
    /// Istio's files.
    Files(Box<Content>),
    /// None of them: the directory of an embedded authority, or of nobody yet.
    Nothing,
}

/// Reads the files. Blocks on the disk.
pub(super) fn read(path: &Path) -> Result<Found, CaError> {
    let Some(directory) = settled(path)? else { return Ok(Found::Nothing) };
    let optional = |name: &str| read_file(&directory.join(name));
    let (certificate, key) = (optional(CERTIFICATE)?, optional(KEY)?);
    let (certificate, key) = match (certificate, key) {
        (None, None) => return Ok(Found::Nothing),
        (Some(certificate), Some(key)) => (certificate, key),
        (Some(_), None) => return Err(missing(&directory, KEY)),
        (None, Some(_)) => return Err(missing(&directory, CERTIFICATE)),
    };
    let roots = optional(ROOTS)?.ok_or_else(|| missing(&directory, ROOTS))?;
    let chain = optional(CHAIN)?;
    Ok(Found::Files(Box::new(Content { directory, certificate, key, roots, chain })))
}

/// The root in the directory of an embedded authority, made there if it is to be.
pub(super) fn embedded(path: &Path, generate: bool, domain: &TrustDomain, now: SystemTime) -> Result<Keyring, CaError> {
    // Also a volume that is mounted and empty has files: those by which the kubelet follows its versions.
    if !generate && !path.join(directory::KEY).exists() {
        return Err(CaError::Content {
            path: path.to_owned(),
            problem: format!(
                "it holds no keys; put {CERTIFICATE}, {KEY}, {ROOTS} and, for a key below a root, {CHAIN} there, or set \
                 root.files.generate to have a root made"
            ),
        });
    }
    directory::load_or_make(path, domain, now).map(Keyring::of_root)
}

impl Content {
    /// Checks all of it, and that peers will accept what it signs.
    pub(super) fn keyring(&self, domain: &TrustDomain, now: SystemTime) -> Result<Keyring, CaError> {
        let place = |name: &str| self.directory.join(name);
        let certificates = one_or_more(&self.certificate, &place(CERTIFICATE))?;
        let own = &certificates[0];
        let roots = one_or_more(&self.roots, &place(ROOTS))?;
        let bad = |problem: String| CaError::Content { path: place(CERTIFICATE), problem };
        let (_, parsed) = X509Certificate::from_der(own).map_err(|e| bad(format!("not an X.509 certificate: {e}")))?;
        let key = self.key()?;
        if parsed.public_key().raw != rcgen::PublicKeyData::subject_public_key_info(&key) {
            return Err(bad(format!("it is not the certificate of the key in {}", place(KEY).display())));
        }
        if !parsed.is_ca() {
            return Err(bad("it may not sign certificates (basicConstraints CA is not set)".to_owned()));
        }
        check_domain(&parsed, domain, &place(CERTIFICATE))?;
        let mut not_after = check_time(&parsed, now, &place(CERTIFICATE))?;
        let intermediates = self.intermediates(certificates.clone(), &roots)?;
        for above in &intermediates {
            let (_, parsed) = X509Certificate::from_der(above).map_err(|e| bad(e.to_string()))?;
            not_after = not_after.min(check_time(&parsed, now, &place(CHAIN))?);
        }
        let issuer = Issuer::from_ca_cert_der(own, key).map_err(|e| bad(e.to_string()))?;
        let mut keyring = Keyring::of_intermediate(issuer, intermediates, roots, not_after);
        let proven = prove(&keyring, domain, now);
        let own_root = proven.map_err(|problem| CaError::Content { path: self.directory.clone(), problem })?;
        // Peers that take only one root of an answer take the first.
        keyring.put_root_first(own_root);
        Ok(keyring)
    }

    /// PKCS#8, PKCS#1 or SEC 1.
    fn key(&self) -> Result<KeyPair, CaError> {
        let path = self.directory.join(KEY);
        // No word of the parsers: they might quote the key.
        let bad = |problem: &str| CaError::Content { path: path.clone(), problem: problem.to_owned() };
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(|_| bad("not a private key in PEM"))?;
        KeyPair::try_from(&key).map_err(|_| bad("not an ECDSA, Ed25519 or RSA key that can sign here"))
    }

    /// The certificates between leaf and root, the signer's own first; none where the signer is a root.
    fn intermediates(
        &self,
        own: Vec<CertificateDer<'static>>,
        roots: &[CertificateDer<'static>],
    ) -> Result<Vec<CertificateDer<'static>>, CaError> {
        if roots.contains(&own[0]) {
            return Ok(Vec::new());
        }
        let chain = match &self.chain {
            Some(text) if !text.trim().is_empty() => one_or_more(text, &self.directory.join(CHAIN))?,
            Some(_) | None => Vec::new(),
        };
        let mut all: Vec<CertificateDer<'static>> = Vec::new();
        for certificate in own.into_iter().chain(chain) {
            if !roots.contains(&certificate) && !all.contains(&certificate) {
                all.push(certificate);
            }
        }
        Ok(all)
    }
}

/// Where a mounted volume points now; read from there, the files are of one version. `None` where there is no directory.
fn settled(path: &Path) -> Result<Option<PathBuf>, CaError> {
    for place in [path.join("..data"), path.to_owned()] {
        match fs::canonicalize(place) {
            Ok(directory) => return Ok(Some(directory)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(path)(error)),
        }
    }
    Ok(None)
}

fn read_file(path: &Path) -> Result<Option<String>, CaError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path)(error)),
    }
}

fn one_or_more(pem: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, CaError> {
    let bad = |problem: String| CaError::Content { path: path.to_owned(), problem };
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let all = all.map_err(|e| bad(format!("not PEM certificates: {e}")))?;
    if all.is_empty() { Err(bad("it holds no PEM certificate".to_owned())) } else { Ok(all) }
}

fn missing(directory: &Path, name: &str) -> CaError {
    let problem = format!("it has no {name}, which belongs to {CERTIFICATE} and {KEY}");
    CaError::Content { path: directory.to_owned(), problem }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> CaError {
    let path = path.to_owned();
    move |source| CaError::File { action: "reading", path, source }
}
