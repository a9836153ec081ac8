//! Ending a TCP connection of somebody else's sockets, as ss(8) does with `--kill`: SOCK_DESTROY of sock_diag(7).
//!
//! In: a network namespace and the exact ends, as the socket there has them. The application is told ECONNABORTED, the other
//! end gets a reset.

use std::io;

use heddle_common::{Address, ConnectionTuple};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::NetworkNamespace;

/// `SOCK_DESTROY` of linux/sock_diag.h, and what has an answer in any case.
const SOCK_DESTROY: u16 = 21;
const REQUEST_AND_ACKNOWLEDGE: u16 = 1 | 4;
/// `NLMSG_ERROR`: the answer, which says success too.
const ANSWER: u16 = 2;
/// Index of `lo`, which is 1 in every network namespace.
const LOOPBACK: u32 = 1;

/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
#[derive(Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
struct Request {
    length: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    sender: u32,
    family: u8,
    protocol: u8,
    extensions: u8,
    padding: u8,
    states: u32,
    local_port: [u8; 2],
    remote_port: [u8; 2],
    local: [u32; 4],
    remote: [u32; 4],
    device: u32,
    cookie: [u32; 2],
}

/// `struct nlmsghdr` and the beginning of `struct nlmsgerr`.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Answer {
    _length: u32,
    kind: u16,
    _flags: u16,
    _sequence: u32,
    _sender: u32,
    error: i32,
}

/// Where the socket can be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On any device, as applications' sockets are.
    Anywhere,
    /// On the loopback device, to which the kernel programs bind what they cut off.
    CutOff,
}

/// Ends the connection that a socket of the namespace has as its client. False if there is none any more.
pub(super) fn destroy(netns: &NetworkNamespace, tuple: &ConnectionTuple, place: Place) -> io::Result<bool> {
    let ConnectionTuple { client, server, client_port, server_port } = *tuple;
    netns.run(|| ask(&Request::new((client, client_port), (server, server_port), place)))?
}

/// The same by the other end.
pub(super) fn destroy_server(netns: &NetworkNamespace, tuple: &ConnectionTuple) -> io::Result<bool> {
    let ConnectionTuple { client, server, client_port, server_port } = *tuple;
    netns.run(|| ask(&Request::new((server, server_port), (client, client_port), Place::Anywhere)))?
}

impl Request {
    fn new((local, local_port): (Address, u16), (remote, remote_port): (Address, u16), place: Place) -> Self {
        // The kernel finds a mapped socket by its IPv4 addresses, too.
        let (family, words): (i32, fn(Address) -> [u32; 4]) = match local.is_ipv4() {
            true => (libc::AF_INET, |address| [address.ipv4_be().unwrap_or_default(), 0, 0, 0]),
            false => (libc::AF_INET6, |address| address.ipv6_be()),
        };
        Self {
            length: size_of::<Self>() as u32,
            kind: SOCK_DESTROY,
            flags: REQUEST_AND_ACKNOWLEDGE,
            sequence: 1,
            sender: 0,
            family: family as u8,
            protocol: libc::IPPROTO_TCP as u8,
            extensions: 0,
            padding: 0,
            // Those in TIME_WAIT are over.
            states: u32::MAX,
            local_port: local_port.to_be_bytes(),
            remote_port: remote_port.to_be_bytes(),
            local: words(local),
            remote: words(remote),
            device: if place == Place::CutOff { LOOPBACK } else { 0 },
            // `INET_DIAG_NOCOOKIE`: whatever socket it is.
            cookie: [u32::MAX; 2],
        }
    }
}

fn ask(request: &Request) -> io::Result<bool> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(request.as_bytes(), 0)?;
    let (received, _) = socket.recv_from_full()?;
    match Answer::read_from_prefix(&received) {
        Ok((Answer { kind: ANSWER, error: 0, .. }, _)) => Ok(true),
        Ok((Answer { kind: ANSWER, error, .. }, _)) => match -error {
            libc::ENOENT => Ok(false),
            code => Err(io::Error::from_raw_os_error(code)),
        },
        _ => Err(io::Error::other("the kernel answered with something else than success or an error")),
    }
}
