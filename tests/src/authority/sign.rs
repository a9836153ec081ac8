//! The roots of the mesh, and what they sign.

use anyhow::{Context, Result, bail, ensure};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use time::{Duration, OffsetDateTime};

use super::fault::Spoiled;

/// What signs, and what is handed out as roots.
pub(super) struct Signer {
    issuer: Issuer<'static, KeyPair>,
    roots: Vec<String>,
}

impl Signer {
    pub(super) fn make() -> Result<Self> {
        let (issuer, pem) = root("the mesh's root")?;
        Ok(Self { issuer, roots: vec![pem] })
    }

    pub(super) fn add_root(&mut self) -> Result<String> {
        let (_, pem) = root("the mesh's next root")?;
        self.roots.push(pem.clone());
        Ok(pem)
    }

    /// The chain for a signing request in PEM, valid for some seconds.
    pub(super) fn sign(&self, csr: &str, id: &str, seconds: i64, spoiled: Option<Spoiled>) -> Result<Vec<String>> {
        let request = CertificateSigningRequestParams::from_pem(csr).context("reading the signing request")?;
        ensure!(uris(&request) == [id], "the request names {:?} and not {id}", uris(&request));
        let other_key = KeyPair::generate()?;
        let id = if spoiled == Some(Spoiled::OtherName) { format!("{id}-else") } else { id.to_owned() };
        let seconds = if spoiled == Some(Spoiled::Expired) { -1 } else { seconds };
        let leaf = match spoiled {
            Some(Spoiled::OtherKey) => self.leaf(&id, seconds, &other_key)?,
            _ => self.leaf(&id, seconds, &request.public_key)?,
        };
        Ok(match spoiled {
            Some(Spoiled::Garbage) => vec!["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned()],
            Some(Spoiled::NoRoot) => vec![leaf],
            Some(Spoiled::OtherRoot) => vec![leaf, root("somebody else")?.1],
            Some(Spoiled::Huge) => vec![leaf, self.roots[0].repeat(2000)],
            // As istiod: all roots in one entry.
            None | Some(Spoiled::OtherKey | Spoiled::OtherName | Spoiled::Expired) => vec![leaf, self.roots.concat()],
        })
    }

    fn leaf(&self, id: &str, seconds: i64, key: &impl PublicKeyData) -> Result<String> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(id)?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = OffsetDateTime::now_utc() - Duration::MINUTE;
        params.not_after = OffsetDateTime::now_utc() + Duration::seconds(seconds);
        Ok(params.signed_by(key, &self.issuer)?.pem())
    }
}

/// The only name of a signing request.
pub(super) fn name_in(csr: &str) -> Result<String> {
    let request = CertificateSigningRequestParams::from_pem(csr).context("reading the signing request")?;
    match uris(&request).as_slice() {
        [one] => Ok(one.clone()),
        names => bail!("the request has {} names", names.len()),
    }
}

fn uris(request: &CertificateSigningRequestParams) -> Vec<String> {
    let names = request.params.subject_alt_names.iter();
    names.map(|name| if let SanType::URI(uri) = name { uri.to_string() } else { format!("{name:?}") }).collect()
}

fn root(name: &str) -> Result<(Issuer<'static, KeyPair>, String)> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate()?;
    let pem = params.self_signed(&key)?.pem();
    Ok((Issuer::new(params, key), pem))
}
