//! What the tests of decisions share: facts that own what they hold.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::{Facts, RequestFacts, TokenFacts};
use crate::mesh::SpiffeId;

/// [`Facts`] with everything that they borrow.
#[derive(Clone, Debug)]
pub(super) struct OwnedFacts {
    pub(super) identity: Option<SpiffeId>,
    pub(super) source: IpAddr,
    pub(super) remote: IpAddr,
    pub(super) destination: SocketAddr,
    pub(super) sni: Option<String>,
    pub(super) request: Option<OwnedRequest>,
}

#[derive(Clone, Debug)]
pub(super) struct OwnedRequest {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) host: String,
    pub(super) headers: HeaderMap,
    pub(super) claims: Option<Map<String, Value>>,
    pub(super) space_delimited: Vec<String>,
}

impl OwnedFacts {
    pub(super) fn ask<R>(&self, question: impl FnOnce(&Facts<'_>) -> R) -> R {
        let token = |request: &OwnedRequest| request.claims.is_some();
        let empty = Map::new();
        let request = self.request.as_ref().map(|request| RequestFacts {
            method: &request.method,
            path: &request.path,
            host: &request.host,
            headers: &request.headers,
            token: token(request).then(|| TokenFacts {
                claims: request.claims.as_ref().unwrap_or(&empty),
                space_delimited: &request.space_delimited,
            }),
        });
        question(&Facts {
            identity: self.identity.as_ref(),
            source: self.source,
            remote: self.remote,
            destination: self.destination,
            sni: self.sni.as_deref(),
            request: request.as_ref(),
            requests_follow: false,
        })
    }
}

/// `shop/web`, of `cluster.local`, or a whole identity without its scheme.
pub(super) fn identity(text: &str) -> SpiffeId {
    let whole = match text.split('/').collect::<Vec<_>>()[..] {
        [namespace, account] => format!("spiffe://cluster.local/ns/{namespace}/sa/{account}"),
        _ => format!("spiffe://{text}"),
    };
    whole.parse().unwrap()
}

/// Lines such as `name: value`.
pub(super) fn headers(lines: &[impl AsRef<str>]) -> HeaderMap {
    let pair = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())
    };
    let mut map = HeaderMap::new();
    for (name, value) in lines.iter().map(|line| pair(line.as_ref())) {
        map.append(name, value);
    }
    map
}
