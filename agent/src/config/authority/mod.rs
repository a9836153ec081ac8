//! `ca.yaml`: how `heddle ca` runs. Text in, [`AuthorityConfig`] out, or every problem of the file at once.
//!
//! It is read as `agent.yaml` is, and serializes to the shape and the keys of the file. There are no secrets in it.

mod admission;
mod agents;
mod defaults;
mod read;
mod root;
#[cfg(test)]
mod tests;

use std::{fmt, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use serde::{Serialize, Serializer, ser::SerializeMap};

pub use admission::AdmissionConfig;
pub use agents::AgentsConfig;

use super::{KubernetesSource, LogFormat};
use crate::mesh::TrustDomain;

/// How `heddle ca` runs. Read once at start.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorityConfig {
    /// The only domain that it signs for.
    #[serde(serialize_with = "as_text")]
    pub trust_domain: TrustDomain,
    /// Where agents reach it.
    #[serde(serialize_with = "as_text")]
    pub listen: SocketAddr,
    /// Where its keys come from.
    pub root: RootConfig,
    /// A ConfigMap that gets the certificates of the trusted roots, for agents to mount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publish: Option<ObjectPlace>,
    /// How long a leaf may live, and lives where a request asks for nothing.
    #[serde(serialize_with = "as_duration")]
    pub leaf_lifetime: Duration,
    /// Whom it believes.
    pub tokens: TokensConfig,
    /// The API server that knows tokens, pods and the Secret.
    pub kubernetes: KubernetesSource,
    /// Its own certificate.
    pub server: ServerConfig,
    /// The webhook that reads mesh documents before they are stored.
    pub admission: AdmissionConfig,
    /// Whether nodes without a ready agent are tainted.
    pub taint_nodes: bool,
    /// The agents, as that goes by them.
    pub agents: AgentsConfig,
    /// The address of `/metrics`.
    #[serde(serialize_with = "as_address")]
    pub metrics: SocketAddr,
    /// The address of `/healthz`.
    #[serde(serialize_with = "as_address")]
    pub health: SocketAddr,
    /// Logs.
    pub log: AuthorityLog,
    /// Bounds and timeouts.
    pub limits: AuthorityLimits,
}

/// Where the keys come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RootConfig {
    /// Roots that are made, and kept in a Secret which all replicas share.
    Secret(SecretRoots),
    /// What somebody else puts into a directory.
    #[serde(rename_all = "camelCase")]
    Files {
        /// The directory.
        path: PathBuf,
        /// Whether a root is made there when the directory has none.
        generate: bool,
    },
}

/// Roots that are made, and replaced before they end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretRoots {
    /// The Secret.
    #[serde(flatten)]
    pub place: ObjectPlace,
    /// How long a root lives.
    #[serde(serialize_with = "as_duration")]
    pub lifetime: Duration,
    /// The next root is made when less than so many percent of the life are left.
    pub rotate_below_percent: u8,
    /// How long a next root is only trusted before it signs, and an old one trusted after it signed last.
    #[serde(serialize_with = "as_duration")]
    pub overlap: Duration,
}

/// An object of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ObjectPlace {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Whom it believes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokensConfig {
    /// For whom a token must be issued.
    pub audience: String,
    /// Who may ask in the name of the pods of its own node.
    pub trusted_service_accounts: Vec<AccountName>,
}

/// A service account, as `NAMESPACE/NAME` in the file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccountName {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

/// Its own certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerConfig {
    /// The names under which agents reach it; addresses are taken too.
    pub dns_names: Vec<String>,
}

/// Logs; audit lines are written at every level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuthorityLog {
    /// As `log.level` of `agent.yaml`.
    pub level: String,
    /// Shape of every line.
    pub format: LogFormat,
}

/// Bounds and timeouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorityLimits {
    /// Open connections; more wait to be accepted.
    pub connections: usize,
    /// Requests at once; more are refused.
    pub requests: usize,
    /// TokenReviews at once; more wait for a moment.
    pub token_reviews: usize,
    /// TLS and the start of HTTP/2.
    #[serde(serialize_with = "as_duration")]
    pub handshake_timeout: Duration,
    /// One request, from its head to its answer.
    #[serde(serialize_with = "as_duration")]
    pub request_timeout: Duration,
    /// A connection without a request.
    #[serde(serialize_with = "as_duration")]
    pub idle_timeout: Duration,
    /// How long running requests may go on after SIGTERM.
    #[serde(serialize_with = "as_duration")]
    pub drain_timeout: Duration,
}

impl fmt::Display for ObjectPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Serialize for AccountName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn as_text<T: fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn as_address<S: Serializer>(address: &SocketAddr, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry("address", address)?;
    map.end()
}

fn as_duration<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*value))
}
