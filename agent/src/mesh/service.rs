//! A Kubernetes Service and its ports.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use super::Endpoints;
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
    /// The Service that a document of a namespace refers to, which may say another namespace.
    pub fn referred(own_namespace: &Arc<str>, namespace: Option<&str>, name: &str) -> Self {
        Self { namespace: namespace.map_or_else(|| Arc::clone(own_namespace), Arc::from), name: name.into() }
    }

    /// The cluster-internal DNS name, `name.namespace.svc.cluster.local`. A name with a dot in it is that of a host
    /// outside the cluster, and whole already: Kubernetes' own names are single labels.
    pub fn host(&self) -> String {
        if self.name.contains('.') {
            return self.name.to_string();
        }
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
    /// The port with this number in the family of a cluster IP.
    pub fn port(&self, address: SocketAddr) -> Option<&Arc<ServicePort>> {
        self.ports_of_family(address.ip()).find(|port| port.port == address.port())
    }

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
    /// How it is reached.
    pub kind: ServiceKind,
    /// Cluster IPs, empty unless it is of the kind that has them.
    pub addresses: Vec<IpAddr>,
    /// Ports, TCP only; once per family where the Service has both.
    pub ports: Vec<Arc<ServicePort>>,
}

/// How a Service is reached, and so what it can be in a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// By its cluster IPs.
    ClusterIp,
    /// By its pods' addresses: it has none of its own, and cannot be the parent of a route.
    Headless,
    /// By another name: it has neither addresses nor endpoints, and cannot be the parent of a route.
    ExternalName,
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
    /// `appProtocol`, what is spoken there.
    pub app_protocol: Option<Arc<str>>,
    /// Connections of one client address go to one endpoint. How long Kubernetes would keep it so after the last
    /// connection; the mesh keeps it as long as the endpoints stay.
    pub client_affinity: Option<Duration>,
    /// Endpoints that accept connections from this node now.
    pub ready: Endpoints,
}
