//! One connection from capture to outcome.
//!
//! Outbound, from a pod of this node: capture, identify, route, balance, connect, relay.
//! Inbound, to a pod of this node: capture, identify, authorize, connect to the application, relay (`connection/inbound.rs`,
//! and `connection/tunnel.rs` for those in tunnels).
//! A connection that turns out to carry HTTP is not relayed: each of its requests takes the same steps (`request/`).

mod inbound;
mod open;
mod speech;
mod tunnel;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::{
    balance::{Lease, Way, WhyPlain, breaker::Underway},
    capture::{Accepted, Arrival, EnrolledPod},
    connect::{
        RelayError, Side, VisibleWire, Wire,
        http::{self, HttpVersion},
        relay, reset_on_close,
    },
    failure::Failed,
    mesh::{Snapshot, Workload},
    node::{DataThread, OpenConnection},
    observe::{
        BypassReason, ByteCounts, ConnectionRecord, ConnectionStart, DetectedBy, Failure, FallbackOf, HttpConnection,
        Party, RefusedReason, Reporter, ResponseFlag,
    },
    request::{self, Upgrades},
    route::{
        self,
        protocol::{self, SpokenAt},
    },
    shares::{self, Account},
};
use open::{FirstWords, Ready};
pub(crate) use speech::{Expectation, Expected, ExpectedBy, Spoken};
use speech::{ServerEnd, Words, server_speaks};

/// How long a connection waits for an agent that is not there. An agent that is started anew takes a tenth of it.
pub(crate) const ABSENT_AGENT: Duration = Duration::from_secs(1);
/// Pause before it looks again.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Serves a connection that the kernel handed to the agent, to its end, in a task of this data thread.
pub fn serve(accepted: Accepted, thread: Arc<DataThread>, open: OpenConnection) {
    let Accepted { arrival, pod, stream, client, place, handshake } = accepted;
    let account = Arc::clone(&pod.account);
    let held = (open, place);
    // Small messages must not wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    // A task for each kind: one for all would need the memory of the largest. And a box for each beginning: what only that
    // needs, its snapshot of the mesh above all, is given back for the time of the rest.
    match arrival {
        Arrival::Outbound => {
            let begun = Box::pin(begin(stream, client, pod, thread));
            shares::spawn_for(&account, async move {
                if let Some(begun) = begun.await {
                    begun.carry().await;
                }
                drop(held);
            })
        }
        Arrival::Plaintext => {
            let begun = Box::pin(inbound::plaintext(stream, client, pod, thread));
            shares::spawn_for(&account, async move {
                if let Some(begun) = begun.await {
                    begun.carry().await;
                }
                drop(held);
            })
        }
        Arrival::Hbone => shares::spawn_for(&account, async move {
            tunnel::serve(stream, client, handshake, pod, thread).await;
            drop(held);
        }),
    };
}

/// A connection of a pod that was let go on.
enum Begun {
    /// HTTP, and what counts it among the open ones.
    Requests(Box<Outbound>, Wire, HttpVersion, HttpConnection),
    /// Anything else.
    Bytes(Box<Carried>),
}

/// A connection that is carried as bytes.
struct Carried {
    client: Wire,
    server: Wire,
    bytes: Arc<ByteCounts>,
    account: Arc<Account>,
    record: ConnectionRecord,
    lease: Option<Lease>,
    underway: Option<Underway>,
}

impl Begun {
    /// To its end.
    async fn carry(self) {
        match self {
            Self::Requests(connection, wire, version, _open) => Box::pin(connection.requests(wire, version)).await,
            Self::Bytes(carried) => {
                let Carried { client, server, bytes, account, record, lease, underway } = unboxed(carried);
                let result = relay(client, server, &bytes, &account).await.map_err(Failed::from);
                drop((lease, underway));
                record.finish(result.as_ref().copied().map_err(Failure::from));
            }
        }
    }
}

/// From an application of this node to wherever it wants to go: finds out where that is and what it says, and opens the way.
/// `None` where it came to nothing, which is told.
async fn begin(
    stream: tokio::net::TcpStream,
    client: SocketAddr,
    pod: Arc<EnrolledPod>,
    thread: Arc<DataThread>,
) -> Option<Begun> {
    let node = &Arc::clone(&thread.node);
    let Some(original_dst) = node.sockets.original_dst(&stream) else {
        // Somebody in the pod called the agent's port itself.
        node.observer.metrics().refused(RefusedReason::UnknownDestination);
        reset_on_close(&stream);
        return None;
    };
    let snapshot = node.snapshot.load();
    let source = node.workload_of(&snapshot, &pod);
    // The kernel accepted it inside the pod's network namespace: that proves whose it is. Its address is a loopback one
    // by now, unless the application had bound its socket.
    let identity = Some(source.identity.clone());
    let client = with_address_of(&source, client, original_dst);
    let party = Party { address: client, workload: Some(Arc::clone(&source)), identity };
    let start =
        ConnectionStart { reporter: Reporter::Source, client: party, original_dst, generation: snapshot.generation };
    let mut record = node.observer.connection(start);
    record.set_telemetry(&snapshot.telemetry_of(&source));
    let connection = Outbound { client, original_dst, source, snapshot, pod, thread };
    let mut words = Words::new(Wire::Tcp(stream));
    match connection.carries(&mut words, &mut record).await {
        Ok(Carries::Requests(version)) => {
            if let Ok(Some(service)) =
                route::route(&connection.snapshot, original_dst).map(|route| route.service().cloned())
            {
                record.set_service(service);
            }
            Some(Begun::Requests(Box::new(connection), words.into_wire(), version, record.is_http()))
        }
        Ok(Carries::Bytes(ready)) => {
            let bytes = record.opened();
            if let Some(reason) = ready.fallback {
                node.observer.metrics().fell_back(FallbackOf::Connection, reason);
            }
            let Ready { opened, lease, underway, fallback: _ } = unboxed(ready);
            node.native.offer(node, &connection.pod, client.ip(), original_dst);
            let (client, server) = (words.into_wire(), opened.wire);
            let account = Arc::clone(&connection.pod.account);
            Some(Begun::Bytes(Box::new(Carried { client, server, bytes, account, record, lease, underway })))
        }
        Err(failed) => {
            // The application's connect() succeeded long ago; a reset is the error that is left to give it.
            words.into_wire().reset();
            record.finish(Err(Failure::from(&failed)));
            None
        }
    }
}

struct Outbound {
    client: SocketAddr,
    original_dst: SocketAddr,
    source: Arc<Workload>,
    snapshot: Arc<Snapshot>,
    pod: Arc<EnrolledPod>,
    thread: Arc<DataThread>,
}

/// What a connection turned out to carry.
enum Carries {
    /// HTTP.
    Requests(HttpVersion),
    /// Anything else, by this way, on which the server may have spoken already.
    Bytes(Box<Ready>),
}

impl Outbound {
    /// Finds out what the client speaks, and opens the way where it is not HTTP. Where nobody knows what to expect, the
    /// way is being opened while the client is silent, and whoever speaks first decides.
    async fn carries(&self, words: &mut Words, record: &mut ConnectionRecord) -> Result<Carries, Failed> {
        self.pod.account.admit_connection()?;
        let node = &self.thread.node;
        let began = Instant::now();
        let Expectation { expected, remember: key, .. } =
            Expectation::of(&self.snapshot, &self.source, self.original_dst, &node.learned);
        let (spoken, how) = match expected {
            Expected::Bytes => (Spoken::Bytes, DetectedBy::Declared),
            Expected::ServerName => (expected.takes(words.heard().await.map_err(silent)?), DetectedBy::Declared),
            Expected::Http => (words.heard_as_http().await.map_err(silent)?, DetectedBy::Declared),
            Expected::HttpAsBefore => {
                let spoken = words.heard_or_silence(node.http.detection_timeout).await.map_err(silent)?;
                (spoken, DetectedBy::Learned)
            }
            Expected::Unknown => {
                let mut opening = Box::pin(self.open(record, FirstWords::default()));
                let spoken = tokio::select! {
                    biased;
                    spoken = words.heard() => spoken.map_err(silent)?,
                    opened = &mut opening => return match opened {
                        Ok(ready) => self.first_to_speak(words, ready, key, began).await,
                        Err(failed) => self.unless_http(failed, words, key, began).await,
                    },
                };
                self.detected(DetectedBy::Sniffed, &spoken, began);
                return match spoken {
                    Spoken::Http(version) => Ok(self.requests_found(version, key)),
                    Spoken::Tls(_) | Spoken::Bytes => Ok(Carries::Bytes(Box::new(opening.await?))),
                };
            }
        };
        self.detected(how, &spoken, began);
        let server_name = match spoken {
            Spoken::Http(version) => return Ok(self.requests_found(version, key)),
            Spoken::Tls(name) => name,
            Spoken::Bytes => None,
        };
        let first = FirstWords { server_name: server_name.as_deref(), socket: words.socket() };
        Ok(Carries::Bytes(Box::new(self.open(record, first).await?)))
    }

    /// The way is open and the client silent: it speaks, the server does, or neither for so long that it is no HTTP.
    async fn first_to_speak(
        &self,
        words: &mut Words,
        mut ready: Ready,
        key: Option<SpokenAt>,
        began: Instant,
    ) -> Result<Carries, Failed> {
        let (spoken, how) = tokio::select! {
            biased;
            spoken = words.heard() => (spoken.map_err(silent)?, DetectedBy::Sniffed),
            first = server_speaks(ServerEnd::Wire(&mut ready.opened.wire)) => {
                first.map_err(|source| RelayError::Broken { side: Side::Server, source })?;
                (Spoken::Bytes, DetectedBy::ServerFirst)
            }
            () = sleep(self.thread.node.http.detection_timeout) => (Spoken::Bytes, DetectedBy::Timeout),
        };
        self.detected(how, &spoken, began);
        match spoken {
            Spoken::Http(version) => Ok(self.requests_found(version, key)),
            Spoken::Tls(_) | Spoken::Bytes => Ok(Carries::Bytes(Box::new(ready))),
        }
    }

    /// Nobody can be reached, and the client is silent: one that speaks HTTP is told in its own words.
    async fn unless_http(
        &self,
        failed: Failed,
        words: &mut Words,
        key: Option<SpokenAt>,
        began: Instant,
    ) -> Result<Carries, Failed> {
        let heard = words.heard_or_silence(self.thread.node.http.detection_timeout).await;
        let Ok(spoken @ Spoken::Http(version)) = heard else { return Err(failed) };
        self.detected(DetectedBy::Sniffed, &spoken, began);
        Ok(self.requests_found(version, key))
    }

    fn detected(&self, how: DetectedBy, spoken: &Spoken, began: Instant) {
        let metrics = self.thread.node.observer.metrics();
        metrics.protocol_detected(Reporter::Source, how, spoken.protocol(), began.elapsed());
    }

    fn requests_found(&self, version: HttpVersion, key: Option<SpokenAt>) -> Carries {
        if let Some(key) = key {
            let spoken = match version {
                HttpVersion::Http1 => protocol::Spoken::Http1,
                HttpVersion::Http2 => protocol::Spoken::Http2,
            };
            self.thread.node.learned.learn(key, spoken);
        }
        Carries::Requests(version)
    }

    /// Answers every request, until the client or the agent has had enough.
    async fn requests(self, stream: Wire, version: HttpVersion) {
        let Self { client, original_dst, pod, thread, source, snapshot } = self;
        // Each request reads the snapshot of its own time.
        drop((source, snapshot));
        let node = Arc::clone(&thread.node);
        let (stream, socket) = VisibleWire::over(stream);
        let upgrades = Upgrades::new(ResponseFlag::Aborted);
        let _cut = upgrades.cut_on_drop();
        let requests =
            Arc::new(request::Outbound { thread, pod, client, socket, original_dst, upgrades: upgrades.clone() });
        let answer = move |request| Arc::clone(&requests).answer(request);
        let served = http::serve(stream, version, node.http, node.draining.clone(), answer).await;
        request::served(&node.observer, client, &served);
        upgrades.ended().await;
    }
}

/// What is in a box, whose memory is given back now: a box that is taken apart where it is keeps it to the end of the function.
#[expect(clippy::boxed_local, reason = "that is what it is for")]
fn unboxed<T>(boxed: Box<T>) -> T {
    *boxed
}

/// The client broke off before it said anything.
fn silent(source: io::Error) -> Failed {
    RelayError::Broken { side: Side::Client, source }.into()
}

/// Why bytes that leave by this way can be read underway, where they can.
pub(crate) fn bypass(way: &Way) -> Option<BypassReason> {
    match way {
        Way::Tunnel(_) | Way::Plain(WhyPlain::Itself) => None,
        Way::Plain(WhyPlain::OutsideMesh) => Some(BypassReason::OutsideMesh),
        Way::Plain(WhyPlain::Disabled) => Some(BypassReason::DisabledMtls),
    }
}

/// The client's end as others would see it: the pod's own address, of the family that was dialled.
fn with_address_of(pod: &Workload, client: SocketAddr, dialled: SocketAddr) -> SocketAddr {
    let same_family = |address: &&IpAddr| address.is_ipv4() == dialled.is_ipv4();
    let own = pod.addresses.iter().find(same_family).filter(|_| client.ip().is_loopback());
    SocketAddr::new(own.copied().unwrap_or(client.ip()), client.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How much a connection holds while its bytes are passed, beside the relay's own box.
    #[test]
    fn what_lasts_as_long_as_a_connection_is_small() {
        fn size<A, F: Future>(_: impl FnOnce(A) -> F) -> usize {
            size_of::<F>()
        }
        let sizes = [size(Begun::carry), size(inbound::Begun::carry)];
        assert!(sizes.iter().all(|size| *size <= 704), "{sizes:?}");
    }
}
