//! A connection to a pod of this node, by a tunnel or in plaintext.
//!
//! It is let near the pod first, and the application is dialled; what the client then says decides how it is authorized: as
//! a stream of bytes, all at once, or by its requests, one by one (`request/inbound`).

use std::{net::SocketAddr, sync::Arc};

use tokio::{net::TcpStream, time::Instant};

use super::{
    silent,
    speech::{ServerEnd, Spoken, Words, server_speaks},
    unboxed,
};
use crate::{
    authorize::{self, Admission, Approach, Facts, Permitted, Proven},
    capture::{EnrolledPod, dialled, is_agent_port, is_own_dial},
    connect::{
        RelayError, Side as End, VisibleWire, Wire, close_orderly, dial_application,
        http::{self, HttpVersion},
        relay, reset_on_close,
    },
    failure::{BadRequest, Failed},
    identify::VerifiedPeer,
    mesh::{Mode, Workload},
    node::{DataThread, Node},
    observe::{
        BypassReason, ConnectionRecord, ConnectionStart, DetectedBy, Failure, Party, RefusedReason, Reporter,
        ResponseFlag, Transport,
    },
    request::{self, Upgrades},
    shares::Account,
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
            // The client may be silent for any time.
            drop(snapshot);
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
pub(super) fn finish(record: ConnectionRecord, result: &Result<(), Failed>, node: &Node) {
    if let Err(failed) = result {
        failed.count(&node.observer);
    }
    record.finish(result.as_ref().copied().map_err(Failure::from));
}

/// A connection to a pod of this node that may come near it.
pub(super) struct Inbound {
    pub(super) pod: Arc<EnrolledPod>,
    pub(super) thread: Arc<DataThread>,
    pub(super) peer: Option<VerifiedPeer>,
    pub(super) client: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) transport: Transport,
}

impl Inbound {
    /// Dials the application, where the node has room and the client may come near it.
    pub(super) async fn open(&self, approach: Result<Approach, Failed>) -> Result<(TcpStream, Approach), Failed> {
        self.pod.account.admit_connection()?;
        let approach = approach?;
        let node = &self.thread.node;
        let application = dial_application(node, &self.pod, self.client.ip(), self.to, approach).await?;
        // One that has heard nothing must not take the end of that for the end of what there was to hear.
        reset_on_close(&application);
        Ok((application, approach))
    }

    /// Finds out what the client carries, whose application was dialled.
    pub(super) async fn begin(
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
        let Self { inbound, client, application, approach, mut admission, mut record, carries } = unboxed(self);
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

/// Who answers at a pod of this node.
pub(super) fn server(workload: &Arc<Workload>, address: SocketAddr) -> Party {
    // This node runs the pod, and the kernel delivered the connection inside its namespace.
    Party { address, workload: Some(Arc::clone(workload)), identity: Some(workload.identity.clone()) }
}
