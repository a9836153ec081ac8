//! The requests of a pod of this node: where to, which endpoint, and there and back.
//!
//! Each request reads one snapshot. The address that was dialled chooses the routes, never the `Host`; what a rule changes
//! is changed once, and every try of the request gets the same.

mod backend;
mod decide;
mod forward;
mod mirrors;
mod pick;
mod plan;
mod send;
mod stay;
mod tries;

use std::{net::SocketAddr, sync::Arc};

use http::{Request, Response, Version, header::HeaderValue, uri::Authority};
use hyper::body::Incoming;

use super::{
    body::AnswerBody,
    exchange::{host, protocol, refuse, with_host, with_version},
    upgrade::Upgrades,
};
use crate::{
    capture::EnrolledPod,
    connect::http::head,
    mesh::{Workload, WorkloadTelemetry},
    node::DataThread,
    observe::{Party, Reporter, RequestIds, RequestRecord, RequestStart, SocketView},
    route::http::is_grpc,
};
use decide::{Planned, Unplanned};
use forward::Forwarding;
pub(crate) use stay::Stay;

/// What all requests of one connection have in common.
pub struct Outbound {
    /// The data thread that serves it.
    pub thread: Arc<DataThread>,
    /// The pod that makes them.
    pub pod: Arc<EnrolledPod>,
    /// The client's end.
    pub client: SocketAddr,
    /// The socket to the client.
    pub socket: Arc<SocketView>,
    /// What it dialled.
    pub original_dst: SocketAddr,
    /// What stops to be HTTP on it.
    pub upgrades: Upgrades,
}

/// A request as it is forwarded: what it is, apart from its body.
#[derive(Clone)]
struct Asked {
    parts: http::request::Parts,
    /// Whom it is for.
    authority: Authority,
    is_grpc: bool,
    /// The version that the client speaks.
    version: Version,
}

impl Outbound {
    /// Answers a request.
    pub async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<AnswerBody> {
        let node = &self.thread.node;
        let snapshot = node.snapshot.load();
        let source = node.workload_of(&snapshot, &self.pod);
        let (mut parts, body) = request.into_parts();
        let (version, is_grpc) = (parts.version, is_grpc(&parts.headers));
        let telemetry = snapshot.telemetry_of(&source);
        let ids = node.observer.identify(&mut parts.headers, &telemetry);
        let mut record = self.record(snapshot.generation, &source, &parts, is_grpc, (ids, telemetry));
        with_host(&mut parts, self.original_dst);
        let authority = match head::normalize_request(&mut parts) {
            Ok(authority) => authority,
            Err(bad) => return with_version(refuse(&bad.into(), is_grpc, record), version),
        };
        let asked = Asked { parts, authority, is_grpc, version };
        let response = match self.plan(&snapshot, &source, &asked, &mut record) {
            Ok(Planned::Forward(plan)) => {
                let forwarding = Forwarding { at: &self, snapshot: &snapshot, source: &source };
                Box::pin(forwarding.run(asked, *plan, body, record)).await
            }
            Ok(Planned::Answer(response)) => {
                record.responded(response.status());
                record.finish(Ok(()));
                response
            }
            Err(unplanned) => {
                let Unplanned { failed, edits, delay } = *unplanned;
                if let Some(delay) = delay {
                    tokio::time::sleep(delay).await;
                }
                let mut response = refuse(&failed, is_grpc, record);
                edits.apply(response.headers_mut());
                response
            }
        };
        with_version(response, version)
    }

    fn record(
        &self,
        generation: u64,
        source: &Arc<Workload>,
        parts: &http::request::Parts,
        is_grpc: bool,
        (ids, telemetry): (RequestIds, WorkloadTelemetry),
    ) -> RequestRecord {
        let identity = Some(source.identity.clone());
        let mut record = self.thread.node.observer.request(RequestStart {
            reporter: Reporter::Source,
            client: Party { address: self.client, workload: Some(Arc::clone(source)), identity },
            original_dst: self.original_dst,
            protocol: protocol(parts, is_grpc),
            version: parts.version,
            method: parts.method.clone(),
            path: parts.uri.path(),
            host: host(parts),
            ids,
            telemetry,
            generation,
        });
        record.set_client_socket(Arc::clone(&self.socket));
        if let Some(agent) = parts.headers.get(http::header::USER_AGENT).map(HeaderValue::to_str).and_then(Result::ok) {
            record.set_user_agent(agent);
        }
        record
    }
}
