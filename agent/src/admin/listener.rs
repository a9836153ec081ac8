//! Binding the endpoints' addresses: TCP, and the admin unix socket with mode 0600.
//!
//! A socket file that a dead agent left is replaced in one step, one that a live agent serves is not; at the end our own file
//! is removed, and never somebody else's.

use std::{
    fs, io,
    net::SocketAddr,
    os::fd::OwnedFd,
    os::unix::fs::{FileTypeExt, MetadataExt},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use socket2::Type;
use tokio::net::{TcpListener, UnixListener};

use super::AdminError;
use crate::unix_socket;

/// Connections that wait to be accepted; beyond, clients retry.
const BACKLOG: i32 = 128;

/// Takes what the agent before listened to, where that is the same address, or binds it. `purpose` and `setting` are for the
/// message.
pub(super) async fn tcp(
    inherited: Option<OwnedFd>,
    address: SocketAddr,
    purpose: &'static str,
    setting: &'static str,
) -> Result<TcpListener, AdminError> {
    let inherited = inherited.and_then(|socket| TcpListener::from_std(socket.into()).ok());
    if let Some(listener) = inherited.filter(|it| it.local_addr().is_ok_and(|bound| bound == address)) {
        return Ok(listener);
    }
    TcpListener::bind(address).await.map_err(|source| AdminError::Bind {
        purpose,
        address: address.to_string(),
        remedy: remedy(&source, setting),
        source,
    })
}

fn remedy(error: &io::Error, setting: &str) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!("does another agent run here? else choose another {setting}"),
        io::ErrorKind::AddrNotAvailable => format!("this machine does not have that address; change {setting}"),
        io::ErrorKind::PermissionDenied => format!("run as a user that may bind it, or change {setting}"),
        _ => format!("check {setting}"),
    }
}

/// The admin socket's file, removed when this is dropped.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl SocketFile {
    /// The file at a path, which may be called otherwise for a moment more.
    fn of(path: &Path, now: &Path) -> io::Result<Self> {
        let file = fs::symlink_metadata(now)?;
        Ok(Self { path: path.to_owned(), inode: (file.dev(), file.ino()) })
    }

    /// It is the next agent's now.
    pub(super) fn leave(mut self) {
        self.inode = (0, 0);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.inode);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(
                "removing the admin socket {} failed: {error}; the next agent replaces it",
                self.path.display()
            );
        }
    }
}

/// Takes the admin socket that the agent before listened to, where that is the same path, or binds it.
pub(super) fn unix(inherited: Option<OwnedFd>, path: &Path) -> Result<(UnixListener, SocketFile), AdminError> {
    if let Some(taken) = inherited.and_then(|socket| take(socket, path)) {
        return Ok(taken);
    }
    refuse_if_taken(path)?;
    bind(path).map_err(|source| AdminError::Bind {
        purpose: "the admin socket",
        address: path.display().to_string(),
        remedy: "the directory must be writable and the path at most 90 bytes; else set admin.socket".to_owned(),
        source,
    })
}

fn take(socket: OwnedFd, path: &Path) -> Option<(UnixListener, SocketFile)> {
    let listener = UnixListener::from_std(socket.into()).ok()?;
    let address = listener.local_addr().ok()?;
    let bound = address.as_pathname().filter(|bound| unix_socket::is_for(path, bound));
    bound.and_then(|_| Some((listener, SocketFile::of(path, path).ok()?)))
}

fn refuse_if_taken(path: &Path) -> Result<(), AdminError> {
    let Ok(file) = fs::symlink_metadata(path) else { return Ok(()) };
    if !file.file_type().is_socket() {
        return Err(AdminError::NotASocket { path: path.to_owned() });
    }
    match UnixStream::connect(path) {
        // The kernel's word for a socket file that no process listens on.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        _ => Err(AdminError::SocketInUse { path: path.to_owned() }),
    }
}

fn bind(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let (socket, file) = unix_socket::listen(path, Type::STREAM, BACKLOG, |aside| SocketFile::of(path, aside))?;
    socket.set_nonblocking(true)?;
    Ok((UnixListener::from_std(OwnedFd::from(socket).into())?, file))
}
