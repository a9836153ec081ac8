//! Any bytes as what the kernel hands out: answers of netlink, packets on a pod's wire, lines of /proc, events of a ring.
//!
//! Promised: an answer never holds more messages than its bytes have room for; a packet that opens a connection for its
//! receiver is never taken for one that opens none, nor for another connection; no process's name changes what else is
//! read of it; a connection that stays on the machine is not counted as one that leaves it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fastrand::Rng;
use heddle_common::{Address, ConnectionEvent, ConnectionTuple, NativeEvent, Packet, Read, read_ipv4, read_ipv6};
use zerocopy::FromBytes;

use super::{netlink, sandbox, sock_diag, survivors::Established};
use crate::{
    config::cgroup2_mount,
    fuzz::{Exercised, Mutator, Target},
};

/// Readers of the kernel's answers.
#[derive(Debug)]
pub(crate) struct KernelAnswers;

impl Target for KernelAnswers {
    fn exercise(&self, input: &[u8], _: &mut Rng) -> Result<Exercised, String> {
        let ways = [packet(input)?, netlink_answer(input)?, socket(input), process(input)?, connections(input)?];
        let _ = (ConnectionEvent::read_from_bytes(input), NativeEvent::read_from_bytes(input));
        let mounts = String::from_utf8_lossy(input);
        let found = cgroup2_mount(&mounts).into_iter().chain(sandbox::v1_mounts(&mounts)).collect::<Vec<_>>();
        if found.iter().any(|path| path.to_string_lossy().contains("\\040")) {
            return Err(format!("{found:?} are mounted: a blank in a path is still escaped"));
        }
        let mounted = !found.is_empty();
        Ok(Exercised { accepted: usize::from(mounted), ways: vec![format!("{}; {mounted}", ways.join("; "))] })
    }

    fn mutator(&self) -> &Mutator {
        &MUTATOR
    }
}

struct Bytes<'a>(&'a [u8]);

impl Packet for Bytes<'_> {
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.0.get(offset..)?.first_chunk().copied()
    }
}

fn packet(bytes: &[u8]) -> Result<String, String> {
    let mut ways = Vec::new();
    for (read, received) in [(read_ipv4(&Bytes(bytes)), ipv4(bytes)), (read_ipv6(&Bytes(bytes)), ipv6(bytes))] {
        match (read, received) {
            (Read::NoOpening, Some(opened)) => return Err(format!("{opened:?} is opened, and {read:?} is read")),
            (Read::Opening(tuple), Some(opened)) if tuple != opened => {
                return Err(format!("{opened:?} is opened, and {tuple:?} is read"));
            }
            _ => ways.push((std::mem::discriminant(&read), received.is_some())),
        }
    }
    Ok(format!("{ways:?}"))
}

const TCP: u8 = 6;

/// The connection that a receiver sees opened by a whole packet (RFC 791).
fn ipv4(packet: &[u8]) -> Option<ConnectionTuple> {
    let header = packet.first_chunk::<20>()?;
    let (begin, total) = (usize::from(header[0] & 15) * 4, usize::from(u16::from_be_bytes([header[2], header[3]])));
    let is_whole = u16::from_be_bytes([header[6], header[7]]) & 0x3fff == 0;
    let packet = if total == 0 { packet } else { packet.get(..total)? };
    let address = |at: usize| Ipv4Addr::from([header[at], header[at + 1], header[at + 2], header[at + 3]]).into();
    let is_tcp = header[9] == TCP && is_whole && begin >= header.len();
    is_tcp.then(|| syn(packet.get(begin..)?, address(12), address(16)))?
}

/// The same of RFC 8200.
fn ipv6(packet: &[u8]) -> Option<ConnectionTuple> {
    let header = packet.first_chunk::<40>()?;
    let payload = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let (mut rest, mut next) = (packet.get(40..)?, header[6]);
    if payload != 0 {
        rest = rest.get(..payload)?;
    }
    while next != TCP {
        let extension = rest.first_chunk::<8>()?;
        let words = usize::from(extension[1]);
        let length = match next {
            0 | 43 | 60 => words * 8 + 8,
            51 => words * 4 + 8,
            // Its first fragment and its last.
            44 if u16::from_be_bytes([extension[2], extension[3]]) & 0xfff9 == 0 => 8,
            _ => return None,
        };
        (next, rest) = (extension[0], rest.get(length..)?);
    }
    let address = |at: usize| Some(Ipv6Addr::from(*header.get(at..)?.first_chunk::<16>()?).into());
    syn(rest, address(8)?, address(24)?)
}

fn syn(tcp: &[u8], client: IpAddr, server: IpAddr) -> Option<ConnectionTuple> {
    let header = tcp.first_chunk::<20>()?;
    let port = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let (client, server): (Address, Address) = (client.into(), server.into());
    let opens = header[13] & 0x12 == 2;
    opens.then(|| ConnectionTuple { client, server, client_port: port(0), server_port: port(2) })
}

fn netlink_answer(bytes: &[u8]) -> Result<String, String> {
    let mut answers = Vec::new();
    let ended = netlink::collect(bytes, &mut answers).map_err(|error| error.kind());
    match answers.len() * 16 > bytes.len() {
        true => Err(format!("{} messages in {} bytes", answers.len(), bytes.len())),
        false => Ok(format!("{}, {ended:?}", answers.len().min(3))),
    }
}

fn socket(bytes: &[u8]) -> String {
    format!("{:?}", sock_diag::found(bytes).map(|found| found.is_some()).map_err(|error| error.kind()))
}

/// When a process began, whatever it is called.
fn process(name: &[u8]) -> Result<String, String> {
    let (before, after) = (b"7 (".as_slice(), b") S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9".as_slice());
    let read = sandbox::started(&[before, name, after].concat());
    match read == Some(4711) {
        true => Ok(format!("{}", sandbox::started(name).is_some())),
        false => Err(format!("a process began at {read:?} for being called {:?}", name.escape_ascii().to_string())),
    }
}

fn connections(bytes: &[u8]) -> Result<String, String> {
    let text = String::from_utf8_lossy(bytes);
    let mut leave = 0;
    for open in text.lines().filter_map(Established::parse) {
        leave += 1;
        match remote(open.remote) {
            Some(address) if address.to_canonical().is_loopback() => {
                return Err(format!("{open:?} goes to {address}, and is counted as leaving"));
            }
            _ => {}
        }
    }
    Ok(format!("{} leave", leave.min(2)))
}

/// An address as /proc/net/tcp has it: words in the machine's byte order.
fn remote(end: &str) -> Option<IpAddr> {
    let digits = end.split(':').next()?;
    let words: Vec<u32> = (0..digits.len())
        .step_by(8)
        .map(|at| u32::from_str_radix(digits.get(at..at + 8)?, 16).ok())
        .collect::<Option<_>>()?;
    // Upper case, as the kernel writes it.
    let is_kernels = digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F'));
    let octets: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    match octets.len() {
        4 if is_kernels => Some(IpAddr::from(*octets.first_chunk::<4>()?)),
        16 if is_kernels => Some(IpAddr::from(*octets.first_chunk::<16>()?)),
        _ => None,
    }
}

const MUTATOR: Mutator = Mutator {
    words: &WORDS,
    repeated: &[b"\x3c\0\0\0\0\0\0\0", b"\0", b" 0", b"\x10\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0"],
    marks: b"\0 \n:",
    parts,
    most: 16 << 10,
};

/// Lines where it is a text, else words of the machine.
fn parts(bytes: &[u8]) -> Vec<usize> {
    match bytes.contains(&b'\n') {
        true => crate::fuzz::lines(bytes),
        false => (4..=bytes.len()).step_by(4).collect(),
    }
}

const WORDS: [&[u8]; 40] = [
    b"\0",
    b"\x01",
    b"\x02",
    b"\x06",
    b"\x12",
    b"\x2c",
    b"\x33",
    b"\x3c",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\0\0\0\x80",
    b"\x10\0\0\0",
    b"\x45",
    b"\x46",
    b"\x60",
    b"\x06\0\0\0\0\0\0\0",
    b"\x2c\0\0\0\0\0\0\0",
    b"\x06\0\0\x01\0\0\0\0",
    b"\x20\0",
    b"\0\x01",
    b"\0\x14",
    // Kinds of netlink messages: no-op, error, done, SOCK_DIAG_BY_FAMILY, RTM_NEWROUTE, RTM_NEWRULE, RTM_NEWLINK.
    b"\x01\0",
    b"\x02\0",
    b"\x03\0",
    b"\x14\0",
    b"\x18\0",
    b"\x20\0",
    b"\x10\0",
    b")",
    b"(",
    b") S ",
    b" cgroup2 ",
    b" cgroup ",
    b"/sys/fs/cgroup",
    b"01",
    b"0A",
    b"0100007F:0050",
    b"0000000000000000FFFF00000100007F:0050",
    b"00000000000000000000000001000000:0050",
    b"\n",
];
