//! One connection from capture to outcome.
//!
//! Outbound, from a pod of this node: capture, identify, route, balance, connect, relay.
//! Inbound, to a pod of this node: capture, identify, authorize, connect to the application, relay.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use heddle_common::HBONE_PORT;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep},
};
use tracing::debug;

use crate::{
    authorize::{Admission, Facts, Permitted},
    balance::{self, Candidate, Way, WhyPlain},
    capture::{Accepted, Arrival, EnrolledPod, dialled, is_agent_port, is_own_dial},
    connect::{
        Opened, Opener, Upstream, dial_application, relay, relay_inbound, reset_on_close,
        tunnel::{self, Authority, ConnectHeaders, IncomingStream, IncomingTunnel, TunnelStream},
    },
    failure::{BadRequest, Failed},
    identify::{TlsFacts, VerifiedPeer},
    mesh::{Mode, Snapshot, SpiffeId, Workload},
    node::{DataThread, Node, OpenConnection},
    observe::{
        BypassReason, ConnectionRecord, ConnectionStart, Failure, Party, RefusedReason, Reporter, Side, Transport,
    },
    route,
};

/// How long a connection waits for an agent that is not there. An agent that is started anew takes a tenth of it.
const ABSENT_AGENT: Duration = Duration::from_secs(1);
/// Pause before it looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Serves a connection that the kernel handed to the agent, to its end, in a task of this data thread.
pub fn serve(accepted: Accepted, thread: Arc<DataThread>, open: OpenConnection) {
    let Accepted { arrival, pod, stream, client } = accepted;
    // Small messages must not wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    // A task for each kind: one for all would need the memory of the largest.
    match arrival {
        Arrival::Outbound => tokio::spawn(async move {
            outbound(stream, client, &pod, &thread).await;
            drop(open);
        }),
        Arrival::Plaintext => tokio::spawn(async move {
            inbound_plaintext(stream, client, &pod, &thread).await;
            drop(open);
        }),
        Arrival::Hbone => tokio::spawn(async move {
            inbound_tunnel(stream, client, pod, thread).await;
            drop(open);
        }),
    };
}

/// From an application of this node to wherever it wanted to go.
async fn outbound(stream: TcpStream, client: SocketAddr, pod: &Arc<EnrolledPod>, thread: &Arc<DataThread>) {
    let node = &thread.node;
    let Some(original_dst) = node.sockets.original_dst(&stream) else {
        // Somebody in the pod called the agent's port itself.
        node.observer.metrics().refused(RefusedReason::UnknownDestination);
        return reset_on_close(&stream);
    };
    let snapshot = node.snapshot.load();
    let source = node.workload_of(&snapshot, pod);
    // The kernel accepted it inside the pod's network namespace: that proves whose it is. Its address is a loopback one
    // by now, unless the application had bound its socket.
    let identity = Some(source.identity.clone());
    let client = with_address_of(&source, client, original_dst);
    let party = Party { address: client, workload: Some(Arc::clone(&source)), identity };
    let start = ConnectionStart { reporter: Reporter::Source, client: party, original_dst };
    let mut record = node.observer.connection(start);
    let connection = Outbound { client, original_dst, source, snapshot, pod, thread };
    let result = connection.carry(stream, &mut record).await;
    record.finish(result.as_ref().copied().map_err(Failure::from));
}

struct Outbound<'a> {
    client: SocketAddr,
    original_dst: SocketAddr,
    source: Arc<Workload>,
    snapshot: Arc<Snapshot>,
    pod: &'a Arc<EnrolledPod>,
    thread: &'a Arc<DataThread>,
}

impl Outbound<'_> {
    async fn carry(&self, stream: TcpStream, record: &mut ConnectionRecord) -> Result<(), Failed> {
        // Boxed, here and below: what only the opening needs is given back for the time of the relay.
        let opened = match Box::pin(self.open_patiently(record)).await {
            Ok(opened) => opened,
            Err(failed) => {
                // The application's connect() succeeded long ago; a reset is the error that is left to give it.
                reset_on_close(&stream);
                return Err(failed);
            }
        };
        let bytes = record.opened();
        Ok(relay(stream, opened.upstream, &bytes).await?)
    }

    /// Opens the way, again and again for a while if no agent answers there: it is just being started anew, or the pod
    /// is being released and its peers do not know yet.
    async fn open_patiently(&self, record: &mut ConnectionRecord) -> Result<Opened, Failed> {
        let give_up = Instant::now() + ABSENT_AGENT;
        let mut snapshot = Arc::clone(&self.snapshot);
        loop {
            match self.open(&snapshot, record).await {
                Err(Failed::Connect(error)) if error.is_absent_agent() && Instant::now() < give_up => {
                    sleep(LOOK_AGAIN).await;
                    snapshot = self.thread.node.snapshot.load();
                }
                opened => return opened,
            }
        }
    }

    async fn open(&self, snapshot: &Snapshot, record: &mut ConnectionRecord) -> Result<Opened, Failed> {
        let route = route::route(snapshot, self.original_dst)?;
        if let Some(service) = route.service() {
            record.set_service(service.clone());
        }
        let candidates = balance::candidates(snapshot, &route, &self.source, self.client.ip())?;
        record.set_server(Self::party(&candidates.first, None));
        let headers = self.headers(&route);
        let node = &self.thread.node;
        let opener =
            Opener { node, tunnels: &self.thread.tunnels, pod: self.pod, source: &self.source, headers: &headers };
        let opened = opener.open(candidates).await?;
        record.set_server(Self::party(&opened.candidate, opened.peer.clone()));
        record.set_transport(opened.transport);
        record.set_tries(opened.tries);
        if let Some(reason) = bypass(&opened.candidate.way) {
            node.observer.metrics().bypassed(reason, 1);
        }
        Ok(opened)
    }

    fn party(candidate: &Candidate, identity: Option<SpiffeId>) -> Party {
        Party { address: candidate.address, workload: candidate.workload.clone(), identity }
    }

    fn headers(&self, route: &route::Route) -> ConnectHeaders {
        let host = match route.service() {
            Some(service) => service.host(),
            None => self.original_dst.ip().to_string(),
        };
        ConnectHeaders::new(&self.thread.node.cluster, &self.source, self.client, &host)
    }
}

/// Why bytes that leave by this way can be read underway, where they can.
fn bypass(way: &Way) -> Option<BypassReason> {
    match way {
        Way::Tunnel(_) | Way::Plain(WhyPlain::Itself) => None,
        Way::Plain(WhyPlain::OutsideMesh) => Some(BypassReason::OutsideMesh),
        Way::Plain(WhyPlain::Disabled) => Some(BypassReason::DisabledMtls),
    }
}

/// From outside the mesh, or from a peer that does not use a tunnel, to an application of this node.
async fn inbound_plaintext(stream: TcpStream, client: SocketAddr, pod: &Arc<EnrolledPod>, thread: &Arc<DataThread>) {
    let node = &thread.node;
    let Some(original_dst) = dialled(&stream).filter(|address| !address.ip().is_loopback()) else {
        node.observer.metrics().refused(RefusedReason::UnknownDestination);
        return reset_on_close(&stream);
    };
    if is_own_dial(&stream) {
        node.observer.metrics().refused(RefusedReason::Loop);
        return reset_on_close(&stream);
    }
    let facts = Facts { peer: None, client: client.ip(), to: original_dst };
    // Before the snapshot is read: a change after that finds the connection.
    let admission = node.admissions.enter(&pod.workload, facts);
    let snapshot = node.snapshot.load();
    // Its address is all that is known of the client: a name for the reader, no proof for a decision.
    let workload = snapshot.workload(client.ip()).cloned();
    let party = Party { address: client, workload, identity: None };
    let start = ConnectionStart { reporter: Reporter::Destination, client: party, original_dst };
    let mut record = node.observer.connection(start);
    let workload = node.workload_of(&snapshot, pod);
    record.set_server(server(&workload, original_dst));
    let permitted = match is_agent_port(original_dst.port()) {
        true => Err(Failed::Request(BadRequest::AgentPort(original_dst.port()))),
        false => node.authorize(&snapshot, &workload, facts, &mut record).map_err(Failed::from),
    };
    let plaintext = Plaintext { pod, node, client: client.ip(), to: original_dst };
    let result = plaintext.carry(stream, permitted, admission, &mut record).await;
    finish_inbound(record, &result, node);
}

/// Tells how a connection to a pod of this node ended, and counts those that were denied.
fn finish_inbound(record: ConnectionRecord, result: &Result<(), Failed>, node: &Node) {
    if let Err(failed) = result {
        failed.count(&node.observer);
    }
    record.finish(result.as_ref().copied().map_err(Failure::from));
}

struct Plaintext<'a> {
    pod: &'a EnrolledPod,
    node: &'a Node,
    client: IpAddr,
    to: SocketAddr,
}

impl Plaintext<'_> {
    async fn carry(
        &self,
        stream: TcpStream,
        permitted: Result<Permitted, Failed>,
        mut admission: Admission,
        record: &mut ConnectionRecord,
    ) -> Result<(), Failed> {
        let open = async { self.open(permitted?).await };
        match Box::pin(admission.unless_withdrawn(open)).await {
            Ok(application) => {
                let bytes = record.opened();
                let relay = async { Ok(relay(stream, Upstream::Tcp(application), &bytes).await?) };
                admission.unless_withdrawn(relay).await
            }
            Err(failed) => {
                reset_on_close(&stream);
                Err(failed)
            }
        }
    }

    async fn open(&self, permitted: Permitted) -> Result<TcpStream, Failed> {
        let reason = match permitted.mode() {
            Mode::Disable => BypassReason::DisabledMtls,
            Mode::Permissive | Mode::Strict => BypassReason::PermissivePlaintext,
        };
        let application = dial_application(self.node, self.pod, self.client, self.to, permitted).await?;
        self.node.observer.metrics().bypassed(reason, 1);
        Ok(application)
    }
}

/// A tunnel from another agent (or this one) to a pod of this node: many connections, one proven client.
async fn inbound_tunnel(stream: TcpStream, client: SocketAddr, pod: Arc<EnrolledPod>, thread: Arc<DataThread>) {
    let node = &thread.node;
    let Some(here) = dialled(&stream) else { return };
    let identity = node.workload_of(&node.snapshot.load(), &pod).identity.clone();
    let Some(own) = node.certificates.get(&identity) else {
        node.observer.metrics().refused(RefusedReason::NoCertificate);
        debug!(%client, %identity, "refused a tunnel: no certificate for the pod that it goes to");
        return;
    };
    let tunnel = match Box::pin(tunnel::accept(stream, &own, node)).await {
        Ok(tunnel) => tunnel,
        Err(error) => {
            node.observer.metrics().handshake_failed(Side::Server, error.result());
            return debug!(%client, pod = %pod.workload.name, %error, "refused a tunnel");
        }
    };
    let TlsFacts { version, group, root } = tunnel.tls;
    node.observer.metrics().handshake_done(Side::Server, version, group, root);
    let facts = TunnelFacts {
        client,
        here: here.ip(),
        peer: tunnel.peer.clone(),
        transport: Transport::Hbone { tls_version: version, group, root },
    };
    serve_streams(tunnel, Arc::new(facts), pod, Arc::clone(&thread)).await;
}

/// What all streams of a tunnel have in common.
struct TunnelFacts {
    client: SocketAddr,
    here: IpAddr,
    peer: VerifiedPeer,
    transport: Transport,
}

async fn serve_streams(
    mut tunnel: IncomingTunnel,
    facts: Arc<TunnelFacts>,
    pod: Arc<EnrolledPod>,
    thread: Arc<DataThread>,
) {
    let _open = thread.node.observer.metrics().tunnel_opened(Side::Server);
    let mut draining = thread.node.draining.clone();
    let mut told = false;
    loop {
        let next = tokio::select! {
            next = tunnel.next() => next,
            Ok(_) = draining.wait_for(|draining| *draining), if !told => {
                tunnel.go_away();
                told = true;
                continue;
            }
        };
        match next {
            Some(Ok(stream)) => {
                let (facts, pod, thread) = (Arc::clone(&facts), Arc::clone(&pod), Arc::clone(&thread));
                tokio::spawn(async move { inbound_stream(stream, &facts, &pod, &thread).await });
            }
            Some(Err(error)) => return debug!(client = %facts.client, %error, "a tunnel broke"),
            None => return,
        }
    }
}

/// One connection in a tunnel, to an application of this node.
async fn inbound_stream(stream: IncomingStream, facts: &TunnelFacts, pod: &Arc<EnrolledPod>, thread: &Arc<DataThread>) {
    let node = &thread.node;
    let _open = thread.count_connection();
    let asked = destination(&stream, facts.here, &node.snapshot.load());
    // A request that names no place is recorded with the one that it was sent to.
    let to = asked.as_ref().map_or_else(|_| SocketAddr::new(facts.here, HBONE_PORT), |to| *to);
    let known = Facts { peer: Some(&facts.peer), client: facts.client.ip(), to };
    // Before the snapshot that decides is read: a change after that finds the connection.
    let mut admission = node.admissions.enter(&pod.workload, known);
    let snapshot = node.snapshot.load();
    let workload = snapshot.workload(facts.client.ip()).filter(|workload| workload.identity == *facts.peer.id());
    let identity = Some(facts.peer.id().clone());
    let party = Party { address: facts.client, workload: workload.cloned(), identity };
    let start = ConnectionStart { reporter: Reporter::Destination, client: party, original_dst: to };
    let mut record = node.observer.connection(start);
    let server_workload = node.workload_of(&snapshot, pod);
    record.set_server(server(&server_workload, to));
    record.set_transport(facts.transport);

    let permitted = match asked {
        Ok(_) => node.authorize(&snapshot, &server_workload, known, &mut record).map_err(Failed::from),
        Err(bad) => Err(Failed::Request(bad)),
    };
    let open = async { Ok::<_, Failed>(dial_application(node, pod, facts.client.ip(), to, permitted?).await?) };
    let result = match Box::pin(admission.unless_withdrawn(open)).await {
        Ok(application) => {
            match stream.accept(&ConnectHeaders::baggage(&node.cluster, &server_workload), node.observer.metrics()) {
                Ok(stream) => admission.unless_withdrawn(carry_stream(stream, application, &mut record)).await,
                Err(error) => Err(Failed::Request(BadRequest::Answer(error))),
            }
        }
        Err(failed) => {
            stream.refuse(failed.status());
            Err(failed)
        }
    };
    finish_inbound(record, &result, node);
}

async fn carry_stream(
    stream: TunnelStream,
    application: TcpStream,
    record: &mut ConnectionRecord,
) -> Result<(), Failed> {
    let bytes = record.opened();
    Ok(relay_inbound(stream, application, &bytes).await?)
}

/// What a tunnel's client asks to be connected to: a port of the pod that the tunnel was opened to, and no other.
fn destination(stream: &IncomingStream, here: IpAddr, snapshot: &Snapshot) -> Result<SocketAddr, BadRequest> {
    let authority = stream.authority().ok_or(BadRequest::Method)??;
    let elsewhere = |asked: String| BadRequest::OtherAddress { asked, here };
    let to = match authority {
        Authority::Address(address) => SocketAddr::new(address.ip().to_canonical(), address.port()),
        Authority::Service { name, namespace, port } => snapshot
            .service_endpoint(&namespace, &name, port, here)
            .ok_or_else(|| elsewhere(format!("service {namespace}/{name} port {port}")))?,
    };
    if to.ip() != here {
        return Err(elsewhere(to.to_string()));
    }
    if is_agent_port(to.port()) {
        return Err(BadRequest::AgentPort(to.port()));
    }
    Ok(to)
}

fn server(workload: &Arc<Workload>, address: SocketAddr) -> Party {
    // This node runs the pod, and the kernel delivered the connection inside its namespace.
    Party { address, workload: Some(Arc::clone(workload)), identity: Some(workload.identity.clone()) }
}

/// The client's end as others would see it: the pod's own address, of the family that was dialled.
fn with_address_of(pod: &Workload, client: SocketAddr, dialled: SocketAddr) -> SocketAddr {
    let same_family = |address: &&IpAddr| address.is_ipv4() == dialled.is_ipv4();
    let own = pod.addresses.iter().find(same_family).filter(|_| client.ip().is_loopback());
    SocketAddr::new(own.copied().unwrap_or(client.ip()), client.port())
}
