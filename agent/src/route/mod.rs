//! Step 4: where to? From the address that the application dialled to the Service, pod or outside address it means.
//!
//! What is dialled stands for a Service port; the routes of that port then decide further, over requests ([`http`]) or
//! connections ([`streams`]). The data path does not ask those yet: it does not read HTTP.

pub mod backend;
pub mod fallback;
pub mod fault;
pub mod http;
pub mod protocol;
pub mod retry;
pub mod streams;
pub mod timeouts;

use std::{net::SocketAddr, sync::Arc};

use crate::mesh::{Destination, ServiceName, ServicePort, Snapshot, Workload};

/// Where a connection is going.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// To one of the endpoints of a Service port.
    Service(Arc<ServicePort>),
    /// To exactly this pod.
    Workload(Arc<Workload>, SocketAddr),
    /// To something outside the mesh, as if the mesh were not there; by the name that a ServiceEntry gives it, if any.
    External(SocketAddr, Option<ServiceName>),
}

/// The address is a Service's, but nothing is there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("service {service} has no TCP port {port}; it has {}", list(known))]
pub struct NoRoute {
    /// The Service.
    pub service: ServiceName,
    /// The port that was dialled.
    pub port: u16,
    /// The ports that it has.
    pub known: Vec<u16>,
}

fn list(ports: &[u16]) -> String {
    match ports {
        [] => "none".to_owned(),
        ports => ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// Decides where a connection to this address goes.
pub fn route(snapshot: &Snapshot, original_dst: SocketAddr) -> Result<Route, NoRoute> {
    match snapshot.destination(original_dst) {
        Destination::Service(port) => Ok(Route::Service(port)),
        Destination::Workload(workload) => Ok(Route::Workload(workload, original_dst)),
        Destination::Named(name) => Ok(Route::External(original_dst, Some(name))),
        Destination::External => Ok(Route::External(original_dst, None)),
        Destination::UnknownServicePort(service) => Err(NoRoute {
            service: service.name.clone(),
            port: original_dst.port(),
            known: service.ports.iter().map(|port| port.port).collect(),
        }),
    }
}

impl Route {
    /// The Service, if it goes to one.
    pub fn service(&self) -> Option<&ServiceName> {
        match self {
            Self::Service(port) => Some(&port.service),
            Self::External(_, name) => name.as_ref(),
            Self::Workload(..) => None,
        }
    }
}
