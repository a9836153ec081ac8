//! The unix socket by which a new agent finds the one before: packets, mode 0600, and only this user.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use rustix::{net::sockopt::socket_peercred, process::geteuid};
use socket2::{Domain, SockAddr, Socket, Type};

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

/// Binds under another name, closes it to others before anybody can connect, and moves it into place: what a dead agent left
/// is replaced in one step.
pub(super) fn listen(path: &Path) -> io::Result<Socket> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let aside = path.with_extension(format!("{}.new", std::process::id()));
    let _ = fs::remove_file(&aside);
    let bound = || {
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
        socket.bind(&SockAddr::unix(&aside)?)?;
        fs::set_permissions(&aside, fs::Permissions::from_mode(0o600))?;
        socket.listen(BACKLOG)?;
        fs::rename(&aside, path)?;
        Ok(socket)
    };
    bound().inspect_err(|_: &io::Error| drop(fs::remove_file(&aside)))
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
