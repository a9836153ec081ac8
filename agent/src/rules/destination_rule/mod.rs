//! DestinationRule: how connections to a destination are balanced and bounded.

mod balancing;
mod limits;
mod locality;
#[cfg(test)]
mod tests;

use std::num::NonZeroU16;

use serde::Serialize;

use super::value::{HOST, Host, port, required, word, words};
use crate::config::yaml::MapReader;

pub use balancing::{
    Algorithm, ConsistentHash, HashAlgorithm, HashCookie, HashKey, LoadBalancer, SimpleAlgorithm, Warmup,
};
pub use limits::{ConnectionPool, HttpSettings, OutlierDetection, TcpSettings};
pub use locality::{LocalityFailover, LocalityLb, LocalityPolicy, LocalityShares};

/// `networking.istio.io/v1` DestinationRule for all of a destination: `subsets` are refused, since routes name Services.
/// So are `exportTo` and `workloadSelector`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationRule {
    /// The destination: a Service or ServiceEntry.
    pub host: Host,
    /// How it is reached.
    #[serde(skip_serializing_if = "TrafficPolicy::is_empty")]
    pub traffic_policy: TrafficPolicy,
}

/// How a destination is reached. `tunnel`, `proxyProtocol` and `retryBudget` are refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficPolicy {
    /// For all ports.
    #[serde(flatten)]
    pub settings: PortSettings,
    /// For single ports, each in place of what is said for all, field by field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub port_level_settings: Vec<PortPolicy>,
}

/// What can be said for all ports and for single ones.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortSettings {
    /// Which endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<LoadBalancer>,
    /// How many connections and requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_pool: Option<ConnectionPool>,
    /// When an endpoint is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outlier_detection: Option<OutlierDetection>,
    /// Whether the mesh adds TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ClientTls>,
}

/// Settings of one port of the destination.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortPolicy {
    /// Which port.
    pub port: PortSelector,
    /// What is said for it.
    #[serde(flatten)]
    pub settings: PortSettings,
}

/// A port by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PortSelector {
    /// The port of the Service.
    pub number: NonZeroU16,
}

/// Whether the mesh adds TLS. Certificates and names for TLS of one's own are refused with their modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ClientTls {
    /// How.
    pub mode: ClientTlsMode,
}

words! {
    /// How a destination is reached. `SIMPLE` and `MUTUAL` are refused: the mesh originates no TLS of its own to servers
    /// that are not in it; the application does.
    ClientTlsMode {
        /// As the application speaks. Pods in the mesh are still reached in its tunnels, which no document turns off.
        Disable = "DISABLE",
        /// In the mesh's tunnels only: an endpoint that is not in the mesh is not used.
        IstioMutual = "ISTIO_MUTUAL",
    }
}

impl TrafficPolicy {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Reads the spec.
pub(super) fn read(spec: MapReader<'_>) -> Option<DestinationRule> {
    let host = required(&spec, "host", HOST, spec.parsed("host", HOST, |host| host.parse().ok()));
    let traffic_policy = spec.map("trafficPolicy").map(traffic_policy).unwrap_or_default();
    spec.not_enforced(&["subsets", "exportTo", "workloadSelector"]);
    spec.finish();
    Some(DestinationRule { host: host?, traffic_policy })
}

fn traffic_policy(map: MapReader<'_>) -> TrafficPolicy {
    let settings = settings(&map);
    let mut ports: Vec<PortPolicy> = Vec::new();
    for port_map in map.maps("portLevelSettings") {
        let position = port_map.position();
        let Some(policy) = port_policy(port_map) else { continue };
        if ports.iter().any(|earlier| earlier.port == policy.port) {
            let message = format!("has port {} twice, the second time in line {}", policy.port.number, position.line);
            map.complain("portLevelSettings", message);
        }
        ports.push(policy);
    }
    map.not_enforced(&["tunnel", "proxyProtocol", "retryBudget"]);
    map.finish();
    TrafficPolicy { settings, port_level_settings: ports }
}

fn port_policy(map: MapReader<'_>) -> Option<PortPolicy> {
    let selector = map.map("port").map(|selector| {
        let number = required(&selector, "number", "a port from 1 to 65535", port(&selector, "number"));
        selector.finish();
        number
    });
    let selector = required(&map, "port", "a map with a number", selector);
    let settings = settings(&map);
    map.finish();
    Some(PortPolicy { port: PortSelector { number: selector?? }, settings })
}

fn settings(map: &MapReader<'_>) -> PortSettings {
    PortSettings {
        load_balancer: map.map("loadBalancer").map(balancing::read),
        connection_pool: map.map("connectionPool").map(limits::read_pool),
        outlier_detection: map.map("outlierDetection").map(limits::read_outliers),
        tls: map.map("tls").and_then(tls),
    }
}

fn tls(map: MapReader<'_>) -> Option<ClientTls> {
    let mode = required(&map, "mode", "DISABLE or ISTIO_MUTUAL", word(&map, "mode", &["SIMPLE", "MUTUAL"]));
    map.not_enforced(&[
        "clientCertificate",
        "privateKey",
        "caCertificates",
        "credentialName",
        "subjectAltNames",
        "sni",
        "insecureSkipVerify",
        "caCrl",
    ]);
    map.finish();
    Some(ClientTls { mode: mode? })
}
