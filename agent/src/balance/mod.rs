//! Step 5: which endpoint? An order of endpoints to try, each with the way to reach it.
//!
//! The node's [`Balancer`] knows how endpoints do and how much is under way to them; a [`Chooser`] asks it for one
//! connection or request, and looks up the way to reach what it picks.

mod affinity;
pub mod answered;
mod balancer;
pub mod breaker;
mod cookies;
mod endpoint;
pub mod ewma;
mod forecast;
mod group;
pub mod hash_key;
pub mod health;
mod lease;
mod left_out;
pub mod maglev;
mod pick;
mod refuge;
pub mod retry_after;
mod room;
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
    time::Instant,
};

use crate::{
    authorize,
    mesh::{Membership, ServiceName, ServicePort, Snapshot, SpiffeId, Workload},
    observe::Party,
    route::Route,
    rules::destination_rule::{ClientTlsMode, PortSettings},
};

pub use answered::{Answered, TryResult};
pub use balancer::{Ask, Balancer, Memory};
pub use forecast::{Forecast, Foreseen};
pub use lease::Lease;
pub use pick::Bound;

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
    /// The endpoint as the party that answers; its identity once it has proved one.
    pub fn party(&self, identity: Option<SpiffeId>) -> Party {
        Party { address: self.address, workload: self.workload.clone(), identity }
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

/// Who is to be balanced for, and by what.
#[derive(Clone, Copy)]
pub struct Chooser<'a> {
    /// The node's balancer.
    pub balancer: &'a Balancer,
    /// The mesh.
    pub snapshot: &'a Snapshot,
    /// The client's pod.
    pub source: &'a Workload,
    /// The client's address.
    pub client: IpAddr,
}

/// What one choice depends on beside who chooses.
#[derive(Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// What a DestinationRule says of the Service port.
    pub settings: Option<&'a PortSettings>,
    /// The hash of what requests have in common.
    pub hash: Option<u64>,
    /// The endpoint that is kept, while it is in use.
    pub sticky: Option<SocketAddr>,
    /// Those that were tried.
    pub excluded: &'a [SocketAddr],
    /// Whether somebody takes over where all endpoints are left out: else they are used all the same.
    pub has_fallback: bool,
}

impl Chooser<'_> {
    /// The endpoints to try for a connection, with the lease of the first where there was a choice.
    pub fn candidates(&self, route: &Route, wanted: &Wanted<'_>) -> Result<(Candidates, Option<Lease>), NoEndpoint> {
        let only = |first| Candidates { first, rest: Vec::new() };
        match route {
            Route::Service(port) => {
                let (first, lease) = self.one_of(port, wanted)?;
                let (mut rest, mut excluded) = (Vec::new(), vec![first.address]);
                while excluded.len() < MAX_TRIES.min(port.ready.len()) {
                    let wanted = Wanted { excluded: &excluded, ..*wanted };
                    let next = self.one_of(port, &wanted).map(|(candidate, _)| candidate);
                    // Whoever was tried comes again only where nobody else is in use.
                    match next.ok().filter(|next| !excluded.contains(&next.address)) {
                        Some(next) => {
                            excluded.push(next.address);
                            rest.push(next);
                        }
                        None => break,
                    }
                }
                Ok((Candidates { first, rest }, Some(lease)))
            }
            Route::Workload(workload, address) => {
                let workload = Some(Arc::clone(workload));
                Ok((only(candidate(self.snapshot, *address, workload, self.source)), None))
            }
            Route::External(address, _) => Ok((only(candidate(self.snapshot, *address, None, self.source)), None)),
        }
    }

    /// One of a Service port's endpoints. Where a document says ISTIO_MUTUAL, only those in the mesh.
    pub fn one_of(&self, port: &Arc<ServicePort>, wanted: &Wanted<'_>) -> Result<(Candidate, Lease), NoEndpoint> {
        let settings = wanted.settings;
        let tls = settings.and_then(|settings| settings.tls).map(|tls| tls.mode);
        let mut excluded = wanted.excluded.to_vec();
        for _ in 0..PASSED_OVER {
            let lease = self.balancer.pick(&self.question(port, wanted, &excluded))?;
            let workload = self.snapshot.workload(lease.address().ip()).cloned();
            let candidate = candidate(self.snapshot, lease.address(), workload, self.source);
            if tls != Some(ClientTlsMode::IstioMutual) || candidate.way != Way::Plain(WhyPlain::OutsideMesh) {
                return Ok((candidate, lease));
            }
            excluded.push(candidate.address);
        }
        Err(NoEndpoint { service: port.service.clone(), port: port.port })
    }

    /// What a choice among a Service port's endpoints would come to, with the way to each: for who explains.
    pub fn forecast(&self, port: &Arc<ServicePort>, wanted: &Wanted<'_>) -> (Forecast, Vec<Candidate>) {
        let way = |forecast: &Forecast| -> Vec<Candidate> {
            let workload = |address: SocketAddr| self.snapshot.workload(address.ip()).cloned();
            let all = forecast.endpoints.iter().map(|seen| seen.address);
            all.map(|address| candidate(self.snapshot, address, workload(address), self.source)).collect()
        };
        let forecast = self.balancer.forecast(&self.question(port, wanted, wanted.excluded));
        let candidates = way(&forecast);
        let tls = wanted.settings.and_then(|settings| settings.tls).map(|tls| tls.mode);
        if tls != Some(ClientTlsMode::IstioMutual) {
            return (forecast, candidates);
        }
        let outside = candidates.iter().filter(|one| one.way == Way::Plain(WhyPlain::OutsideMesh));
        let excluded: Vec<_> = outside.map(|one| one.address).chain(wanted.excluded.iter().copied()).collect();
        let forecast = self.balancer.forecast(&self.question(port, wanted, &excluded));
        let candidates = way(&forecast);
        (forecast, candidates)
    }

    fn question<'q>(&self, port: &'q Arc<ServicePort>, wanted: &Wanted<'q>, excluded: &'q [SocketAddr]) -> Ask<'q> {
        let settings = wanted.settings;
        Ask {
            port,
            load_balancer: settings.and_then(|settings| settings.load_balancer.as_ref()),
            outliers: settings.and_then(|settings| settings.outlier_detection.as_ref()),
            hash: wanted.hash,
            client: self.client,
            sticky: wanted.sticky,
            excluded,
            has_fallback: wanted.has_fallback,
            now: Instant::now(),
        }
    }
}

/// Endpoints outside the mesh that are passed over where only those in it may be used.
const PASSED_OVER: usize = 8;

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
