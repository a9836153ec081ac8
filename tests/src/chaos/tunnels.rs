//! The peer of an agent by hand: connections of this process inside a pod's namespace, TLS that stops where it is told to, and what
//! the kernel says of who is still connected.
//!
//! Not for pods of the mesh: what this process opens is not captured.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned};

use crate::bed::{NetNs, Pod};

/// A socket of the tests gives up after it.
const LIMIT: Duration = Duration::from_secs(3);

/// TLS of a client.
pub(super) type ClientTls = StreamOwned<ClientConnection, TcpStream>;
/// TLS of a server.
pub(super) type ServerTls = StreamOwned<ServerConnection, TcpStream>;

/// A connection from inside a namespace.
pub(super) fn dial(from: &NetNs, to: SocketAddr) -> Result<TcpStream> {
    from.run(|| {
        let stream = TcpStream::connect_timeout(&to, LIMIT).with_context(|| format!("connecting to {to}"))?;
        limit(&stream)?;
        Ok(stream)
    })
}

/// A listener inside a namespace, which does not wait.
pub(super) fn listen(inside: &NetNs, at: SocketAddr) -> Result<TcpListener> {
    inside.run(|| {
        let listener = TcpListener::bind(at).with_context(|| format!("listening on {at}"))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    })
}

/// Reads and writes give up after a while.
pub(super) fn limit(stream: &TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    Ok(stream.set_nodelay(true)?)
}

/// What a client says first.
pub(super) fn hello(config: &Arc<ClientConfig>, to: SocketAddr) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    ClientConnection::new(Arc::clone(config), ServerName::from(to.ip()))?.write_tls(&mut bytes)?;
    Ok(bytes)
}

/// The whole handshake, as far as the client sees it.
pub(super) fn handshake(config: &Arc<ClientConfig>, mut stream: TcpStream) -> Result<ClientTls> {
    let to = stream.peer_addr()?.ip();
    let mut session = ClientConnection::new(Arc::clone(config), ServerName::from(to))?;
    while session.is_handshaking() {
        session.complete_io(&mut stream).context("TLS of a client")?;
    }
    Ok(StreamOwned::new(session, stream))
}

/// The same as a server.
pub(super) fn serve_handshake(config: &Arc<ServerConfig>, mut stream: TcpStream) -> Result<ServerTls> {
    let mut session = ServerConnection::new(Arc::clone(config))?;
    while session.is_handshaking() {
        session.complete_io(&mut stream).context("TLS of a server")?;
    }
    Ok(StreamOwned::new(session, stream))
}

/// What a server answers to a ClientHello that comes.
pub(super) fn server_hello(config: &Arc<ServerConfig>, stream: &mut TcpStream) -> Result<Vec<u8>> {
    let (mut session, mut bytes) = (ServerConnection::new(Arc::clone(config))?, Vec::new());
    while !session.wants_write() {
        ensure!(session.read_tls(stream)? > 0, "the client closed");
        session.process_new_packets()?;
    }
    while session.wants_write() {
        session.write_tls(&mut bytes)?;
    }
    Ok(bytes)
}

/// Sends and does not care.
pub(super) fn say(stream: &mut impl Write, bytes: &[u8]) {
    let _ = stream.write_all(bytes).and_then(|()| stream.flush());
}

/// Whether the other end closes a connection, or resets it, in this time; what comes until then is thrown away.
pub(super) fn closes(stream: &mut TcpStream, within: Duration) -> Result<bool> {
    let deadline = Instant::now() + within;
    let mut buffer = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(true),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(false),
            Err(_) => return Ok(true),
        }
    }
}

/// How many established TCP connections the kernel has in a pod with an address.
pub(super) fn connected(pod: &Pod, to: IpAddr) -> Result<usize> {
    let line = format!("-H -t -n state established dst {to}");
    let told = pod.command("ss").words(&line).output(Duration::from_secs(20))?;
    Ok(told.lines().filter(|line| !line.trim().is_empty()).count())
}
