//! The few system calls that no library of ours has a safe form of: replacing the program of a pinned BPF link and
//! detaching it, and two socket options. The agent's only unsafe code is here.

use std::{
    ffi::CString,
    io,
    mem::size_of,
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

/// bpf(2) commands, from the kernel's `enum bpf_cmd`.
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_LINK_UPDATE: libc::c_int = 29;
const BPF_LINK_DETACH: libc::c_int = 34;

/// `SO_NETNS_COOKIE`, Linux 5.14.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// `union bpf_attr` of `BPF_OBJ_GET`.
#[repr(C)]
struct ObjGet {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// `union bpf_attr` of `BPF_LINK_UPDATE`.
#[repr(C)]
struct LinkUpdate {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

/// `union bpf_attr` of `BPF_LINK_DETACH`.
#[repr(C)]
struct LinkDetach {
    link_fd: u32,
}

/// Opens a link that is pinned in a BPF file system.
pub(super) fn open_link(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attributes = ObjGet { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    let descriptor = bpf(BPF_OBJ_GET, &attributes)?;
    #[expect(unsafe_code, reason = "bpf(2) returns a bare descriptor")]
    // SAFETY: BPF_OBJ_GET succeeded, so this is a descriptor that nobody else owns.
    let link = unsafe { OwnedFd::from_raw_fd(descriptor) };
    Ok(link)
}

/// Replaces the program of a link, atomically: each packet or system call meets the old or the new one.
pub(super) fn update_link(link: impl AsFd, program: impl AsFd) -> io::Result<()> {
    let attributes = LinkUpdate {
        link_fd: link.as_fd().as_raw_fd().cast_unsigned(),
        new_prog_fd: program.as_fd().as_raw_fd().cast_unsigned(),
        flags: 0,
        old_prog_fd: 0,
    };
    bpf(BPF_LINK_UPDATE, &attributes).map(drop)
}

/// Detaches a link at once. To drop its last reference would too, but some time later, by a work queue.
pub(super) fn detach_link(link: impl AsFd) -> io::Result<()> {
    let attributes = LinkDetach { link_fd: link.as_fd().as_raw_fd().cast_unsigned() };
    bpf(BPF_LINK_DETACH, &attributes).map(drop)
}

fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_int> {
    #[expect(unsafe_code, reason = "bpf(2)")]
    // SAFETY: the attributes have the command's layout, and live until the call returns, as does what they point to.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    match libc::c_int::try_from(result) {
        Ok(value) if value >= 0 => Ok(value),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The cookie that tells a socket's network namespace from every other until the machine restarts.
pub(super) fn netns_cookie(socket: impl AsFd) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    #[expect(unsafe_code, reason = "getsockopt(2)")]
    // SAFETY: the option writes eight bytes, for which there is room.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// Lets bind(2) leave the choice of the port to connect(2), which then needs it unique per destination only.
pub(super) fn bind_address_no_port(socket: impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    #[expect(unsafe_code, reason = "setsockopt(2)")]
    // SAFETY: the option reads one int, which lives until the call returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
