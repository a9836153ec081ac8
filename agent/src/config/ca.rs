//! Reads `ca` of `agent.yaml`: who signs this node's certificates.

use std::{fmt, path::Path};

use http::Uri;
use rustls::pki_types::ServerName;

use super::{
    CaAddress, CaConfig, RemoteCaConfig, defaults,
    resolve::{ABSOLUTE_PATH, DURATION, absolute_path, duration, non_empty_path, required},
    source::map_even_if_empty,
    yaml::MapReader,
};

const ADDRESS: &str = "the authority's address such as https://heddle-ca.heddle-system.svc:15012";
const ROOTS: &str = "an absolute path of the PEM file with the roots that vouch for the authority";
const CLUSTER_ID: &str = "a name of printable ASCII characters";

/// The authority; `None` where a problem left none, which has been reported then. `cluster` is this cluster's name.
pub(super) fn ca(root: &MapReader<'_>, cluster: &str) -> Option<CaConfig> {
    let ca = root.map_or_empty("ca")?;
    let remote = map_even_if_empty(&ca, "remote");
    if remote.is_none() && !ca.has("remote") {
        let local = ca.map_or_empty("local");
        ca.finish();
        return from_local(local?);
    }
    if ca.names("local") {
        ca.complain_here("found local and remote, allowed: one of the two; remove the other");
    }
    ca.tolerate(&["local"]);
    ca.finish();
    from_remote(remote?, cluster)
}

fn from_local(local: MapReader<'_>) -> Option<CaConfig> {
    let path = local.parsed("path", "a directory that all agents of the mesh share", non_empty_path);
    local.finish();
    Some(path.map_or(CaConfig::LocalMemory, CaConfig::LocalDirectory))
}

fn from_remote(remote: MapReader<'_>, cluster: &str) -> Option<CaConfig> {
    let address = required(&remote, "address", ADDRESS, CaAddress::parse);
    let roots = required(&remote, "roots", ROOTS, absolute_path);
    let token = remote.parsed("token", ABSOLUTE_PATH, absolute_path);
    let server_name = remote.parsed("serverName", "a DNS name or an IP address", server_name);
    let lifetime = remote.parsed("lifetime", DURATION, duration);
    let cluster_id = remote.parsed("clusterId", CLUSTER_ID, |text| is_printable(text).then_some(text));
    let impersonate = remote.boolean("impersonate");
    if !remote.has("clusterId") && !is_printable(cluster) {
        remote.missing("clusterId", &format!("{CLUSTER_ID}, since {cluster:?}, the name of the cluster, is none"));
    }
    remote.finish();
    let address = address?;
    Some(CaConfig::Remote(RemoteCaConfig {
        roots: roots?,
        token: token.unwrap_or_else(|| Path::new(defaults::TOKEN).to_owned()),
        server_name: server_name.unwrap_or_else(|| address.host.clone()),
        lifetime: lifetime.unwrap_or(defaults::CERTIFICATE_LIFETIME),
        cluster_id: cluster_id.unwrap_or(cluster).to_owned(),
        impersonate: impersonate.unwrap_or(true),
        address,
    }))
}

impl CaAddress {
    /// Reads `https://HOST:PORT`. There is no usual port to fall back on.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let bare = matches!(uri.path(), "" | "/") && uri.query().is_none() && !text.contains(['@', '#']);
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().filter(|port| *port > 0)?;
        (uri.scheme_str() == Some("https") && bare && server_name(&host).is_some()).then_some(Self { host, port })
    }
}

impl fmt::Display for CaAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "https://[{host}]:{port}") } else { write!(f, "https://{host}:{port}") }
    }
}

fn server_name(text: &str) -> Option<String> {
    ServerName::try_from(text).ok().map(|name| name.to_str().into_owned())
}

/// It goes into a header.
fn is_printable(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())
}
