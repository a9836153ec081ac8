//! Step 5: which endpoint? An order of endpoints to try, each with the way to reach it.
//!
//! A connection tries [`candidates`]: every endpoint in use is as likely as every other, or the client's address decides
//! where the Service wants that. A request asks the node's [`Balancer`], which knows how endpoints do.

mod affinity;
pub mod answered;
mod balancer;
pub mod breaker;
mod cookies;
mod endpoint;
pub mod ewma;
mod group;
pub mod hash_key;
pub mod health;
mod lease;
mod left_out;
pub mod maglev;
mod pick;
mod random;
mod refuge;
pub mod retry_after;
pub mod session;
mod set;
mod tables;
#[cfg(test)]
mod tests;
mod warmup;
mod zone;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{
    authorize,
    mesh::{Membership, ServiceName, ServicePort, Snapshot, SpiffeId, Workload},
    route::Route,
};

pub use answered::{Answered, TryResult};
pub use balancer::{Ask, Balancer};
pub use lease::Lease;

/// Endpoints that one connection tries: enough to get around a dead one and its neighbour, few enough that an outage
/// does not multiply the load.
pub const MAX_TRIES: usize = 3;

/// An endpoint to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where the application listens.
    pub address: SocketAddr,
    /// The pod there, if the mesh knows it.
    pub workload: Option<Arc<Workload>>,
    /// How to reach it.
    pub way: Way,
}

/// The endpoints to try, best first: at least one, at most [`MAX_TRIES`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidates {
    /// To be tried at once.
    pub first: Candidate,
    /// To be tried when that fails.
    pub rest: Vec<Candidate>,
}

/// How an endpoint is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// By a tunnel, whose other end must prove this identity.
    Tunnel(SpiffeId),
    /// By plain TCP.
    Plain(WhyPlain),
}

/// Why an endpoint is reached without a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyPlain {
    /// It is not in the mesh.
    OutsideMesh,
    /// It is the pod itself.
    Itself,
    /// A PeerAuthentication says DISABLE of its port.
    Disabled,
}

/// No endpoint of a Service accepts connections now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("service {service} has no ready endpoint on port {port}: look at its EndpointSlices")]
pub struct NoEndpoint {
    /// The Service.
    pub service: ServiceName,
    /// Its port.
    pub port: u16,
}

/// The endpoints to try for a connection that `source` makes from the address `client`.
pub fn candidates(
    snapshot: &Snapshot,
    route: &Route,
    source: &Workload,
    client: IpAddr,
) -> Result<Candidates, NoEndpoint> {
    let only = |first| Candidates { first, rest: Vec::new() };
    match route {
        Route::Service(port) => {
            let picked = pick(port, client).into_iter();
            let workload = |address: SocketAddr| snapshot.workload(address.ip()).cloned();
            let mut picked = picked.map(|address| candidate(snapshot, address, workload(address), source));
            let none = || NoEndpoint { service: port.service.clone(), port: port.port };
            Ok(Candidates { first: picked.next().ok_or_else(none)?, rest: picked.collect() })
        }
        Route::Workload(workload, address) => {
            Ok(only(candidate(snapshot, *address, Some(Arc::clone(workload)), source)))
        }
        Route::External(address, _) => Ok(only(candidate(snapshot, *address, None, source))),
    }
}

/// Addresses in the order in which they are tried, each once.
fn pick(port: &ServicePort, client: IpAddr) -> Vec<SocketAddr> {
    match port.client_affinity {
        None => random::pick(&port.ready),
        Some(_) => affinity::pick(&port.ready, client),
    }
}

/// An endpoint at this address, with the way to reach it.
pub(crate) fn candidate(
    snapshot: &Snapshot,
    address: SocketAddr,
    workload: Option<Arc<Workload>>,
    source: &Workload,
) -> Candidate {
    let way = match &workload {
        // A pod that reaches itself by its Service stays inside its own network namespace.
        Some(workload) if workload.uid == source.uid => Way::Plain(WhyPlain::Itself),
        Some(workload) if workload.membership == Membership::Enrolled => {
            match authorize::takes_plaintext_only(snapshot, workload, address.port()) {
                true => Way::Plain(WhyPlain::Disabled),
                false => Way::Tunnel(workload.identity.clone()),
            }
        }
        Some(_) | None => Way::Plain(WhyPlain::OutsideMesh),
    };
    Candidate { address, workload, way }
}
