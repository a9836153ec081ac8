//! Which endpoint the next try goes to.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use super::{plan::Plan, tries::Forwarding};
use crate::{
    balance::{self, Ask, Candidate, Lease, NoEndpoint, Way, WhyPlain, session::Session},
    mesh::{Locality, ServicePort},
    observe::PickLocality,
    request::failed::RequestFailed,
    route::Route,
    rules::destination_rule::{ClientTlsMode, PortSettings},
};

/// Endpoints outside the mesh that are passed over where only those in it may be used.
const PASSED_OVER: usize = 8;

impl Forwarding<'_> {
    /// The endpoint that this try goes to, with its lease where there was a choice.
    pub(super) fn pick(
        &self,
        plan: &Plan<'_>,
        excluded: &[SocketAddr],
    ) -> Result<(Candidate, Option<Lease>), RequestFailed> {
        let port = match &plan.to {
            Route::Service(port) => port,
            Route::Workload(workload, address) => {
                let workload = Some(Arc::clone(workload));
                return Ok((balance::candidate(self.snapshot, *address, workload, self.source), None));
            }
            Route::External(address, _) => {
                return Ok((balance::candidate(self.snapshot, *address, None, self.source), None));
            }
        };
        let sticky = plan.session.as_ref().and_then(|(_, session)| session.as_ref()).map(Session::endpoint);
        let (candidate, lease) = self.one_of(port, plan.settings.as_deref(), plan.hash, sticky, excluded)?;
        self.at.thread.node.observer.metrics().endpoint_picked(locality(&candidate, &lease, &self.source.node));
        Ok((candidate, Some(lease)))
    }

    /// One of a Service port's endpoints.
    pub(super) fn one_of(
        &self,
        port: &Arc<ServicePort>,
        settings: Option<&PortSettings>,
        hash: Option<u64>,
        sticky: Option<SocketAddr>,
        excluded: &[SocketAddr],
    ) -> Result<(Candidate, Lease), NoEndpoint> {
        let in_mesh_only =
            settings.and_then(|settings| settings.tls).is_some_and(|tls| tls.mode == ClientTlsMode::IstioMutual);
        let mut excluded = excluded.to_vec();
        for _ in 0..PASSED_OVER {
            let lease = self.at.thread.node.balancer.pick(&Ask {
                port,
                load_balancer: settings.and_then(|settings| settings.load_balancer.as_ref()),
                outliers: settings.and_then(|settings| settings.outlier_detection.as_ref()),
                hash,
                client: self.at.client.ip(),
                sticky,
                excluded: &excluded,
                now: Instant::now(),
            })?;
            let workload = self.snapshot.workload(lease.address().ip()).cloned();
            let candidate = balance::candidate(self.snapshot, lease.address(), workload, self.source);
            if !in_mesh_only || candidate.way != Way::Plain(WhyPlain::OutsideMesh) {
                return Ok((candidate, lease));
            }
            excluded.push(candidate.address);
        }
        Err(NoEndpoint { service: port.service.clone(), port: port.port })
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
