//! Short, stable names for what went wrong on a socket, to count by.

use std::io::{Error, ErrorKind};

use rustix::io::Errno;

/// The errno's name as in errno(3), or `timeout`, `eof`, or the error kind in words.
pub(super) fn name(error: &Error) -> String {
    // A blocking socket whose time limit passed says EAGAIN, or EINPROGRESS for connect.
    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) && error.raw_os_error().is_none_or(is_limit)
    {
        return "timeout".to_owned();
    }
    let known = error.raw_os_error().and_then(errno_name);
    match (known, error.kind()) {
        (Some(name), _) => name.to_owned(),
        (None, ErrorKind::UnexpectedEof) => "eof".to_owned(),
        (None, kind) => error.raw_os_error().map_or_else(|| kind.to_string(), |code| format!("errno {code}")),
    }
}

fn is_limit(code: i32) -> bool {
    code == Errno::AGAIN.raw_os_error()
}

fn errno_name(code: i32) -> Option<&'static str> {
    let names = [
        (Errno::CONNREFUSED, "ECONNREFUSED"),
        (Errno::CONNRESET, "ECONNRESET"),
        (Errno::CONNABORTED, "ECONNABORTED"),
        (Errno::PIPE, "EPIPE"),
        (Errno::TIMEDOUT, "ETIMEDOUT"),
        (Errno::HOSTUNREACH, "EHOSTUNREACH"),
        (Errno::NETUNREACH, "ENETUNREACH"),
        (Errno::ACCESS, "EACCES"),
        (Errno::PERM, "EPERM"),
        (Errno::ADDRINUSE, "EADDRINUSE"),
        (Errno::ADDRNOTAVAIL, "EADDRNOTAVAIL"),
        (Errno::NOTCONN, "ENOTCONN"),
        (Errno::INPROGRESS, "timeout"),
        (Errno::AGAIN, "EAGAIN"),
        (Errno::MFILE, "EMFILE"),
        (Errno::INVAL, "EINVAL"),
    ];
    names.iter().find(|(errno, _)| errno.raw_os_error() == code).map(|(_, name)| *name)
}
