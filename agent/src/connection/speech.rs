//! What a connection carries: what is expected of it, and what its first words are.

use std::{io, net::SocketAddr, time::Duration};

use bytes::BytesMut;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    connect::{Wire, http::HttpVersion, look_at},
    mesh::{Destination, RouteKind, ServiceName, Snapshot, Workload},
    observe::DetectedProtocol,
    route::{
        backend::Resolved,
        protocol::{Declared, Learned, Sniffed, Spoken as Learnt, SpokenAt, server_name, sniff},
    },
};

/// What a connection to an address is expected to carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// No HTTP.
    Bytes,
    /// TLS, whose server name decides where it goes.
    ServerName,
    /// HTTP, as long as it may take until the client says so.
    Http,
    /// HTTP as before, but a silent client may wait for the server.
    HttpAsBefore,
    /// Nobody knows.
    Unknown,
}

/// Why that is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExpectedBy {
    /// The routes of the port are of this kind.
    Routes(RouteKind),
    /// The pods that serve say that their port is never to be read.
    OpaquePort,
    /// The Service port declares it.
    Port(Declared),
    /// It was seen there before, or never.
    Memory,
    /// Nothing in the mesh serves there.
    Outside,
}

/// What is expected of a connection, why, and where to remember what it turns out to carry.
#[derive(Clone, Debug)]
pub(crate) struct Expectation {
    pub(crate) expected: Expected,
    pub(crate) by: ExpectedBy,
    pub(super) remember: Option<SpokenAt>,
}

impl Expectation {
    /// Of a pod's connection to an address.
    pub(crate) fn of(snapshot: &Snapshot, source: &Workload, dialled: SocketAddr, learned: &Learned) -> Self {
        match snapshot.destination(dialled) {
            Destination::Service(port) => {
                let table = snapshot.routes().table(&port.service, port.port, &source.namespace);
                if let Some(kind) = table.map(|table| table.kind()) {
                    return Self::known(Expected::of_routes(kind), ExpectedBy::Routes(kind));
                }
                // Whoever serves says whether it may be read.
                let serving = Resolved::of(snapshot, &port).port;
                if serving.ready.get(0).is_some_and(|endpoint| is_opaque(snapshot, endpoint.address)) {
                    return Self::known(Expected::Bytes, ExpectedBy::OpaquePort);
                }
                let declared = Declared::of(&port);
                match Expected::of_declaration(declared) {
                    Some(expected) => Self::known(expected, ExpectedBy::Port(declared)),
                    None => Self::as_before(learned, SpokenAt { service: port.service.clone(), port: port.port }),
                }
            }
            Destination::Workload(workload) if workload.is_opaque(dialled.port()) => {
                Self::known(Expected::Bytes, ExpectedBy::OpaquePort)
            }
            Destination::Workload(workload) => {
                // Pods of one owner speak alike.
                let service = ServiceName { namespace: workload.namespace.clone(), name: workload.owner.clone() };
                Self::as_before(learned, SpokenAt { service, port: dialled.port() })
            }
            Destination::UnknownServicePort(_) | Destination::Named(_) | Destination::External => {
                Self::known(Expected::Bytes, ExpectedBy::Outside)
            }
        }
    }

    fn known(expected: Expected, by: ExpectedBy) -> Self {
        Self { expected, by, remember: None }
    }

    fn as_before(learned: &Learned, at: SpokenAt) -> Self {
        // Of anything else a server that speaks first is found out without any wait.
        let is_http = matches!(learned.get(&at), Some(Learnt::Http1 | Learnt::Http2));
        let expected = if is_http { Expected::HttpAsBefore } else { Expected::Unknown };
        Self { expected, by: ExpectedBy::Memory, remember: Some(at) }
    }
}

impl Expected {
    fn of_routes(kind: RouteKind) -> Self {
        match kind {
            RouteKind::Http | RouteKind::Grpc => Self::Http,
            RouteKind::Tls => Self::ServerName,
            RouteKind::Tcp => Self::Bytes,
        }
    }

    fn of_declaration(declared: Declared) -> Option<Self> {
        match declared {
            Declared::Http1 | Declared::Http2 | Declared::Http | Declared::Grpc => Some(Self::Http),
            Declared::Tls | Declared::Tcp | Declared::ServerFirst => Some(Self::Bytes),
            Declared::Unknown => None,
        }
    }

    /// What a client's first words are taken for where this is expected.
    pub(crate) fn takes(self, spoken: Spoken) -> Spoken {
        match (self, spoken) {
            // Nobody looks.
            (Self::Bytes, _) => Spoken::Bytes,
            // Whatever is no TLS has no server name, HTTP too.
            (Self::ServerName, Spoken::Http(_)) => Spoken::Bytes,
            // What looks like nothing that is known is judged as HTTP, and answered as such.
            (Self::Http, Spoken::Bytes) => Spoken::Http(HttpVersion::Http1),
            (_, spoken) => spoken,
        }
    }
}

/// Whether the pod at an endpoint's address says that its port is never to be read.
fn is_opaque(snapshot: &Snapshot, endpoint: SocketAddr) -> bool {
    snapshot.workload(endpoint.ip()).is_some_and(|workload| workload.is_opaque(endpoint.port()))
}

/// What the first words of a client are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// HTTP.
    Http(HttpVersion),
    /// TLS of its own, and the server name that it asks for.
    Tls(Option<String>),
    /// Something else, or nothing at all.
    Bytes,
}

impl Spoken {
    /// As metrics have it.
    pub(super) fn protocol(&self) -> DetectedProtocol {
        match self {
            Self::Http(HttpVersion::Http1) => DetectedProtocol::Http1,
            Self::Http(HttpVersion::Http2) => DetectedProtocol::Http2,
            Self::Tls(_) => DetectedProtocol::Tls,
            Self::Bytes => DetectedProtocol::Tcp,
        }
    }
}

/// A client's stream, of which nothing is read yet.
pub(super) struct Words {
    wire: Wire,
    seen: BytesMut,
}

/// How much of a client's first words is looked at: a ClientHello with many extensions is smaller.
const MOST: usize = 16 * 1024;
/// How long the rest of unfinished first words is waited for.
const UNFINISHED: Duration = Duration::from_millis(500);
/// Pause before a socket is looked at again that has no more yet.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

impl Words {
    pub(super) fn new(wire: Wire) -> Self {
        Self { wire, seen: BytesMut::new() }
    }

    /// The stream as it was, for whoever is to read it.
    pub(super) fn into_wire(self) -> Wire {
        self.wire
    }

    /// The socket that they come by; none in a tunnel.
    pub(super) fn socket(&self) -> Option<&TcpStream> {
        match &self.wire {
            Wire::Tcp(stream) => Some(stream),
            Wire::Tunnel(_) => None,
        }
    }

    /// Waits for the client's first words. It may be broken off and called again.
    pub(super) async fn heard(&mut self) -> io::Result<Spoken> {
        if !self.wire.look(&mut self.seen, MOST).await? {
            return Ok(Spoken::Bytes);
        }
        match timeout(UNFINISHED, self.whole()).await {
            Ok(spoken) => spoken,
            Err(_) => Ok(Spoken::Bytes),
        }
    }

    /// Waits for them where HTTP is declared: what looks like nothing that is known is judged as HTTP, and answered as such.
    pub(super) async fn heard_as_http(&mut self) -> io::Result<Spoken> {
        let spoken = self.heard().await?;
        Ok(if self.seen.is_empty() { spoken } else { Expected::Http.takes(spoken) })
    }

    /// Waits for them, but silence for so long is an answer too.
    pub(super) async fn heard_or_silence(&mut self, silence: Duration) -> io::Result<Spoken> {
        match timeout(silence, self.heard()).await {
            Ok(spoken) => spoken,
            Err(_) => Ok(Spoken::Bytes),
        }
    }

    async fn whole(&mut self) -> io::Result<Spoken> {
        loop {
            match sniff(&self.seen) {
                Sniffed::Http1 => return Ok(Spoken::Http(HttpVersion::Http1)),
                Sniffed::Http2 => return Ok(Spoken::Http(HttpVersion::Http2)),
                Sniffed::Tls => {
                    if let Ok(name) = server_name(&self.seen) {
                        return Ok(Spoken::Tls(name));
                    }
                }
                Sniffed::Opaque => return Ok(Spoken::Bytes),
                Sniffed::More => {}
            }
            if self.seen.len() >= MOST {
                return Ok(Spoken::Bytes);
            }
            let before = self.seen.len();
            if !self.wire.look(&mut self.seen, MOST).await? {
                return Ok(Spoken::Bytes);
            }
            if self.seen.len() == before {
                sleep(LOOK_AGAIN).await;
            }
        }
    }
}

/// The server's end of a connection whose client is silent.
pub(super) enum ServerEnd<'a> {
    /// On the way to another node, or to a server outside the mesh.
    Wire(&'a mut Wire),
    /// The application.
    Socket(&'a TcpStream),
}

/// Waits for a server's first words, or its end, and reads nothing of them. Servers of HTTP/2 may send their SETTINGS before
/// they have the client's preface (RFC 9113, section 3.4), and many do: those are no words, it stays the client's turn, and this
/// never returns.
pub(super) async fn server_speaks(mut server: ServerEnd<'_>) -> io::Result<()> {
    let mut seen = BytesMut::new();
    if !server.look(&mut seen).await? {
        return Ok(());
    }
    let is_settings = timeout(UNFINISHED, async {
        loop {
            match begins_with_settings(&seen) {
                Some(is_settings) => return Ok::<bool, io::Error>(is_settings),
                None => sleep(LOOK_AGAIN).await,
            }
            if !server.look(&mut seen).await? {
                return Ok(false);
            }
        }
    });
    match is_settings.await {
        Ok(Ok(true)) => std::future::pending().await,
        Ok(Ok(false)) | Err(_) => Ok(()),
        Ok(Err(error)) => Err(error),
    }
}

impl ServerEnd<'_> {
    async fn look(&mut self, seen: &mut BytesMut) -> io::Result<bool> {
        match self {
            Self::Wire(wire) => wire.look(seen, MOST).await,
            Self::Socket(stream) => look_at(stream, seen, MOST).await,
        }
    }
}

/// Whether bytes are the head of a SETTINGS frame that acknowledges none; nothing if it may still become one.
fn begins_with_settings(seen: &[u8]) -> Option<bool> {
    // Length, type, flags and stream (RFC 9113, sections 4.1 and 6.5); each setting has six bytes.
    let is_so_far = |at: usize, byte: u8| match at {
        0 | 1 | 4..=8 => byte == 0,
        2 => byte.is_multiple_of(6),
        3 => byte == 4,
        _ => true,
    };
    match seen.iter().enumerate().all(|(at, byte)| is_so_far(at, *byte)) {
        true if seen.len() < 9 => None,
        is_settings => Some(is_settings),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_a_server_are_told_from_other_first_words() {
        let settings = [0, 0, 12, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100];
        assert_eq!(begins_with_settings(&settings), Some(true));
        assert_eq!(begins_with_settings(&settings[..8]), None, "not whole yet");
        assert_eq!(begins_with_settings(&[0, 0, 0, 4, 1, 0, 0, 0, 0]), Some(false), "an acknowledgement comes later");
        for other in [&b"220 mail"[..], b"\x4a\0\0\0\x0a8.0.36", b"SSH-2.0", b"\0\0\x0d\x04\0\0\0\0\0"] {
            assert_eq!(begins_with_settings(other), Some(false), "{other:?}");
        }
    }
}
