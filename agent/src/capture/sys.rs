//! The few system calls that no library of ours has a safe form of: replacing the program of a pinned BPF link and
//! detaching it, reading a map in batches, and two socket options. The agent's only unsafe code is here.

use std::{
    cell::Cell,
    ffi::CString,
    io,
    mem::{offset_of, size_of},
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use zerocopy::FromBytes;

use super::Queue;
use crate::observe::SocketFacts;

/// bpf(2) commands, from the kernel's `enum bpf_cmd`.
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;
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

/// `union bpf_attr` of `BPF_MAP_LOOKUP_BATCH`, where the count goes both ways.
#[repr(C)]
struct LookupBatch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: Cell<u32>,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Entries that are read at a time: more than a bucket of a hash table ever has.
const BATCH: usize = 1024;

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

/// All entries of a hash table. One that is entered or removed meanwhile may be among them or not; any other is, once.
///
/// Key by key the kernel would start anew whenever the last key is gone: with connections that come and go that has no end.
pub(super) fn map_entries<K, V>(map: impl AsFd) -> io::Result<Vec<(K, V)>>
where
    K: FromBytes + Default + Copy,
    V: FromBytes + Default + Copy,
{
    let (mut keys, mut values) = (vec![K::default(); BATCH], vec![V::default(); BATCH]);
    let (mut found, mut place, mut next) = (Vec::new(), [0_u32; 2], [0_u32; 2]);
    let mut is_first = true;
    loop {
        let attributes = LookupBatch {
            in_batch: if is_first { 0 } else { place.as_ptr() as u64 },
            out_batch: next.as_mut_ptr() as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: Cell::new(BATCH as u32),
            map_fd: map.as_fd().as_raw_fd().cast_unsigned(),
            elem_flags: 0,
            flags: 0,
        };
        let result = bpf(BPF_MAP_LOOKUP_BATCH, &attributes);
        let is_last = match result {
            Ok(_) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) => return Err(error),
        };
        let count = attributes.count.get() as usize;
        found.extend(keys.iter().copied().zip(values.iter().copied()).take(count));
        if is_last {
            return Ok(found);
        }
        (place, is_first) = (next, false);
    }
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

/// Words of `struct tcp_info` up to `tcpi_total_retrans`, which each kernel has; the first two are eight small fields.
const TCP_INFO_WORDS: usize = TCP_INFO_TOTAL_RETRANS + 1;
const TCP_INFO_UNACKED: usize = offset_of!(libc::tcp_info, tcpi_unacked) / size_of::<u32>();
const TCP_INFO_SACKED: usize = offset_of!(libc::tcp_info, tcpi_sacked) / size_of::<u32>();
const TCP_INFO_RTT: usize = offset_of!(libc::tcp_info, tcpi_rtt) / size_of::<u32>();
const TCP_INFO_TOTAL_RETRANS: usize = offset_of!(libc::tcp_info, tcpi_total_retrans) / size_of::<u32>();

/// What the kernel knows of how a TCP socket's packets travel. The number may be of a socket that is closed by now, or of
/// something else: then there is nothing to know, or what is told is of another connection; who asks must see to that.
pub(super) fn tcp_facts(socket: RawFd) -> Option<SocketFacts> {
    let words = tcp_info(socket)?;
    Some(SocketFacts { rtt_us: words[TCP_INFO_RTT], retransmits: words[TCP_INFO_TOTAL_RETRANS] })
}

/// How full the queue of a listening TCP socket is. Where a connection has what is unacknowledged and what was acknowledged
/// selectively, a listener has these two.
pub(super) fn listen_queue(socket: RawFd) -> Option<Queue> {
    let words = tcp_info(socket)?;
    Some(Queue { waiting: words[TCP_INFO_UNACKED] as usize, most: words[TCP_INFO_SACKED] as usize })
}

fn tcp_info(socket: RawFd) -> Option<[u32; TCP_INFO_WORDS]> {
    let mut words = [0_u32; TCP_INFO_WORDS];
    let mut length = size_of_val(&words) as libc::socklen_t;
    #[expect(unsafe_code, reason = "getsockopt(2)")]
    // SAFETY: the kernel writes at most `length` bytes, for which there is room, and refuses a number that is no socket.
    let result = unsafe {
        libc::getsockopt(socket, libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut words).cast(), &raw mut length)
    };
    let complete = result == 0 && length as usize == size_of_val(&words);
    complete.then_some(words)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn a_listeners_queue_has_what_was_not_accepted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let empty = listen_queue(listener.as_raw_fd()).unwrap();
        assert!(empty.waiting == 0 && empty.most > 2, "{empty:?}");
        let to = listener.local_addr().unwrap();
        let _clients = [(); 2].map(|()| TcpStream::connect(to).unwrap());
        assert_eq!(listen_queue(listener.as_raw_fd()), Some(Queue { waiting: 2, ..empty }));
        drop(listener.accept().unwrap());
        assert_eq!(listen_queue(listener.as_raw_fd()).unwrap().waiting, 1);
        assert_eq!(listen_queue(-1), None);
    }

    #[test]
    fn facts_of_a_connection_over_loopback_are_plausible() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        for _ in 0..3 {
            client.write_all(b"word").unwrap();
            server.read_exact(&mut [0; 4]).unwrap();
        }
        let facts = tcp_facts(client.as_raw_fd()).unwrap();
        assert!((1..1_000_000).contains(&facts.rtt_us), "{facts:?}");
        assert_eq!(facts.retransmits, 0);
        assert_eq!(tcp_facts(-1), None);
        assert_eq!(tcp_facts(io::stdin().as_raw_fd()), None, "no socket");
    }
}
