//! Requests to a pod of this node: who asks, may they, and on to the application.
//!
//! Each request reads one snapshot and is authorized by itself. Whatever the client says about who it is is taken away, and
//! what it proved is written instead.

mod access;

use std::{net::SocketAddr, sync::Arc};

use http::{HeaderMap, Method, Request, Response, uri::Authority};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::net::TcpStream;

use super::{
    body::{AnswerBody, Limit},
    exchange::{answered, body_limits, host, protocol, refuse, switched, with_host, with_version},
    failed::RequestFailed,
    upgrade::{self, Upgrades},
};
use crate::{
    authorize::{Approach, PermittedRequest},
    capture::EnrolledPod,
    connect::{
        dial_application,
        http::{
            HttpPool, HttpVersion, Lease, OpenWay, PoolError, PoolKey, Replay, SendError, Terms,
            forwarded::{self, Proven},
            head, undelivered,
        },
    },
    identify::VerifiedPeer,
    mesh::{Snapshot, Workload, WorkloadTelemetry},
    node::DataThread,
    observe::{Party, Reporter, RequestIds, RequestRecord, RequestStart, SocketView, Transport},
    route::{http::is_grpc, retry::BodyState},
    shares::Bound,
    target::{BadTarget, RequestTarget},
};

/// Connections to the application live as long as the client's.
const TERMS: Terms = Terms { max_requests: None, idle: None };

/// What all requests of one connection have in common.
pub struct InboundFacts {
    /// The data thread that serves it.
    pub thread: Arc<DataThread>,
    /// The pod that gets them.
    pub pod: Arc<EnrolledPod>,
    /// Who the client has proved to be; `None` without a tunnel.
    pub peer: Option<VerifiedPeer>,
    /// The client's end.
    pub client: SocketAddr,
    /// The socket to the client.
    pub socket: Arc<SocketView>,
    /// The pod's address and port.
    pub to: SocketAddr,
    /// How the bytes travel between the nodes.
    pub transport: Transport,
    /// Leave to dial the application.
    pub approach: Approach,
    /// What stops to be HTTP on it.
    pub upgrades: Upgrades,
}

/// The requests of one connection to a pod of this node.
pub struct Inbound {
    facts: InboundFacts,
    /// Connections to the application that belong to this client.
    pool: Arc<HttpPool>,
    key: PoolKey,
    /// The one that was opened before the client said that it speaks HTTP.
    first: Mutex<Option<TcpStream>>,
}

impl Inbound {
    /// Serves them over a connection to the application that is open, and others.
    pub fn new(facts: InboundFacts, application: TcpStream, version: HttpVersion) -> Arc<Self> {
        let Workload { uid, identity, .. } = facts.pod.workload.as_ref();
        let key = PoolKey { source: uid.clone(), identity: identity.clone(), to: facts.to, expected: None, version };
        Arc::new(Self { facts, pool: Arc::default(), key, first: Mutex::new(Some(application)) })
    }

    /// Answers a request.
    pub async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<AnswerBody> {
        let node = &self.facts.thread.node;
        let snapshot = node.snapshot.load();
        let workload = node.workload_of(&snapshot, &self.facts.pod);
        let (mut parts, body) = request.into_parts();
        let (version, is_grpc) = (parts.version, is_grpc(&parts.headers));
        let telemetry = snapshot.telemetry_of(&workload);
        let ids = node.observer.identify(&mut parts.headers, &telemetry);
        let mut record = self.record((&snapshot, &workload), &parts, is_grpc, (ids, telemetry));
        with_host(&mut parts, self.facts.to);
        let is_connect = parts.method == Method::CONNECT;
        let client_half = upgrade::client_half(&mut parts, self.key.version);
        let limits = body_limits(version, is_grpc, 0, &node.http);
        let replay = Replay::new(body, limits, record.bytes(), &self.facts.pod.account);
        let sent = async {
            self.facts.pod.account.admit_request()?;
            let authority = head::normalize_request(&mut parts)?;
            normalize_target(&mut parts)?;
            let is_upgrade = client_half.is_some() && !is_connect;
            head::remove_hop_by_hop(&mut parts.headers, is_upgrade);
            self.write_client(&workload, &mut parts.headers);
            let permitted = self.authorize(&snapshot, &workload, &mut parts, authority.as_str(), &mut record)?;
            self.forward((parts, authority), &replay, permitted, &mut record).await
        };
        let response = match Box::pin(sent).await {
            Ok((response, lease)) => match client_half.filter(|_| upgrade::is_agreed(is_connect, &response)) {
                Some(client_half) => {
                    node.observer.metrics().upgraded(upgrade::kind(is_connect, &response));
                    switched(response, (client_half, &self.facts.upgrades), record, lease)
                }
                None => answered(response, (lease, replay), Limit::default(), record, None, ()),
            },
            Err(failed) => {
                // Others are counted by their flags alone.
                if let RequestFailed::Denied(denied) = &failed {
                    denied.count(&node.observer);
                }
                let mut response = refuse(&failed, is_grpc, record);
                if self.facts.peer.is_some() && failed.is_undelivered() {
                    undelivered::mark(response.headers_mut());
                }
                response
            }
        };
        with_version(response, version)
    }

    /// Writes who the client has proved to be, in place of what it says.
    fn write_client(&self, workload: &Workload, headers: &mut HeaderMap) {
        let peer = self.facts.peer.as_ref();
        let proven = peer.map(|peer| Proven { client: peer.id(), server: &workload.identity });
        forwarded::write_client_cert(headers, proven);
        forwarded::write_proto(headers);
    }

    fn record(
        &self,
        (snapshot, workload): (&Snapshot, &Arc<Workload>),
        parts: &http::request::Parts,
        is_grpc: bool,
        (ids, telemetry): (RequestIds, WorkloadTelemetry),
    ) -> RequestRecord {
        let InboundFacts { peer, client, socket, to, transport, .. } = &self.facts;
        let known = snapshot.workload(client.ip());
        let known = known.filter(|known| peer.as_ref().is_none_or(|peer| *peer.id() == known.identity));
        let identity = peer.as_ref().map(|peer| peer.id().clone());
        let mut record = self.facts.thread.node.observer.request(RequestStart {
            reporter: Reporter::Destination,
            client: Party { address: *client, workload: known.cloned(), identity },
            original_dst: *to,
            protocol: protocol(parts, is_grpc),
            version: parts.version,
            method: parts.method.clone(),
            path: parts.uri.path(),
            host: host(parts),
            ids,
            telemetry,
            generation: snapshot.generation,
        });
        let identity = Some(workload.identity.clone());
        record.set_server(Party { address: *to, workload: Some(Arc::clone(workload)), identity });
        record.set_transport(*transport);
        record.set_client_socket(Arc::clone(socket));
        record
    }

    /// Sends a request to the application, with a leave that only `authorize` can give.
    async fn forward(
        &self,
        (mut parts, authority): (http::request::Parts, Authority),
        replay: &Replay,
        _permitted: PermittedRequest,
        record: &mut RequestRecord,
    ) -> Result<(Response<Incoming>, Lease), RequestFailed> {
        // hyper has answered it where the body is wanted.
        parts.headers.remove(http::header::EXPECT);
        match self.key.version {
            HttpVersion::Http1 => head::to_http1(&mut parts),
            HttpVersion::Http2 => head::to_http2(&mut parts, authority),
        }
        loop {
            let mut lease = self.pool.get(&self.key, TERMS, || self.open()).await?;
            record.set_server_socket(lease.facts().socket());
            match lease.send(Request::from_parts(parts, replay.next_try())).await {
                Ok(mut response) => {
                    // What only an agent may say.
                    undelivered::take(response.headers_mut());
                    return Ok((response, lease));
                }
                // The application had closed a connection that was kept.
                Err(SendError::NotSent(request, _)) if lease.is_used && replay.state() == BodyState::Untouched => {
                    (parts, _) = request.into_parts();
                }
                Err(error) => return Err(replay.broken().map_or_else(|| error.into(), RequestFailed::Body)),
            }
        }
    }

    fn open(&self) -> impl Future<Output = Result<OpenWay, PoolError>> + Send + 'static {
        let first = self.first.lock().take();
        let InboundFacts { thread, pod, client, to, approach, .. } = &self.facts;
        let (thread, pod, client, to, approach) = (Arc::clone(thread), Arc::clone(pod), client.ip(), *to, *approach);
        async move {
            let (stream, place) = match first {
                // It was opened with the client's connection, which has a place.
                Some(stream) => (stream, pod.account.take(Bound::InboundHttp)),
                None => {
                    let place = pod.account.place_at_once(Bound::InboundHttp)?;
                    (dial_application(&thread.node, &pod, client, to, approach).await?, place)
                }
            };
            Ok(OpenWay::plain(stream, place))
        }
    }
}

/// Makes the target the one that is decided on and sent on. CONNECT has none.
fn normalize_target(parts: &mut http::request::Parts) -> Result<(), BadTarget> {
    if parts.method == Method::CONNECT {
        return Ok(());
    }
    let sent = parts.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
    if let Some(target) = RequestTarget::parse(sent)?.rewritten(sent) {
        // What was a target is one in normal form too.
        parts.uri = target.parse().map_err(|_| BadTarget::NoPath)?;
    }
    Ok(())
}
