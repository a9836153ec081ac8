//! A Kubernetes Service with the endpoints behind each of its ports.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::Workload;

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
    /// Ports, TCP only.
    pub ports: Vec<Arc<ServicePort>>,
}

/// One TCP port of a Service, and where its connections can go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// The Service that has this port.
    pub service: ServiceName,
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
