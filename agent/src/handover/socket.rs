//! The unix socket by which a new agent finds the one before: packets, mode 0600, and only this user.

use std::{io, path::Path, time::Duration};

use rustix::{net::sockopt::socket_peercred, process::geteuid};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::unix_socket;

/// New agents that wait for an answer: one is the usual number.
const BACKLOG: i32 = 8;

/// Connects to the agent that listens. `None` where none does.
pub(super) fn connect(path: &Path) -> io::Result<Option<Socket>> {
    let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(Some(socket)),
        // No agent has run here, or it has ended.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Listens for new agents.
pub(super) fn listen(path: &Path) -> io::Result<Socket> {
    unix_socket::listen(path, Type::SEQPACKET, BACKLOG, |_| Ok(())).map(|(socket, ())| socket)
}

/// Process id of the other end, where it is one of this user.
pub(super) fn peer(socket: &Socket) -> io::Result<i32> {
    let peer = socket_peercred(socket)?;
    if peer.uid != geteuid() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is a process of another user"));
    }
    Ok(peer.pid.as_raw_nonzero().get())
}

/// How long each message may take.
pub(super) fn set_patience(socket: &Socket, patience: Option<Duration>) -> io::Result<()> {
    socket.set_read_timeout(patience)?;
    socket.set_write_timeout(patience)
}
