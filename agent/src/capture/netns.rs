//! A pod's network namespace: open handle, cookie, and running a piece of code inside it.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    sync::OnceLock,
};

#[expect(deprecated, reason = "see its use")]
use rustix::thread::unshare;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use socket2::{Domain, Socket, Type};

use super::{
    sandbox::{NamespaceId, id_of},
    sys,
};

/// The namespace that all threads of the agent live in. Opened before any thread ever left it.
static HOME: OnceLock<File> = OnceLock::new();

/// An open network namespace. It keeps the namespace alive, as a process in it would.
#[derive(Debug)]
pub struct NetworkNamespace {
    handle: File,
    cookie: u64,
}

impl NetworkNamespace {
    /// Opens the namespace behind a path such as `/run/netns/NAME`.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::of(File::open(path)?)
    }

    /// Makes a new one, with nothing in it but a loopback device that is down. It goes with the last handle.
    pub(super) fn empty() -> io::Result<Self> {
        // Before a thread is elsewhere.
        home()?;
        // A thread of its own, which never returns: it ends in the new namespace.
        let made = std::thread::spawn(|| {
            #[expect(deprecated, reason = "it is unsafe for tables of descriptors, which stay shared here")]
            unshare(UnshareFlags::NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        });
        Self::of(made.join().map_err(|_| io::Error::other("the thread that makes a namespace panicked"))??)
    }

    /// Takes over a namespace that is open already.
    pub(super) fn of(handle: File) -> io::Result<Self> {
        let cookie = inside(handle.as_fd(), cookie_here)??;
        Ok(Self { handle, cookie })
    }

    /// Whether it is the agent's own.
    pub(super) fn is_home(&self) -> io::Result<bool> {
        Ok(id_of(&home()?.metadata()?) == self.id()?)
    }

    /// The kernel's name for it: unique, and unforgeable from inside.
    pub fn cookie(&self) -> u64 {
        self.cookie
    }

    /// What tells it from all others that exist now.
    pub(super) fn id(&self) -> io::Result<NamespaceId> {
        Ok(id_of(&self.handle.metadata()?))
    }

    /// Runs code on this thread inside the namespace: sockets that it makes stay there. The code must not block for
    /// long, and cannot await.
    pub fn run<T>(&self, code: impl FnOnce() -> T) -> io::Result<T> {
        inside(self.handle.as_fd(), code)
    }
}

impl AsFd for NetworkNamespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// The cookie of the namespace that this thread is in: the agent's own, outside of [`NetworkNamespace::run`].
pub(super) fn cookie_here() -> io::Result<u64> {
    sys::netns_cookie(&Socket::new(Domain::IPV4, Type::DGRAM, None)?)
}

fn inside<T>(namespace: BorrowedFd<'_>, code: impl FnOnce() -> T) -> io::Result<T> {
    let home = home()?;
    move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?;
    let _return = Return { home };
    Ok(code())
}

fn home() -> io::Result<&'static File> {
    if let Some(home) = HOME.get() {
        return Ok(home);
    }
    let opened = File::open("/proc/thread-self/ns/net")?;
    Ok(HOME.get_or_init(|| opened))
}

/// Brings the thread home, also on panic.
struct Return {
    home: &'static File,
}

impl Drop for Return {
    fn drop(&mut self) {
        if move_into_link_name_space(self.home.as_fd(), Some(LinkNameSpaceType::Network)).is_err() {
            // A thread lost in a pod's namespace would open the agent's sockets there: no agent is better than that.
            std::process::abort();
        }
    }
}
