//! Binding the endpoints' addresses: TCP, and the admin unix socket with mode 0600.
//!
//! A socket file that a dead agent left is replaced in one step, one that a live agent serves is not; at the end our own file
//! is removed, and never somebody else's.

use std::{
    fs::{self, Permissions},
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::AdminError;

/// Connections that wait to be accepted; beyond, clients retry.
const BACKLOG: i32 = 128;

/// Takes what the agent before listened to, where it is the same address.
pub(super) fn inherited(socket: OwnedFd, address: SocketAddr) -> Option<TcpListener> {
    let listener = TcpListener::from_std(socket.into()).ok()?;
    (listener.local_addr().ok()? == address).then_some(listener)
}

/// Binds one TCP address. `purpose` and `setting` are for the message.
pub(super) async fn tcp(
    address: SocketAddr,
    purpose: &'static str,
    setting: &'static str,
) -> Result<TcpListener, AdminError> {
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
    fn of(path: &Path) -> io::Result<Self> {
        let file = fs::symlink_metadata(path)?;
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

/// Takes the admin socket that the agent before listened to, where it has the same path.
pub(super) fn inherited_unix(socket: OwnedFd, path: &Path) -> Option<(UnixListener, SocketFile)> {
    let listener = UnixListener::from_std(socket.into()).ok()?;
    // It still has the name that it was bound under.
    let is_for_path = |bound: &Path| bound.with_extension("").with_extension("") == path.with_extension("");
    if !listener.local_addr().ok()?.as_pathname().is_some_and(is_for_path) {
        return None;
    }
    Some((listener, SocketFile::of(path).ok()?))
}

/// Binds the admin socket.
pub(super) fn unix(path: &Path) -> Result<(UnixListener, SocketFile), AdminError> {
    refuse_if_taken(path)?;
    build_aside(path).map_err(|source| AdminError::Bind {
        purpose: "the admin socket",
        address: path.display().to_string(),
        remedy: "the directory must be writable and the path at most 90 bytes; else set admin.socket".to_owned(),
        source,
    })
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

/// Binds under another name, closes it to others before anybody can connect, and moves it into place.
fn build_aside(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let aside = path.with_extension(format!("{}.new", std::process::id()));
    let _ = fs::remove_file(&aside);
    let result = listen_at(&aside).and_then(|listener| {
        fs::rename(&aside, path)?;
        Ok((listener, SocketFile::of(path)?))
    });
    if result.is_err() {
        let _ = fs::remove_file(&aside);
    }
    result
}

fn listen_at(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    UnixListener::from_std(OwnedFd::from(socket).into())
}
