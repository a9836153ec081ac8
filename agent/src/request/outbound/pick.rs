//! Which endpoint the next try goes to.

use std::{net::SocketAddr, sync::Arc};

use super::{backend::Backend, forward::Forwarding, stay::Stay};
use crate::{
    balance::{self, Candidate, Chooser, Lease, Wanted},
    mesh::Locality,
    observe::PickLocality,
    request::failed::RequestFailed,
    route::Route,
};

impl Forwarding<'_> {
    /// The endpoint that this try goes to, with its lease where there was a choice.
    pub(super) fn pick(
        &self,
        backend: &Backend<'_>,
        excluded: &[SocketAddr],
        has_fallback: bool,
    ) -> Result<(Candidate, Option<Lease>), RequestFailed> {
        let port = match &backend.to {
            Route::Service(port) => port,
            Route::Workload(workload, address) => {
                let workload = Some(Arc::clone(workload));
                return Ok((balance::candidate(self.snapshot, *address, workload, self.source), None));
            }
            Route::External(address, _) => {
                return Ok((balance::candidate(self.snapshot, *address, None, self.source), None));
            }
        };
        let sticky = backend.stay.as_ref().and_then(Stay::endpoint);
        let settings = backend.settings.as_deref();
        let wanted = Wanted { settings, hash: backend.hash, sticky, excluded, has_fallback };
        let (candidate, lease) = self.chooser().one_of(port, &wanted)?;
        self.at.thread.node.observer.metrics().endpoint_picked(locality(&candidate, &lease, &self.source.node));
        Ok((candidate, Some(lease)))
    }

    pub(super) fn chooser(&self) -> Chooser<'_> {
        let balancer = &self.at.thread.node.balancer;
        Chooser { balancer, snapshot: self.snapshot, source: self.source, client: self.at.client.ip() }
    }
}

/// Where the endpoint is, seen from the client's node.
fn locality(candidate: &Candidate, lease: &Lease, own_node: &str) -> PickLocality {
    let same_node = candidate.workload.as_ref().is_some_and(|workload| *workload.node == *own_node);
    match lease.locality() {
        _ if same_node => PickLocality::SameNode,
        Locality::SameZone => PickLocality::SameZone,
        Locality::OtherZone => PickLocality::OtherZone,
        Locality::Unknown => PickLocality::Unknown,
    }
}
