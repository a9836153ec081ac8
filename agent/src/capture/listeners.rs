//! The agent's listening sockets in a pod's network namespace: taken over from the agent before, or opened.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    os::fd::{AsRawFd, OwnedFd},
    sync::{Arc, Weak},
};

use heddle_common::{HBONE_PORT, INBOUND_PORT, OUTBOUND_PORT};
use rustix::net::sockopt::socket_acceptconn;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};

use super::{NetworkNamespace, sys};

/// Connections that wait in a listener's queue. The kernel caps it at `net.core.somaxconn` (4,096 by default); beyond
/// it clients wait and try again, and none is answered wrongly.
const BACKLOG: i32 = 4096;

/// A program of classic BPF: `BPF_RET | BPF_K`, of a packet its first 0 bytes.
const TAKE_NOTHING: SockFilter = SockFilter::new(6, 0, 0, 0);

/// What a listener is for, as one agent tells the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ListenerName {
    /// Captured outbound connections, of one family.
    Outbound,
    /// Inbound without a tunnel.
    Plaintext,
    /// Inbound tunnels.
    Hbone,
    /// What is held up.
    Held,
}

/// The listeners that an agent has in the namespaces of its pods, by the namespaces' cookies.
pub type Listeners = HashMap<u64, Vec<(ListenerName, OwnedFd)>>;

/// Those of one pod.
#[derive(Debug)]
pub(super) struct PodListeners {
    /// On the pod's loopback: captured outbound connections, IPv4 and, where the pod has IPv6, IPv6.
    pub(super) outbound: Vec<Arc<TcpListener>>,
    /// Inbound without a tunnel.
    pub(super) plaintext: Arc<TcpListener>,
    /// Inbound tunnels.
    pub(super) hbone: Arc<TcpListener>,
    /// Packets that are held up: nobody gets them, and nobody answers.
    pub(super) held: TcpListener,
}

impl PodListeners {
    /// Takes those that the agent before had there, with what waits in their queues, and opens what is missing.
    pub(super) fn open(netns: &NetworkNamespace, inherited: Vec<(ListenerName, OwnedFd)>) -> io::Result<Self> {
        let (mut outbound, mut plaintext, mut hbone, mut held) = (Vec::new(), None, None, None);
        for (name, socket) in inherited {
            // A process of the pod can have destroyed it.
            if !socket_acceptconn(&socket).unwrap_or(false) {
                continue;
            }
            let listener = TcpListener::from(socket);
            match name {
                ListenerName::Outbound => outbound.push(Arc::new(listener)),
                ListenerName::Plaintext => plaintext = Some(listener),
                ListenerName::Hbone => hbone = Some(listener),
                ListenerName::Held => held = Some(listener),
            }
        }
        netns.run(|| {
            if outbound.is_empty() {
                outbound.push(Arc::new(listen(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), OUTBOUND_PORT))?));
                // Without IPv6 in the namespace there is nothing to capture there.
                if has_ipv6() {
                    outbound.push(Arc::new(listen(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), OUTBOUND_PORT))?));
                }
            }
            Ok(Self {
                outbound,
                plaintext: plaintext.map_or_else(|| listen_any(INBOUND_PORT), Ok)?.into(),
                hbone: hbone.map_or_else(|| listen_any(HBONE_PORT), Ok)?.into(),
                held: held.map_or_else(hold, Ok)?,
            })
        })?
    }

    /// To be looked at.
    pub(super) fn shown(&self) -> ShownListeners {
        let Self { outbound, plaintext, hbone, held: _ } = self;
        ShownListeners {
            outbound: outbound.iter().map(Arc::downgrade).collect(),
            inbound: [plaintext, hbone].map(Arc::downgrade),
        }
    }

    /// All of them, for the next agent.
    pub(super) fn named(&self) -> io::Result<Vec<(ListenerName, OwnedFd)>> {
        let Self { outbound, plaintext, hbone, held } = self;
        let single: [(_, &TcpListener); 3] =
            [(ListenerName::Plaintext, plaintext), (ListenerName::Hbone, hbone), (ListenerName::Held, held)];
        let outbound = outbound.iter().map(|listener| (ListenerName::Outbound, &**listener));
        outbound.chain(single).map(|(name, listener)| Ok((name, listener.try_clone()?.into()))).collect()
    }
}

/// Connections that wait to be accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// So many do.
    pub waiting: usize,
    /// So many may, and one more.
    pub most: usize,
}

/// Those of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodQueues {
    /// Which it opened.
    pub outbound: Queue,
    /// To it.
    pub inbound: Queue,
}

/// A pod's listeners, to look at for as long as the agent has them: who keeps this keeps none of them open.
#[derive(Debug)]
pub(super) struct ShownListeners {
    outbound: Vec<Weak<TcpListener>>,
    inbound: [Weak<TcpListener>; 2],
}

impl ShownListeners {
    /// How full the queues are; of several listeners, the fullest.
    pub(super) fn queues(&self) -> PodQueues {
        let fullest = |listeners: &[Weak<TcpListener>]| {
            let queues = listeners.iter().filter_map(Weak::upgrade).filter_map(|it| sys::listen_queue(it.as_raw_fd()));
            queues.max_by_key(|queue| queue.waiting).unwrap_or_default()
        };
        PodQueues { outbound: fullest(&self.outbound), inbound: fullest(&self.inbound) }
    }
}

/// Whether IPv6 works in the namespace that this thread is in: it can be there and switched off.
pub(super) fn has_ipv6() -> bool {
    Socket::new(Domain::IPV6, Type::STREAM, None)
        .is_ok_and(|socket| socket.bind(&SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 0).into()).is_ok())
}

/// On all addresses of both families, or of IPv4 where the namespace has no IPv6.
fn listen_any(port: u16) -> io::Result<TcpListener> {
    let any: IpAddr = if has_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    listen(SocketAddr::new(any, port))
}

/// A listener that drops whatever comes, so that a client sends its SYN again; a socket look-up that drops it answers
/// with a reset. The kernel programs send it packets of both families, and nobody else has a reason to dial it. The
/// port is the agent's already.
fn hold() -> io::Result<TcpListener> {
    let address = Ipv4Addr::new(127, 0, 0, 2);
    let ip: IpAddr = if has_ipv6() { address.to_ipv6_mapped().into() } else { address.into() };
    let listener = listen(SocketAddr::new(ip, OUTBOUND_PORT))?;
    SockRef::from(&listener).attach_filter(&[TAKE_NOTHING])?;
    Ok(listener)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let open = || {
        let domain = if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        // A restarted agent finds connections of its predecessor in TIME_WAIT.
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.set_tcp_nodelay(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    open().map_err(|error: io::Error| {
        io::Error::new(error.kind(), format!("listen on {address} inside the pod: {error}"))
    })
}
