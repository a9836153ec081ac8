//! Ending a TCP connection of somebody else's socket, as ss(8) does with `--kill`: SOCK_DESTROY of sock_diag(7).
//!
//! In: a network namespace and the exact ends, as the socket there has them. The application is told ECONNABORTED, the other
//! end gets a reset. The socket is looked for first, and then ended by its cookie: for a connection that has ended meanwhile the
//! kernel would find whoever would accept it anew, which is the agent's own listener.

use std::io;

use heddle_common::Address;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::NetworkNamespace;

/// `SOCK_DIAG_BY_FAMILY` and `SOCK_DESTROY` of linux/sock_diag.h.
const FIND: u16 = 20;
const DESTROY: u16 = 21;
/// `NLM_F_REQUEST`, and with `NLM_F_ACK`: what has no answer of its own is answered in any case.
const QUESTION: u16 = 1;
const ORDER: u16 = 1 | 4;
/// `NLMSG_ERROR`, which says success too.
const RESULT: u16 = 2;
/// `INET_DIAG_NOCOOKIE`: whatever socket it is.
const ANY: [u32; 2] = [u32::MAX; 2];
/// Devices that a socket may be bound to: none, as applications' sockets are, or loopback, which is 1 in every namespace and to
/// which the kernel programs bind what they cut off.
const DEVICES: [u32; 2] = [0, 1];

/// `struct nlmsghdr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    length: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    sender: u32,
}

/// `struct inet_diag_sockid`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Id {
    local_port: [u8; 2],
    remote_port: [u8; 2],
    local: [u32; 4],
    remote: [u32; 4],
    device: u32,
    cookie: [u32; 2],
}

/// A message with `struct inet_diag_req_v2`.
#[derive(Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
struct Request {
    header: Header,
    family: u8,
    protocol: u8,
    extensions: u8,
    padding: u8,
    states: u32,
    id: Id,
}

/// A message with the beginning of `struct inet_diag_msg`.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Found {
    header: Header,
    _family_state_timer_retransmits: [u8; 4],
    id: Id,
}

/// A message with the beginning of `struct nlmsgerr`.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Outcome {
    header: Header,
    error: i32,
}

/// Ends the connection between these two ends, of which the first is a socket of the namespace. False if there is none.
pub(super) fn destroy(netns: &NetworkNamespace, local: (Address, u16), remote: (Address, u16)) -> io::Result<bool> {
    netns.run(|| {
        for device in DEVICES {
            let id = Id::new(local, remote, device);
            let Some(found) = find(local.0, id)? else { continue };
            // A listener has no other end.
            if found.remote_port == id.remote_port {
                let ended = ask(&Request::new(DESTROY, ORDER, local.0, Id { device, ..found }))?;
                return outcome(&ended).map(|()| true).or_else(if_gone);
            }
        }
        Ok(false)
    })?
}

/// The socket that the kernel finds for a connection.
fn find(local: Address, id: Id) -> io::Result<Option<Id>> {
    found(&ask(&Request::new(FIND, QUESTION, local, id))?)
}

/// The socket of an answer.
pub(super) fn found(answer: &[u8]) -> io::Result<Option<Id>> {
    match Found::read_from_prefix(answer) {
        Ok((Found { header: Header { kind: FIND, .. }, id, .. }, _)) => Ok(Some(id)),
        _ => outcome(answer).map(|()| None).or_else(|error| if_gone(error).map(|_| None)),
    }
}

/// Whatever was to be ended has ended by itself.
fn if_gone(error: io::Error) -> io::Result<bool> {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ESTALE) => Ok(false),
        _ => Err(error),
    }
}

fn outcome(answer: &[u8]) -> io::Result<()> {
    match Outcome::read_from_prefix(answer) {
        Ok((Outcome { header: Header { kind: RESULT, .. }, error: 0 }, _)) => Ok(()),
        Ok((Outcome { header: Header { kind: RESULT, .. }, error }, _)) => {
            Err(io::Error::from_raw_os_error(error.saturating_neg()))
        }
        _ => Err(io::Error::other("the kernel's answer about a socket is neither one nor an error")),
    }
}

fn ask(request: &Request) -> io::Result<Vec<u8>> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(request.as_bytes(), 0)?;
    Ok(socket.recv_from_full()?.0)
}

impl Id {
    fn new((local, local_port): (Address, u16), (remote, remote_port): (Address, u16), device: u32) -> Self {
        let words = |address: Address| match address.ipv4_be() {
            Some(word) => [word, 0, 0, 0],
            None => address.ipv6_be(),
        };
        Self {
            local_port: local_port.to_be_bytes(),
            remote_port: remote_port.to_be_bytes(),
            local: words(local),
            remote: words(remote),
            device,
            cookie: ANY,
        }
    }
}

impl Request {
    fn new(kind: u16, flags: u16, local: Address, id: Id) -> Self {
        // The kernel finds a mapped socket by its IPv4 addresses, too.
        let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        Self {
            header: Header { length: size_of::<Self>() as u32, kind, flags, sequence: 1, sender: 0 },
            family: family as u8,
            protocol: libc::IPPROTO_TCP as u8,
            extensions: 0,
            padding: 0,
            states: u32::MAX,
            id,
        }
    }
}
