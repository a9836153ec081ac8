//! TLSRoute: which Services the TLS connections to a Service go to, by the server name that the client asks for.
//!
//! Here `hostnames` is the whole match, and so it counts for a route of a Service too.

#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Serialize, Serializer};

use super::gateway::{ParentRef, StreamRule, is_list, is_precise_hostname, parent_refs, stream_rules};
use crate::config::yaml::MapReader;

/// By upstream's newest schema; older ones allow 16.
const MAX_NAMES: usize = 1024;

const NAME: &str = "a host name in lower case, or one with \"*\" as its first label, and no IP address";

/// `gateway.networking.k8s.io/v1` TLSRouteSpec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsRoute {
    /// The Services that it is for, at least one.
    pub parent_refs: Vec<ParentRef>,
    /// The server names that match, at least one.
    pub hostnames: Vec<ServerName>,
    /// Exactly one.
    pub rules: Vec<StreamRule>,
}

/// A server name, or a set of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerName {
    /// This name.
    Exact(String),
    /// `*.example.com`: every name with one or more labels before this one.
    Below(String),
}

/// Reads the spec.
pub(super) fn read(spec: MapReader<'_>) -> Option<TlsRoute> {
    let parent_refs = parent_refs(&spec);
    spec.not_enforced(&["useDefaultGateways"]);
    let hostnames = hostnames(&spec);
    let rules = stream_rules(&spec);
    spec.finish();
    Some(TlsRoute { parent_refs, hostnames, rules })
}

fn hostnames(spec: &MapReader<'_>) -> Vec<ServerName> {
    if !spec.has("hostnames") {
        spec.missing("hostnames", "a list of server names; a TCPRoute takes connections whatever their name");
    }
    if !is_list(spec, "hostnames", "a list of server names", 1..=MAX_NAMES) {
        return Vec::new();
    }
    spec.scalars("hostnames", NAME, |node| server_name(node.text()?))
}

fn server_name(text: &str) -> Option<ServerName> {
    let name = text.strip_prefix("*.");
    if text.len() > 253 || !is_precise_hostname(name.unwrap_or(text)) {
        return None;
    }
    Some(name.map_or_else(|| ServerName::Exact(text.to_owned()), |name| ServerName::Below(name.to_owned())))
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Below(name) => write!(f, "*.{name}"),
        }
    }
}

impl Serialize for ServerName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
