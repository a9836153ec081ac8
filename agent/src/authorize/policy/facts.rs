//! What a decision reads of a connection, and of a request where it is parsed as HTTP. All of it is borrowed.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, header};
use serde_json::{Map, Value};

use crate::{mesh::SpiffeId, rules::request_authentication::ALWAYS_SPACE_DELIMITED};

/// What is known of a connection that reaches a workload. IPv4 addresses may be written as IPv6 ones (`::ffff:`).
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The identity that the client proved; `None` for plaintext.
    pub identity: Option<&'a SpiffeId>,
    /// Where the connection comes from.
    pub source: IpAddr,
    /// The client's address by what trusted proxies say, and where none is trusted the same as `source`.
    pub remote: IpAddr,
    /// The workload's address and port.
    pub destination: SocketAddr,
    /// The server name that the client asks for in TLS of its own.
    pub sni: Option<&'a str>,
    /// The request; `None` where the connection is not parsed as HTTP, or none has come yet.
    pub request: Option<&'a RequestFacts<'a>>,
    /// No request has come yet, and each will be decided by itself: the question is whether any of them could be allowed.
    pub requests_follow: bool,
}

/// What is known of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestFacts<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its path; a query after it is not looked at.
    pub path: &'a str,
    /// `:authority`, or the `Host` header, with its port where it has one; empty if there is neither.
    pub host: &'a str,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// The token that it carries, verified.
    pub token: Option<TokenFacts<'a>>,
}

/// A JSON Web Token whose signature, issuer and times were verified.
#[derive(Clone, Copy, Debug)]
pub struct TokenFacts<'a> {
    /// All claims.
    pub claims: &'a Map<String, Value>,
    /// Claims that are lists of words with spaces between, besides those that always are.
    pub space_delimited: &'a [String],
}

impl<'a> RequestFacts<'a> {
    /// The path alone.
    pub(super) fn path_alone(&self) -> &'a str {
        self.path.split(['?', '#']).next().unwrap_or_default()
    }

    /// The values of a header, each line on its own. HTTP/2 has the host elsewhere.
    pub(super) fn header<'b>(&'b self, name: &'b HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a, 'b> {
        let is_elsewhere = *name == header::HOST && !self.headers.contains_key(name) && !self.host.is_empty();
        let host = is_elsewhere.then_some(self.host.as_bytes());
        self.headers.get_all(name).into_iter().map(http::HeaderValue::as_bytes).chain(host)
    }
}

impl<'a> TokenFacts<'a> {
    /// Issuer and subject with a slash between; `None` if one of them is missing or empty.
    pub(super) fn principal(&self) -> Option<[&'a str; 3]> {
        let text = |claim| self.claims.get(claim)?.as_str().filter(|text| !text.is_empty());
        Some([text("iss")?, "/", text("sub")?])
    }

    /// The claim of a path.
    pub(super) fn claim(&self, path: &[impl AsRef<str>]) -> Option<&'a Value> {
        let (first, rest) = path.split_first()?;
        let value = self.claims.get(first.as_ref())?;
        rest.iter().try_fold(value, |value, name| value.as_object()?.get(name.as_ref()))
    }

    /// Whether a claim is a text that is asked for, or a list with one. Numbers and other values are no texts.
    pub(super) fn has_claim(&self, path: &[impl AsRef<str>], is_asked_for: impl Fn(&str) -> bool) -> bool {
        let is_list_of_words = matches!(path, [name] if self.is_space_delimited(name.as_ref()));
        match self.claim(path) {
            Some(Value::String(words)) if is_list_of_words => {
                words.split(' ').filter(|word| !word.is_empty()).any(is_asked_for)
            }
            Some(Value::String(text)) => is_asked_for(text),
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).any(is_asked_for),
            _ => false,
        }
    }

    fn is_space_delimited(&self, name: &str) -> bool {
        ALWAYS_SPACE_DELIMITED.contains(&name) || self.space_delimited.iter().any(|own| own == name)
    }
}
