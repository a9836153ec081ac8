//! A connection to a pod of this node, by a tunnel or in plaintext.
//!
//! It is let near the pod first, and the application is dialled; what the client then says decides how it is authorized: as
//! a stream of bytes, all at once, or by its requests, one by one (`request/inbound`).

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ::http::StatusCode;
use heddle_common::HBONE_PORT;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use tracing::debug;

use super::{
    silent,
    speech::{ServerEnd, Spoken, Words, server_speaks},
};
use crate::{
    authorize::{self, Admission, Approach, Facts, Permitted, Proven},
    capture::{EnrolledPod, dialled, is_agent_port, is_own_dial},
    connect::{
        RelayError, Side as End, VisibleWire, Wire, close_orderly, dial_application,
        http::{self, HttpVersion},
        relay, reset_on_close,
        tunnel::{self, Authority, ConnectHeaders, IncomingStream, IncomingTunnel, TunnelIo},
    },
    failure::{BadRequest, Failed},
    identify::{TlsFacts, VerifiedPeer},
    mesh::{Mode, Snapshot, Workload},
    node::{DataThread, Node, OpenConnection},
    observe::{
        BypassReason, ConnectionRecord, ConnectionStart, DetectedBy, Failure, Party, RefusedReason, Reporter,
        ResponseFlag, Side, Transport,
    },
    request::{self, Upgrades},
    shares::{self, Account, Bound, Place},
};

/// From outside the mesh, or from a peer that does not use a tunnel, to an application of this node. `None` where it came to
/// nothing, which is told; so also below.
pub(super) async fn plaintext(
    stream: TcpStream,
    client: SocketAddr,
    pod: Arc<EnrolledPod>,
    thread: Arc<DataThread>,
) -> Option<Box<Begun>> {
    let node = &Arc::clone(&thread.node);
    let refuse = |reason| {
        node.observer.metrics().refused(reason);
        reset_on_close(&stream);
    };
    let Some(original_dst) = dialled(&stream).filter(|address| !address.ip().is_loopback()) else {
        refuse(RefusedReason::UnknownDestination);
        return None;
    };
    if is_own_dial(&stream) {
        refuse(RefusedReason::Loop);
        return None;
    }
    let facts = Facts { peer: None, client: client.ip(), to: original_dst };
    // Before the snapshot is read: a change after that finds the connection.
    let mut admission = node.admissions.enter(&pod.workload, facts);
    let snapshot = node.snapshot.load();
    // Its address is all that is known of the client: a name for the reader, no proof for a decision.
    let workload = snapshot.workload(client.ip()).cloned();
    let party = Party { address: client, workload, identity: None };
    let generation = snapshot.generation;
    let start = ConnectionStart { reporter: Reporter::Destination, client: party, original_dst, generation };
    let mut record = node.observer.connection(start);
    let workload = node.workload_of(&snapshot, &pod);
    record.set_telemetry(&snapshot.telemetry_of(&workload));
    record.set_server(server(&workload, original_dst));
    record.set_transport(Transport::Plain);
    let approach = match is_agent_port(original_dst.port()) {
        true => Err(Failed::Request(BadRequest::AgentPort(original_dst.port()))),
        false => authorize::approach(&snapshot, &node.access, &workload, facts).map_err(Failed::from),
    };
    let inbound = Inbound { pod, thread, peer: None, client, to: original_dst, transport: Transport::Plain };
    match admission.unless_withdrawn(inbound.open(approach)).await {
        Ok((application, approach)) => {
            node.observer.metrics().bypassed(in_plaintext(approach), 1);
            inbound.begin(Wire::Tcp(stream), application, approach, admission, record).await
        }
        Err(failed) => {
            reset_on_close(&stream);
            finish(record, &Err(failed), node);
            None
        }
    }
}

/// Passes all bytes both ways, with a leave that only `authorize` can give.
async fn pass(
    client: Wire,
    application: TcpStream,
    _permitted: Permitted,
    account: &Arc<Account>,
    record: &mut ConnectionRecord,
) -> Result<(), Failed> {
    let bytes = record.opened();
    Ok(relay(client, Wire::Tcp(application), &bytes, account).await?)
}

fn in_plaintext(approach: Approach) -> BypassReason {
    match approach.mode() {
        Mode::Disable => BypassReason::DisabledMtls,
        Mode::Permissive | Mode::Strict => BypassReason::PermissivePlaintext,
    }
}

/// Tells how a connection to a pod of this node ended, and counts those that were denied.
fn finish(record: ConnectionRecord, result: &Result<(), Failed>, node: &Node) {
    if let Err(failed) = result {
        failed.count(&node.observer);
    }
    record.finish(result.as_ref().copied().map_err(Failure::from));
}

/// A connection to a pod of this node that may come near it.
pub(super) struct Inbound {
    pod: Arc<EnrolledPod>,
    thread: Arc<DataThread>,
    peer: Option<VerifiedPeer>,
    client: SocketAddr,
    to: SocketAddr,
    transport: Transport,
}

impl Inbound {
    /// Dials the application, where the node has room and the client may come near it.
    async fn open(&self, approach: Result<Approach, Failed>) -> Result<(TcpStream, Approach), Failed> {
        self.pod.account.admit_connection()?;
        let approach = approach?;
        let node = &self.thread.node;
        let application = dial_application(node, &self.pod, self.client.ip(), self.to, approach).await?;
        // One that has heard nothing must not take the end of that for the end of what there was to hear.
        reset_on_close(&application);
        Ok((application, approach))
    }

    /// Finds out what the client carries, whose application was dialled.
    async fn begin(
        self,
        client: Wire,
        application: TcpStream,
        approach: Approach,
        mut admission: Admission,
        mut record: ConnectionRecord,
    ) -> Option<Box<Begun>> {
        let mut words = Words::new(client);
        match self.carries(&mut words, &application, &mut admission, &mut record).await {
            Ok(carries) => {
                let client = words.into_wire();
                Some(Box::new(Begun { inbound: self, client, application, approach, admission, record, carries }))
            }
            Err(failed) => {
                words.into_wire().reset();
                finish(record, &Err(failed), &self.thread.node);
                None
            }
        }
    }

    /// Listens to who speaks first, and decides over the bytes of what is not HTTP.
    async fn carries(
        &self,
        words: &mut Words,
        application: &TcpStream,
        admission: &mut Admission,
        record: &mut ConnectionRecord,
    ) -> Result<Carries, Failed> {
        match admission.unless_withdrawn(self.first_to_speak(words, application)).await? {
            Spoken::Http(version) => Ok(Carries::Requests(version)),
            Spoken::Tls(_) | Spoken::Bytes => {
                // In this order: a change after the snapshot finds a connection that is decided by its bytes.
                admission.carries_bytes();
                let node = &self.thread.node;
                let snapshot = node.snapshot.load();
                let workload = node.workload_of(&snapshot, &self.pod);
                Ok(Carries::Bytes(node.authorize(&snapshot, &workload, self.facts(), record)?))
            }
        }
    }

    /// What the client speaks, once it does; bytes where the application speaks first.
    async fn first_to_speak(&self, words: &mut Words, application: &TcpStream) -> Result<Spoken, Failed> {
        let began = Instant::now();
        let (spoken, how) = match self.pod.workload.is_opaque(self.to.port()) {
            true => (Spoken::Bytes, DetectedBy::Declared),
            false => tokio::select! {
                biased;
                spoken = words.heard() => (spoken.map_err(silent)?, DetectedBy::Sniffed),
                first = server_speaks(ServerEnd::Socket(application)) => {
                    first.map_err(|source| RelayError::Broken { side: End::Server, source })?;
                    (Spoken::Bytes, DetectedBy::ServerFirst)
                }
            },
        };
        let metrics = self.thread.node.observer.metrics();
        metrics.protocol_detected(Reporter::Destination, how, spoken.protocol(), began.elapsed());
        Ok(spoken)
    }

    fn facts(&self) -> Facts<'_> {
        Facts { peer: self.peer.as_ref().map(Proven::ByCertificate), client: self.client.ip(), to: self.to }
    }

    /// Answers every request, until the client or the agent has had enough, or none could be let through any more.
    async fn requests(
        self,
        client: Wire,
        application: TcpStream,
        version: HttpVersion,
        approach: Approach,
        mut admission: Admission,
    ) {
        let Self { pod, thread, peer, client: address, to, transport } = self;
        let node = Arc::clone(&thread.node);
        let (client, socket) = VisibleWire::over(client);
        let upgrades = Upgrades::new(ResponseFlag::Denied);
        let _cut = upgrades.cut_on_drop();
        let requests = request::Inbound::new(
            request::InboundFacts {
                thread,
                pod,
                peer,
                client: address,
                socket,
                to,
                transport,
                approach,
                upgrades: upgrades.clone(),
            },
            application,
            version,
        );
        let answer = move |request| Arc::clone(&requests).answer(request);
        let served = async {
            let served = http::serve(client, version, node.http, node.draining.clone(), answer).await;
            request::served(&node.observer, address, &served);
            upgrades.ended().await;
            Ok::<_, Failed>(())
        };
        if let Err(withdrawn) = admission.unless_withdrawn(served).await {
            withdrawn.count(&node.observer);
        }
    }
}

/// What a connection turned out to carry.
enum Carries {
    /// HTTP, of which each request is decided by itself.
    Requests(HttpVersion),
    /// Anything else, by this leave.
    Bytes(Permitted),
}

/// A connection to a pod of this node that was let go on.
pub(super) struct Begun {
    inbound: Inbound,
    client: Wire,
    application: TcpStream,
    approach: Approach,
    admission: Admission,
    record: ConnectionRecord,
    carries: Carries,
}

impl Begun {
    /// To its end.
    pub(super) async fn carry(self: Box<Self>) {
        let Self { inbound, client, application, approach, mut admission, mut record, carries } = *self;
        match carries {
            Carries::Requests(version) => {
                let _open = record.is_http();
                close_orderly(&application);
                Box::pin(inbound.requests(client, application, version, approach, admission)).await;
            }
            Carries::Bytes(permitted) => {
                let Inbound { pod, thread, .. } = inbound;
                let passed = pass(client, application, permitted, &pod.account, &mut record);
                let result = admission.unless_withdrawn(passed).await;
                finish(record, &result, &thread.node);
            }
        }
    }
}

/// A tunnel from another agent (or this one) to a pod of this node: many connections, one proven client.
pub(super) async fn tunnel(
    stream: TcpStream,
    client: SocketAddr,
    handshake: Option<Place>,
    pod: Arc<EnrolledPod>,
    thread: Arc<DataThread>,
) {
    let node = &thread.node;
    if let Err(overloaded) = pod.account.admit_connection() {
        node.observer.metrics().refused(RefusedReason::Overloaded);
        debug!(%client, pod = %pod.workload.name, %overloaded, "refused a tunnel");
        return reset_on_close(&stream);
    }
    let Some(here) = dialled(&stream) else { return };
    let identity = node.workload_of(&node.snapshot.load(), &pod).identity.clone();
    let Some(own) = node.certificates.get(&identity) else {
        node.observer.metrics().refused(RefusedReason::NoCertificate);
        debug!(%client, %identity, "refused a tunnel: no certificate for the pod that it goes to");
        return;
    };
    let tunnel = match Box::pin(tunnel::accept(stream, &own, &pod.account, node)).await {
        Ok(tunnel) => Box::new(tunnel),
        Err(error) => {
            node.observer.metrics().handshake_failed(Side::Server, error.result());
            return debug!(%client, pod = %pod.workload.name, %error, "refused a tunnel");
        }
    };
    drop(handshake);
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
    mut tunnel: Box<IncomingTunnel>,
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
                let begun = Box::pin(one_stream(stream, Arc::clone(&facts), Arc::clone(&pod), Arc::clone(&thread)));
                shares::spawn(async move {
                    if let Some((begun, _held)) = begun.await {
                        begun.carry().await;
                    }
                });
            }
            Some(Err(error)) => return debug!(client = %facts.client, %error, "a tunnel broke"),
            None => return,
        }
    }
}

/// One connection in a tunnel, to an application of this node; with it what counts it, and its place.
async fn one_stream(
    stream: IncomingStream,
    facts: Arc<TunnelFacts>,
    pod: Arc<EnrolledPod>,
    thread: Arc<DataThread>,
) -> Option<(Box<Begun>, (OpenConnection, Place))> {
    let node = &Arc::clone(&thread.node);
    let open = thread.count_connection();
    // Its client waits for an answer as it would in the queue of the pod's listener.
    let Ok(place) = timeout(node.limits.connect_timeout, pod.account.place(Bound::InboundConnections)).await else {
        node.observer.metrics().refused(RefusedReason::PodIsFull);
        stream.refuse(StatusCode::SERVICE_UNAVAILABLE);
        return None;
    };
    let asked = destination(&stream, facts.here, &node.snapshot.load());
    // A request that names no place is recorded with the one that it was sent to.
    let to = asked.as_ref().map_or_else(|_| SocketAddr::new(facts.here, HBONE_PORT), |to| *to);
    let known = Facts { peer: Some(Proven::ByCertificate(&facts.peer)), client: facts.client.ip(), to };
    // Before the snapshot that decides is read: a change after that finds the connection.
    let mut admission = node.admissions.enter(&pod.workload, known);
    let snapshot = node.snapshot.load();
    let workload = snapshot.workload(facts.client.ip()).filter(|workload| workload.identity == *facts.peer.id());
    let identity = Some(facts.peer.id().clone());
    let party = Party { address: facts.client, workload: workload.cloned(), identity };
    let generation = snapshot.generation;
    let start = ConnectionStart { reporter: Reporter::Destination, client: party, original_dst: to, generation };
    let mut record = node.observer.connection(start);
    let server_workload = node.workload_of(&snapshot, &pod);
    record.set_telemetry(&snapshot.telemetry_of(&server_workload));
    record.set_server(server(&server_workload, to));
    record.set_transport(facts.transport);

    let approach = match asked {
        Ok(_) => authorize::approach(&snapshot, &node.access, &server_workload, known).map_err(Failed::from),
        Err(bad) => Err(Failed::Request(bad)),
    };
    let peer = Some(facts.peer.clone());
    let inbound = Inbound { pod, thread, peer, client: facts.client, to, transport: facts.transport };
    let failed = match admission.unless_withdrawn(inbound.open(approach)).await {
        Ok((application, approach)) => {
            match stream.accept(&ConnectHeaders::baggage(&node.cluster, &server_workload), node.observer.metrics()) {
                Ok(stream) => {
                    let client = Wire::Tunnel(Box::new(TunnelIo::new(stream)));
                    let begun = inbound.begin(client, application, approach, admission, record).await?;
                    return Some((begun, (open, place)));
                }
                Err(error) => Failed::Request(BadRequest::Answer(error)),
            }
        }
        Err(failed) => {
            stream.refuse(failed.status());
            failed
        }
    };
    finish(record, &Err(failed), node);
    None
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
