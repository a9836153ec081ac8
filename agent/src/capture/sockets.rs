//! The sockets that the agent opens inside a pod's network namespace, tagged so that the kernel programs know them
//! for the agent's own.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    os::fd::{AsRawFd, RawFd},
    path::Path,
    time::Duration,
};

use aya::maps::{Map, MapData, MapError, SkStorage};
use heddle_common::{Address, AgentSocket, HBONE_PORT, INBOUND_PORT, OUTBOUND_PORT, OriginalDst};
use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};

use super::{NetworkNamespace, sys};
use crate::observe::SocketFacts;

/// Mark of the agent's sockets to applications, by which the answers find their way back to the agent and not to
/// the client whose address it borrowed. Istio's number, so that rules which administrators have for it hold here too.
/// It is no proof of anything: a pod can set it.
pub(super) const APPLICATION_MARK: u32 = 0x539;

/// Source ports of the agent's connections to applications: below those that clients choose (`ip_local_port_range`, from
/// 32768). The client whose address the agent borrows may have a connection of its own to the same port of the pod, and
/// the pod's kernel could not tell the packets of the two apart.
const APPLICATION_PORTS: RangeInclusive<u16> = 1024..=32767;
/// Ports that one connection tries: with three of four ports to the same destination in use, one in a million finds none.
const PORT_TRIES: u32 = 48;

/// Makes sockets, tags them, and reads where captured ones were going.
#[derive(Debug)]
pub struct AgentSockets {
    tags: Mutex<SkStorage<MapData, u32>>,
    original_dsts: SkStorage<MapData, OriginalDst>,
}

impl AgentSockets {
    /// Opens the two pinned maps that it works with.
    pub(super) fn open(tags: &Path, original_dsts: &Path) -> Result<Self, MapError> {
        let open = |path| Ok::<_, MapError>(Map::SkStorage(MapData::from_pin(path)?));
        Ok(Self { tags: Mutex::new(open(tags)?.try_into()?), original_dsts: open(original_dsts)?.try_into()? })
    }

    /// Where the application of a captured connection wanted to go; `None` for a connection that was not captured.
    pub fn original_dst(&self, accepted: &impl AsRawFd) -> Option<SocketAddr> {
        let original = self.original_dsts.get(accepted, 0).ok()?;
        let port = u16::try_from(original.port).ok()?;
        Some(SocketAddr::new(IpAddr::from(original.address), port))
    }

    /// Connects from inside a pod to somewhere else, with the pod's own address.
    pub async fn dial(&self, netns: &NetworkNamespace, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = netns.run(|| stream_socket(to.ip()))??;
        self.tag(&socket, AgentSocket::Dial)?;
        let stream = TcpSocket::from_std_stream(socket.into()).connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Connects to the application inside a pod, with the client's address as the source.
    pub async fn dial_application(
        &self,
        netns: &NetworkNamespace,
        client: IpAddr,
        to: SocketAddr,
    ) -> io::Result<TcpStream> {
        let mut tries = 1;
        loop {
            match self.dial_transparent(netns, client, to).await {
                Err(error) if is_port_taken(&error) && tries < PORT_TRIES => tries += 1,
                connected => return connected,
            }
        }
    }

    /// One try, with a port by chance.
    async fn dial_transparent(
        &self,
        netns: &NetworkNamespace,
        client: IpAddr,
        to: SocketAddr,
    ) -> io::Result<TcpStream> {
        let socket = netns.run(|| transparent_socket(client, to.ip()))??;
        self.tag(&socket, AgentSocket::ToApplication)?;
        let stream = TcpSocket::from_std_stream(socket.into()).connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn tag(&self, socket: &Socket, kind: AgentSocket) -> io::Result<()> {
        self.tags.lock().insert(socket, kind as u32, 0).map_err(io::Error::other)
    }
}

fn stream_socket(peer: IpAddr) -> io::Result<Socket> {
    let socket = Socket::new(domain(peer), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    Ok(socket)
}

fn transparent_socket(client: IpAddr, application: IpAddr) -> io::Result<Socket> {
    let socket = stream_socket(application)?;
    match client {
        IpAddr::V4(_) => socket.set_ip_transparent_v4(true)?,
        IpAddr::V6(_) => socket.set_ip_transparent_v6(true)?,
    }
    socket.set_mark(APPLICATION_MARK)?;
    // Others of ours may have the port with another destination, or with this one and closed already: connect() knows.
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::new(client, fastrand::u16(APPLICATION_PORTS)).into())?;
    Ok(socket)
}

/// bind() says so of a port that somebody else has, connect() of one that has a connection to this destination.
fn is_port_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable)
}

fn domain(address: IpAddr) -> Domain {
    if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 }
}

/// What the kernel knows of how the packets of one of the agent's sockets travel. The caller must know that it is open.
pub fn socket_facts(socket: RawFd) -> Option<SocketFacts> {
    sys::tcp_facts(socket)
}

/// Makes the kernel notice a dead peer on a connection that nobody writes to, and one that does not acknowledge.
pub fn watch_liveness(stream: &TcpStream, idle: Duration, dead: Duration) -> io::Result<()> {
    let socket = socket2::SockRef::from(stream);
    let keepalive = socket2::TcpKeepalive::new().with_time(idle).with_interval(idle / 2).with_retries(2);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(dead))
}

/// The address that the client of an inbound connection dialled: the kernel hands connections over without changing it.
pub fn dialled(accepted: &TcpStream) -> Option<SocketAddr> {
    let address = accepted.local_addr().ok()?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// Whether this is the agent's own connection to an application, come back: the kernel's table of such connections
/// was full. Serving it would turn in a circle.
pub fn is_own_dial(accepted: &TcpStream) -> bool {
    socket2::SockRef::from(accepted).mark().is_ok_and(|mark| mark == APPLICATION_MARK)
}

/// Whether a port of a pod is one of the agent's listeners there.
pub fn is_agent_port(port: u16) -> bool {
    [OUTBOUND_PORT, INBOUND_PORT, HBONE_PORT].contains(&port)
}

/// Drops an address's IPv4-in-IPv6 form, which dual-stack listeners report.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(Address::from(address.ip()).into(), address.port())
}
