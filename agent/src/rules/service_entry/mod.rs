//! ServiceEntry: destinations outside the cluster, by name and address.

mod read;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, net::IpAddr, num::NonZeroU16};

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use super::value::{Host, words};
use crate::objects::Map;

pub(super) use read::read;

/// `networking.istio.io/v1` ServiceEntry, as far as discovery acts on it.
///
/// A connection is matched by the address and port that were dialled, never by a name that it carries. From that follows
/// what is accepted:
/// - `STATIC` and `NONE` need `addresses`: nothing else would lead a connection to the entry. `DNS` may do without: the
///   addresses that its names resolve to are then those that applications dial.
/// - `NONE` goes on to the address that was dialled, so it has no endpoints, and ports keep their number.
/// - `STATIC` without endpoints is accepted: nobody answers there, and connections are refused.
/// - A wildcard cannot be resolved: `DNS` does not take it. With the others it is only a name for logs and metrics.
/// - `DNS_ROUND_ROBIN` and `DYNAMIC_DNS` are refused: names are resolved ahead, and all of their addresses are used.
/// - `location` may be `MESH_EXTERNAL`, which is the default and is not kept. `MESH_INTERNAL` promises mutual TLS with
///   machines that are no pods; there is no way to have agents there. A pod is reached in its tunnel in any case, also when
///   an entry gives its address.
/// - `exportTo`, `workloadSelector`, `subjectAltNames` are refused. Every namespace sees an entry.
/// - Of endpoints, `network` (other networks have gateways), `locality`, `weight` and `serviceAccount` are refused. `labels`
///   are kept: they describe, and ask for nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceEntry {
    /// Names, at least one.
    pub hosts: Vec<Host>,
    /// Addresses and networks that applications dial.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpNet>,
    /// Ports that applications dial, at least one, each number and name once.
    pub ports: Vec<EntryPort>,
    /// How endpoints are found.
    pub resolution: Resolution,
    /// Endpoints; for `DNS`, the hosts themselves where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EntryEndpoint>,
}

/// One port of a ServiceEntry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EntryPort {
    /// The port that is dialled.
    pub number: NonZeroU16,
    /// Its name.
    pub name: String,
    /// What is spoken there; detected where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<EntryProtocol>,
    /// The endpoints' port, where it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_port: Option<NonZeroU16>,
}

words! {
    /// What is spoken on a port. Upstream's `MONGO`, `MYSQL` and `REDIS` are `TCP` to a mesh that does not parse them,
    /// and `UDP` is not carried.
    EntryProtocol {
        /// HTTP/1.
        Http = "HTTP",
        /// HTTP/2 in the clear.
        Http2 = "HTTP2",
        /// HTTP in TLS, which stays closed to the mesh.
        Https = "HTTPS",
        /// gRPC.
        Grpc = "GRPC",
        /// gRPC for browsers.
        GrpcWeb = "GRPC-WEB",
        /// Anything.
        Tcp = "TCP",
        /// TLS, which stays closed to the mesh.
        Tls = "TLS",
    }
}

words! {
    /// How the endpoints of a ServiceEntry are found.
    #[derive(Default)]
    Resolution {
        /// The address that was dialled is the endpoint.
        #[default]
        None = "NONE",
        /// `endpoints` are addresses.
        Static = "STATIC",
        /// `endpoints` are names, or `hosts` are resolved.
        Dns = "DNS",
    }
}

/// One endpoint of a ServiceEntry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EntryEndpoint {
    /// Where it is.
    pub address: EndpointAddress,
    /// Ports by the names that the entry's ports have, where they differ from the entry's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<String, NonZeroU16>,
    /// What describes it.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub labels: Map,
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EndpointAddress {
    /// An address.
    Ip(IpAddr),
    /// A name to resolve.
    Name(String),
}

impl Serialize for EndpointAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Ip(address) => serializer.collect_str(address),
            Self::Name(name) => serializer.serialize_str(name),
        }
    }
}
