//! Step 5: which endpoint? An order of endpoints to try, each with the way to reach it.
//!
//! Every ready endpoint is as likely as every other; balancing that looks at load comes later.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    mesh::{Endpoint, Membership, ServiceName, SpiffeId, Workload},
    route::Route,
};

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

impl Candidate {
    /// Whether it is this pod.
    pub fn is(&self, workload: &Workload) -> bool {
        self.workload.as_ref().is_some_and(|own| own.uid == workload.uid)
    }
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
    /// By plain TCP: it is not in the mesh, or it is the pod itself.
    Plain,
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

/// The endpoints to try for a connection of `source`.
pub fn candidates(route: &Route, source: &Workload) -> Result<Candidates, NoEndpoint> {
    let only = |first| Candidates { first, rest: Vec::new() };
    match route {
        Route::Service(port) => {
            let mut picked = pick(&port.ready).into_iter().map(|endpoint| candidate(endpoint, source));
            let none = || NoEndpoint { service: port.service.clone(), port: port.port };
            Ok(Candidates { first: picked.next().ok_or_else(none)?, rest: picked.collect() })
        }
        Route::Workload(workload, address) => {
            let endpoint = Endpoint { address: *address, workload: Some(Arc::clone(workload)) };
            Ok(only(candidate(&endpoint, source)))
        }
        Route::External(address) => Ok(only(Candidate { address: *address, workload: None, way: Way::Plain })),
    }
}

/// Different endpoints in random order. The cost does not grow with the number of endpoints.
fn pick(endpoints: &[Endpoint]) -> Vec<&Endpoint> {
    let wanted = endpoints.len().min(MAX_TRIES);
    let mut picked: Vec<usize> = Vec::with_capacity(wanted);
    // Robert Floyd's sampling: each step adds one index that is not there yet.
    for last in endpoints.len() - wanted..endpoints.len() {
        let index = fastrand::usize(..=last);
        picked.push(if picked.contains(&index) { last } else { index });
    }
    fastrand::shuffle(&mut picked);
    picked.into_iter().map(|index| &endpoints[index]).collect()
}

fn candidate(endpoint: &Endpoint, source: &Workload) -> Candidate {
    let way = match &endpoint.workload {
        // A pod that reaches itself by its Service stays inside its own network namespace.
        Some(workload) if workload.uid == source.uid => Way::Plain,
        Some(workload) if workload.membership == Membership::Enrolled => Way::Tunnel(workload.identity.clone()),
        Some(_) | None => Way::Plain,
    };
    Candidate { address: endpoint.address, workload: endpoint.workload.clone(), way }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(count: u16) -> Vec<Endpoint> {
        let address = |port| SocketAddr::from(([10, 0, 0, 1], port));
        (0..count).map(|port| Endpoint { address: address(port), workload: None }).collect()
    }

    #[test]
    fn picks_are_different_endpoints() {
        for count in 0..8 {
            let endpoints = endpoints(count);
            for _ in 0..100 {
                let mut ports: Vec<u16> = pick(&endpoints).iter().map(|e| e.address.port()).collect();
                assert_eq!(ports.len(), endpoints.len().min(MAX_TRIES));
                ports.sort_unstable();
                ports.dedup();
                assert_eq!(ports.len(), endpoints.len().min(MAX_TRIES));
            }
        }
    }

    #[test]
    fn every_endpoint_is_as_likely_to_be_first() {
        let endpoints = endpoints(5);
        let mut first = [0_u32; 5];
        for _ in 0..50_000 {
            first[usize::from(pick(&endpoints)[0].address.port())] += 1;
        }
        // 10,000 each; seven standard deviations are 626.
        assert!(first.iter().all(|count| count.abs_diff(10_000) < 626), "{first:?}");
    }
}
