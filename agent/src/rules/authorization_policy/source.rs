//! `from`: who sends a request.

use std::{fmt, str::FromStr};

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use crate::{
    config::yaml::MapReader,
    rules::value::{StringMatch, list, network_or_address},
};

/// One entry of `from`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RuleFrom {
    /// Who.
    pub source: Source,
}

/// Who sends a request. Every field that has entries must match, by one of them; a field whose name begins with `not` must
/// match by none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Identities that the connection proves, such as `cluster.local/ns/shop/sa/web`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub principals: Vec<StringMatch>,
    /// None of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_principals: Vec<StringMatch>,
    /// Issuer and subject of the request's token, with `/` between.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub request_principals: Vec<StringMatch>,
    /// None of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_request_principals: Vec<StringMatch>,
    /// Namespaces of the identities.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<StringMatch>,
    /// None of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_namespaces: Vec<StringMatch>,
    /// Service accounts of the identities. Not together with principals or namespaces.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub service_accounts: Vec<ServiceAccountMatch>,
    /// None of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_service_accounts: Vec<ServiceAccountMatch>,
    /// Where the connection comes from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip_blocks: Vec<IpNet>,
    /// None of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_ip_blocks: Vec<IpNet>,
    /// Where the request comes from, by what trusted proxies say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remote_ip_blocks: Vec<IpNet>,
    /// None of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_remote_ip_blocks: Vec<IpNet>,
}

/// A service account, written `namespace/name`, or `name` for one of the policy's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceAccountMatch {
    /// Namespace; `None` for that of the policy.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

/// The trust domain that principals name where they mean that of the mesh, whatever it is called: Istio's default, which
/// manifests are shared with.
pub const OWN_DOMAIN: &str = "cluster.local";

pub(super) const PRINCIPAL: &str =
    "an identity without spiffe:// such as cluster.local/ns/shop/sa/web, with * in front, at the end, or alone";
pub(super) const NAMESPACE: &str = "a namespace, with * in front, at the end, or alone";
pub(super) const SERVICE_ACCOUNT: &str = "a service account as namespace/name or name, without *";
pub(super) const NETWORK: &str = "an address or network such as 192.0.2.1 or 10.0.0.0/8";
pub(super) const TEXT: &str = "text with * in front, at the end, or alone";

const MOST_SERVICE_ACCOUNTS: usize = 16;

/// Reads an entry of `from`.
pub(super) fn read(map: MapReader<'_>) -> Option<RuleFrom> {
    let source = map.map("source");
    if !map.has("source") {
        map.missing("source", "a map with at least one field");
    }
    map.finish();
    source.map(|source| RuleFrom { source: read_source(source) })
}

fn read_source(map: MapReader<'_>) -> Source {
    let texts = |key| list(&map, key, TEXT, |text| text.parse().ok());
    let namespaces = |key| list(&map, key, NAMESPACE, |text| text.parse().ok());
    let principals = |key| list(&map, key, PRINCIPAL, principal);
    let accounts = |key| list(&map, key, SERVICE_ACCOUNT, |text| text.parse().ok());
    let networks = |key| list(&map, key, NETWORK, network_or_address);
    let source = Source {
        principals: principals("principals"),
        not_principals: principals("notPrincipals"),
        request_principals: texts("requestPrincipals"),
        not_request_principals: texts("notRequestPrincipals"),
        namespaces: namespaces("namespaces"),
        not_namespaces: namespaces("notNamespaces"),
        service_accounts: accounts("serviceAccounts"),
        not_service_accounts: accounts("notServiceAccounts"),
        ip_blocks: networks("ipBlocks"),
        not_ip_blocks: networks("notIpBlocks"),
        remote_ip_blocks: networks("remoteIpBlocks"),
        not_remote_ip_blocks: networks("notRemoteIpBlocks"),
    };
    map.not_enforced(&["trustDomains", "notTrustDomains"]);
    check(&map);
    super::check_fields(&map);
    map.finish();
    source
}

/// Upstream's rules for service accounts.
fn check(map: &MapReader<'_>) {
    for key in ["serviceAccounts", "notServiceAccounts"].into_iter().filter(|key| map.has(key)) {
        for other in ["principals", "notPrincipals", "namespaces", "notNamespaces"] {
            if map.has(other) {
                map.complain(
                    key,
                    format!("cannot be there together with {other}: both name identities; use two sources"),
                );
            }
        }
        let count = map.length(key).unwrap_or(0);
        if count > MOST_SERVICE_ACCOUNTS {
            map.complain(key, format!("has {count} entries, allowed: up to {MOST_SERVICE_ACCOUNTS}"));
        }
    }
}

/// The scheme is not part of a principal: with it, nothing would ever match, and a rule that denies would not.
pub(super) fn principal(text: &str) -> Option<StringMatch> {
    let found: StringMatch = text.parse().ok()?;
    (!found.literal().contains("://")).then_some(found)
}

impl FromStr for ServiceAccountMatch {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (namespace, name) = text.split_once('/').map_or((None, text), |(namespace, name)| (Some(namespace), name));
        let is_name = |part: &str| {
            let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
            (1..=253).contains(&part.len()) && part.bytes().all(allowed)
        };
        let good = is_name(name) && namespace.is_none_or(is_name);
        good.then(|| Self { namespace: namespace.map(str::to_owned), name: name.to_owned() }).ok_or(())
    }
}

impl fmt::Display for ServiceAccountMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl Serialize for ServiceAccountMatch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
