//! A Kubernetes Service with the endpoints behind each of its ports.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::Workload;
use crate::objects::AddressType;

/// A Service's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName {
    /// Kubernetes namespace.
    pub namespace: Arc<str>,
    /// Service name.
    pub name: Arc<str>,
}

impl ServiceName {
    /// The cluster-internal DNS name, `name.namespace.svc.cluster.local`.
    pub fn host(&self) -> String {
        format!("{}.{}.svc.cluster.local", self.name, self.namespace)
    }
}

impl AddressFamily {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The family of an EndpointSlice's addresses; host names have none.
    pub(super) fn of_slice(kind: AddressType) -> Option<Self> {
        match kind {
            AddressType::Ipv4 => Some(Self::V4),
            AddressType::Ipv6 => Some(Self::V6),
            AddressType::Fqdn => None,
        }
    }
}

impl Service {
    /// The ports that a cluster IP of this address's family has.
    pub fn ports_of_family(&self, address: IpAddr) -> impl Iterator<Item = &Arc<ServicePort>> {
        let family = AddressFamily::of(address);
        self.ports.iter().filter(move |port| port.family == family)
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// One Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Namespace and name.
    pub name: ServiceName,
    /// Cluster IPs, empty for a headless Service.
    pub addresses: Vec<IpAddr>,
    /// Ports, TCP only; once per family where the Service has both.
    pub ports: Vec<Arc<ServicePort>>,
}

/// IPv4 or IPv6. A connection to a cluster IP of one family goes to endpoints of the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AddressFamily {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// One TCP port of a Service in one family, and where its connections can go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// The Service that has this port.
    pub service: ServiceName,
    /// The family of the cluster IP and of all endpoints.
    pub family: AddressFamily,
    /// Port number on the cluster IP.
    pub port: u16,
    /// Port name, empty where the Service has only one unnamed port.
    pub name: Arc<str>,
    /// Endpoints that accept connections now (ready, or all where the Service publishes not-ready addresses).
    pub ready: Vec<Endpoint>,
}

/// One address behind a Service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Address and target port.
    pub address: SocketAddr,
    /// The pod there, if the mesh knows one.
    pub workload: Option<Arc<Workload>>,
}
