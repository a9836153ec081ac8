//! The requests of a pod of this node: where to, which endpoint, and there and back.
//!
//! Each request reads one snapshot. The address that was dialled chooses the routes, never the `Host`; what a rule changes
//! is changed once, and every try of the request gets the same.

mod mirrors;
mod plan;
mod tries;

use std::{net::SocketAddr, sync::Arc};

use http::{Request, Response, Version};
use hyper::body::Incoming;

use super::{
    body::AnswerBody,
    exchange::{host, is_grpc, protocol, refuse, with_version},
    failed::RequestFailed,
};
use crate::{
    capture::EnrolledPod,
    connect::http::head,
    mesh::{Snapshot, Workload},
    node::DataThread,
    observe::{Party, Reporter, RequestRecord, RequestStart},
    route::{self, backend::Draw},
    rules::http_route::Scheme,
    target::RequestTarget,
};
use plan::Plan;
use tries::Forwarding;

/// What all requests of one connection have in common.
pub struct Outbound {
    /// The data thread that serves it.
    pub thread: Arc<DataThread>,
    /// The pod that makes them.
    pub pod: Arc<EnrolledPod>,
    /// The client's end.
    pub client: SocketAddr,
    /// What it dialled.
    pub original_dst: SocketAddr,
}

/// A request as it is forwarded: what it is, apart from its body.
#[derive(Clone)]
struct Asked {
    parts: http::request::Parts,
    /// The host, with a port where it has one; empty for HTTP/1.0 without.
    authority: String,
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
        let (version, is_grpc) = (parts.version, is_grpc(&parts));
        let mut record = self.record(&source, &parts, is_grpc);
        let authority = match head::normalize_request(&mut parts) {
            // HTTP/1.0 needs no host, and the server is spoken to in a version that does.
            Ok(authority) if authority.is_empty() => self.original_dst.to_string(),
            Ok(authority) => authority,
            Err(bad) => return with_version(refuse(&bad.into(), is_grpc, record), version),
        };
        let asked = Asked { parts, authority, is_grpc, version };
        let response = match self.plan(&snapshot, &source, &asked, &mut record) {
            Ok(Planned::Forward(plan)) => {
                let forwarding = Forwarding { at: &self, snapshot: &snapshot, source: &source };
                Box::pin(forwarding.run(asked, plan, body, record)).await
            }
            Ok(Planned::Answer(response)) => {
                record.responded(response.status());
                record.finish(Ok(()));
                response
            }
            Err(Unplanned { failed, edits }) => {
                let mut response = refuse(&failed, is_grpc, record);
                edits.apply(response.headers_mut());
                response
            }
        };
        with_version(response, version)
    }

    fn record(&self, source: &Arc<Workload>, parts: &http::request::Parts, is_grpc: bool) -> RequestRecord {
        let identity = Some(source.identity.clone());
        let client = Party { address: self.client, workload: Some(Arc::clone(source)), identity };
        self.thread.node.observer.request(RequestStart {
            reporter: Reporter::Source,
            client,
            original_dst: self.original_dst,
            protocol: protocol(parts, is_grpc),
            method: parts.method.clone(),
            path: parts.uri.path(),
            host: host(parts),
        })
    }

    /// Decides where a request goes.
    fn plan<'s>(
        &self,
        snapshot: &'s Snapshot,
        source: &Workload,
        asked: &Asked,
        record: &mut RequestRecord,
    ) -> Result<Planned<'s>, Unplanned<'s>> {
        let route = route::route(snapshot, self.original_dst)?;
        if let Some(service) = route.service() {
            record.set_service(service.clone());
        }
        let target_text = asked.parts.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
        let target = RequestTarget::parse(target_text)?;
        let request = route::http::Request {
            method: &asked.parts.method,
            target: &target,
            headers: &asked.parts.headers,
            scheme: Scheme::Http,
            authority: &asked.authority,
        };
        let port = match &route {
            route::Route::Service(port) => port,
            route::Route::Workload(..) | route::Route::External(..) => {
                return Ok(Planned::Forward(Plan::to(route, &target)));
            }
        };
        let table = snapshot.routes().table(&port.service, port.port, &source.namespace);
        let matched = match route::http::decide(table.map(AsRef::as_ref), &request) {
            route::http::Decision::Implicit | route::http::Decision::OfConnections => {
                return Ok(Planned::Forward(Plan::to(route, &target)));
            }
            route::http::Decision::NoRule => return Err(route::http::Failure::NoRule.into()),
            route::http::Decision::Rule(matched) => matched,
        };
        record.set_route(format_args!("{} rules[{}]", matched.route(), matched.rule()));
        let scene = route::http::Scene { snapshot, dialled: port, draw: Draw(fastrand::u64(..)) };
        match matched.outcome(&scene, &request) {
            route::http::Outcome::Forward(forward) => Ok(Planned::Forward(Plan::of_rule(&matched, forward, &target))),
            route::http::Outcome::Answer(answer) => {
                let mut response = Response::new(AnswerBody::own(""));
                (*response.status_mut(), *response.headers_mut()) = (answer.status, answer.headers);
                Ok(Planned::Answer(response))
            }
            route::http::Outcome::Failure(failure, edits) => Err(Unplanned { failed: failure.into(), edits }),
        }
    }
}

/// What is done with a request.
enum Planned<'s> {
    Forward(Plan<'s>),
    Answer(Response<AnswerBody>),
}

/// A request that goes nowhere.
struct Unplanned<'s> {
    failed: RequestFailed,
    /// What its rule changes in the answer.
    edits: route::http::ResponseEdits<'s>,
}

impl<E: Into<RequestFailed>> From<E> for Unplanned<'_> {
    fn from(failed: E) -> Self {
        Self { failed: failed.into(), edits: route::http::ResponseEdits::default() }
    }
}
