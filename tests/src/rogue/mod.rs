//! Certificates that the mesh must, or must not, accept: minted from the agents' own root or from a root of their own.
//!
//! Reads the local CA's directory as the agent writes it: `root-cert.pem` and `root-key.pem` (PKCS#8).

pub mod tls;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber,
};
use time::{Duration, OffsetDateTime};

/// Something that signs leaf certificates.
pub struct Root {
    issuer: Issuer<'static, KeyPair>,
    /// The root's certificate.
    pub certificate: String,
}

/// What a leaf certificate shall say.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// The URI names; a good certificate has one SPIFFE id.
    pub uris: Vec<String>,
    /// When it begins to be valid.
    pub not_before: OffsetDateTime,
    /// When it ends to be valid.
    pub not_after: OffsetDateTime,
    /// Whether a client may use it.
    pub for_clients: bool,
}

impl Leaf {
    /// A good certificate of this identity: an hour old, valid for one more.
    #[must_use]
    pub fn of(identity: &str) -> Self {
        let (now, hour) = (OffsetDateTime::now_utc(), Duration::HOUR);
        Self { uris: vec![identity.to_owned()], not_before: now - hour, not_after: now + hour, for_clients: true }
    }

    /// One that ended a minute ago.
    #[must_use]
    pub fn expired(mut self) -> Self {
        self.not_after = OffsetDateTime::now_utc() - Duration::MINUTE;
        self
    }

    /// One that begins in ten minutes.
    #[must_use]
    pub fn not_yet_valid(mut self) -> Self {
        self.not_before = OffsetDateTime::now_utc() + Duration::minutes(10);
        self
    }
}

/// The files of a minted certificate, ready for `heddle-peer hbone`.
#[derive(Clone, Debug)]
pub struct Minted {
    /// The chain: the leaf, then the root.
    pub cert: PathBuf,
    /// The leaf's key.
    pub key: PathBuf,
}

impl Root {
    /// The root that the agents share.
    pub fn of_agents(directory: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = directory.join(name);
            std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
        };
        let (certificate, key) = (read("root-cert.pem")?, read("root-key.pem")?);
        let key = KeyPair::from_pem(&key).context("reading the agents' root key")?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).context("reading the agents' root certificate")?;
        Ok(Self { issuer, certificate })
    }

    /// A root that nobody trusts.
    pub fn stranger() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "a stranger");
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    /// A revocation list in PEM that takes back certificates of these serial numbers, given in hexadecimal.
    pub fn revoke(&self, serials: &[&str]) -> Result<String> {
        let now = OffsetDateTime::now_utc();
        let mut revoked_certs = Vec::new();
        for serial in serials {
            let digits = (0..serial.len()).step_by(2).map(|at| serial.get(at..at + 2).unwrap_or_default());
            let bytes = digits.map(|two| u8::from_str_radix(two, 16)).collect::<Result<Vec<_>, _>>();
            let bytes = bytes.with_context(|| format!("`{serial}` is no serial number"))?;
            revoked_certs.push(RevokedCertParams {
                serial_number: SerialNumber::from_slice(&bytes),
                revocation_time: now,
                reason_code: None,
                invalidity_date: None,
            });
        }
        let params = CertificateRevocationListParams {
            this_update: now - Duration::MINUTE,
            next_update: now + Duration::HOUR,
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(&self.issuer)?.pem()?)
    }

    /// Signs a leaf and writes it to `<directory>/<name>-cert.pem` and `-key.pem`.
    pub fn mint(&self, leaf: &Leaf, directory: &Path, name: &str) -> Result<Minted> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for uri in &leaf.uris {
            params.subject_alt_names.push(SanType::URI(Ia5String::try_from(uri.as_str())?));
        }
        (params.not_before, params.not_after) = (leaf.not_before, leaf.not_after);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if leaf.for_clients {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        let key = KeyPair::generate()?;
        let chain = format!("{}{}", params.signed_by(&key, &self.issuer)?.pem(), self.certificate);
        let minted =
            Minted { cert: directory.join(format!("{name}-cert.pem")), key: directory.join(format!("{name}-key.pem")) };
        for (path, text) in [(&minted.cert, chain), (&minted.key, key.serialize_pem())] {
            std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(minted)
    }
}
