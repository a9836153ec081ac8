//! SPIFFE identities of Kubernetes service accounts (SPIFFE-ID 2, Istio's `ns/NAMESPACE/sa/SERVICEACCOUNT` path).

use std::{fmt, str::FromStr, sync::Arc};

/// A SPIFFE trust domain: lower-case letters, digits, `.`, `-` and `_`, at most 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

/// `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICEACCOUNT`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    trust_domain: TrustDomain,
    namespace: Arc<str>,
    service_account: Arc<str>,
}

/// Why a text is not an identity of a service account.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeIdError {
    /// It does not begin with `spiffe://`.
    #[error("{0:?} does not begin with \"spiffe://\"")]
    Scheme(String),
    /// The trust domain is empty, too long or has a forbidden character.
    #[error("trust domain {0:?} must be 1 to 255 of the characters a-z, 0-9, '.', '-' and '_'")]
    TrustDomain(String),
    /// The path is not `/ns/NAMESPACE/sa/SERVICEACCOUNT`.
    #[error("path of {0:?} is not /ns/NAMESPACE/sa/SERVICEACCOUNT")]
    Path(String),
}

impl TrustDomain {
    /// The domain as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b);
        if text.is_empty() || text.len() > 255 || !text.bytes().all(allowed) {
            return Err(SpiffeIdError::TrustDomain(text.to_owned()));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl SpiffeId {
    /// The identity of a service account.
    pub fn new(trust_domain: TrustDomain, namespace: Arc<str>, service_account: Arc<str>) -> Self {
        Self { trust_domain, namespace, service_account }
    }

    /// The domain that vouches for it.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Kubernetes namespace.
    pub fn namespace(&self) -> &Arc<str> {
        &self.namespace
    }

    /// Kubernetes service account.
    pub fn service_account(&self) -> &Arc<str> {
        &self.service_account
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/ns/{}/sa/{}", self.trust_domain, self.namespace, self.service_account)
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("spiffe://").ok_or_else(|| SpiffeIdError::Scheme(text.to_owned()))?;
        let (domain, path) = rest.split_once('/').ok_or_else(|| SpiffeIdError::Path(text.to_owned()))?;
        let trust_domain = domain.parse()?;
        let segments: Vec<&str> = path.split('/').collect();
        match segments.as_slice() {
            ["ns", namespace, "sa", account] if !namespace.is_empty() && !account.is_empty() => {
                Ok(Self::new(trust_domain, (*namespace).into(), (*account).into()))
            }
            _ => Err(SpiffeIdError::Path(text.to_owned())),
        }
    }
}
