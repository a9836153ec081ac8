//! Unix sockets that only the agent's own user may use.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
};

use socket2::{Domain, SockAddr, Socket, Type};

/// Listens at a path, of mode 0600. It is bound under another name, closed to others before anybody can connect, and moved into
/// place: what a dead process left there is replaced in one step. `before_it_is_seen` is given the other name.
pub fn listen<T>(
    path: &Path,
    kind: Type,
    backlog: i32,
    before_it_is_seen: impl FnOnce(&Path) -> io::Result<T>,
) -> io::Result<(Socket, T)> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let aside = path.with_extension(format!("{}.new", std::process::id()));
    let _ = fs::remove_file(&aside);
    let bound = || {
        let socket = Socket::new(Domain::UNIX, kind, None)?;
        socket.bind(&SockAddr::unix(&aside)?)?;
        fs::set_permissions(&aside, Permissions::from_mode(0o600))?;
        socket.listen(backlog)?;
        let seen = before_it_is_seen(&aside)?;
        fs::rename(&aside, path)?;
        Ok((socket, seen))
    };
    bound().inspect_err(|_| drop(fs::remove_file(&aside)))
}

/// Whether a socket with this name was made by [`listen`] for this path: it keeps the name that it was bound under.
pub fn is_for(path: &Path, bound: &Path) -> bool {
    bound.with_extension("").with_extension("") == path.with_extension("")
}
