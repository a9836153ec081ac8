//! From where an issuer's keys are to their [`KeySet`]: one GET, or two where the issuer's metadata says where.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use http::{StatusCode, Uri};
use serde_json::Value;

use super::{FetchKeys, KeyLocation, PublishedKeys, address::AddressRule, http_get::HttpGet};
use crate::{
    names::{Lookup, LookupError},
    observe::KeyFetchResult,
    outside::Roots,
    rules::request_authentication::KeySet,
};

/// The servers of issuers, asked over HTTP.
#[derive(Clone)]
pub struct KeyServers(HttpGet);

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// There is nobody to ask.
    #[error("{0:?} is no web address; give jwksUri or jwks in the rule")]
    Name(String),
    /// The name servers do not answer.
    #[error("resolve {host}: {source}")]
    Unresolved {
        /// The name.
        host: String,
        /// Why.
        source: LookupError,
    },
    /// The name has no address.
    #[error("{0} has no address")]
    NoAddress(String),
    /// Nobody is to be asked there.
    #[error("{0} is of the node itself or of a cloud's metadata service, which are never asked for keys")]
    Forbidden(IpAddr),
    /// No connection.
    #[error("connect to {target}: {source}")]
    Connect {
        /// Where.
        target: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// There is nothing to check the server by.
    #[error("read roots: {0}, as jwks.roots of agent.yaml")]
    Roots(String),
    /// The server did not prove who it is, or speaks no TLS.
    #[error("TLS: {0}; if the server's root is one of your own, give it as jwks.roots of agent.yaml")]
    Tls(io::Error),
    /// It does not speak HTTP, or ended in the middle.
    #[error("HTTP: {0}")]
    Http(hyper::Error),
    /// It answered with something else.
    #[error("the answer is {status}{}", moved.as_deref().map(|to| format!(" to {to:?}, which is not followed")).unwrap_or_default())]
    Status {
        /// The status.
        status: StatusCode,
        /// Where it says that the keys are.
        moved: Option<String>,
    },
    /// The answer is larger than any set of keys.
    #[error("the answer is longer than {0} bytes")]
    TooLarge(usize),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The answer is not what was asked for.
    #[error("the answer {0}")]
    Useless(String),
}

impl KeyServers {
    /// Whose names `resolver` knows, whose certificates lead to `roots`, at addresses that `may_dial` lets pass.
    pub fn new(resolver: Arc<dyn Lookup>, roots: Roots, may_dial: AddressRule) -> Self {
        Self(HttpGet { resolver, roots, may_dial })
    }
}

impl FetchKeys for KeyServers {
    fn fetch(&self, location: &KeyLocation, limit: Duration) -> BoxFuture<'static, Result<PublishedKeys, FetchError>> {
        let (http, location) = (self.0.clone(), location.clone());
        async move {
            let uri = match location {
                KeyLocation::Uri(uri) => uri,
                KeyLocation::Issuer(issuer) => discover(&http, &issuer, limit).await?,
            };
            let answer = http.get(&uri, limit).await?;
            let (keys, left_out) = KeySet::published(&answer.body).map_err(FetchError::Useless)?;
            Ok(PublishedKeys { keys: Arc::new(keys), left_out, good_for: answer.good_for })
        }
        .boxed()
    }
}

/// OpenID Connect Discovery 1.0, sections 4.1 and 4.3: the metadata must be of this very issuer.
async fn discover(http: &HttpGet, issuer: &str, limit: Duration) -> Result<Uri, FetchError> {
    let place = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let place = web_address(&place).ok_or_else(|| FetchError::Name(issuer.to_owned()))?;
    let answer = http.get(&place, limit).await?;
    let metadata: Value = serde_json::from_slice(&answer.body)
        .map_err(|error| FetchError::Useless(format!("of {place} is no JSON: {error}")))?;
    let found = &metadata["issuer"];
    if found.as_str() != Some(issuer) {
        return Err(FetchError::Useless(format!("of {place} is of issuer {found}, not {issuer:?}")));
    }
    let keys = metadata["jwks_uri"].as_str().and_then(web_address);
    keys.ok_or_else(|| {
        FetchError::Useless(format!("of {place} has no web address as jwks_uri: {}", metadata["jwks_uri"]))
    })
}

fn web_address(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    (is_web && uri.host().is_some_and(|host| !host.is_empty())).then_some(uri)
}

impl FetchError {
    /// The label of its kind.
    pub fn result(&self) -> KeyFetchResult {
        match self {
            Self::Name(_) | Self::Unresolved { .. } | Self::NoAddress(_) => KeyFetchResult::NoAddress,
            Self::Forbidden(_) => KeyFetchResult::Forbidden,
            Self::Connect { .. } | Self::Http(_) => KeyFetchResult::Unreachable,
            Self::Roots(_) | Self::Tls(_) => KeyFetchResult::Tls,
            Self::Status { .. } => KeyFetchResult::Status,
            Self::TimedOut(_) => KeyFetchResult::Timeout,
            Self::TooLarge(_) | Self::Useless(_) => KeyFetchResult::Invalid,
        }
    }
}
