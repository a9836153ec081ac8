//! A tunnel to a pod of this node, and the connections in it: many, of one proven client.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ::http::StatusCode;
use heddle_common::HBONE_PORT;
use tokio::{net::TcpStream, time::timeout};
use tracing::debug;

use super::inbound::{Begun, Inbound, finish, server};
use crate::{
    authorize::{self, Facts, Proven},
    capture::{EnrolledPod, dialled, is_agent_port},
    connect::{
        Wire, reset_on_close,
        tunnel::{self, Authority, ConnectHeaders, IncomingStream, IncomingTunnel, TunnelIo},
    },
    failure::{BadRequest, Failed},
    identify::{TlsFacts, VerifiedPeer},
    mesh::Snapshot,
    node::{DataThread, OpenConnection},
    observe::{ConnectionStart, Party, RefusedReason, Reporter, Side, Transport},
    shares::{self, Bound, Place},
};

/// A tunnel from another agent, or from this one.
pub(super) async fn serve(
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
                    // It may be silent for any time.
                    drop(snapshot);
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
