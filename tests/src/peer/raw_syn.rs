//! `heddle-peer raw-syn`: the first packet of a TCP connection, made by hand and sent past the kernel's TCP.
//!
//! What a program with CAP_NET_RAW can do that wants nobody to see it connect: no hook of connect() meets it. The answer, if
//! one comes, is read from a raw socket too, so that `answered` means: another machine took part.

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use socket2::{Domain, Protocol, Socket, Type};

use super::report::RawReport;

/// `IPPROTO_RAW`: the packet is sent as it is, its header included.
const AS_IT_IS: i32 = 255;
const TCP: u8 = 6;
const FRAGMENT: u8 = 44;
const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
/// "More fragments" in an IPv4 header.
const MORE: u16 = 0x2000;

#[derive(Args)]
pub(super) struct RawSyn {
    /// Source address and port.
    #[arg(long)]
    from: SocketAddr,
    /// Where to.
    #[arg(long)]
    to: SocketAddr,
    /// Data to send along, as TCP Fast Open does.
    #[arg(long, default_value = "")]
    data: String,
    /// How to send it.
    #[arg(long, value_enum, default_value_t = Shape::Plain)]
    shape: Shape,
    /// How many times, 100 milliseconds apart.
    #[arg(long, default_value_t = 5)]
    count: u32,
}

#[derive(Clone, Copy, ValueEnum)]
enum Shape {
    /// One packet.
    Plain,
    /// Two fragments, the flags in the second.
    Fragments,
}

pub(super) fn run(raw: &RawSyn) -> Result<RawReport> {
    ensure!(raw.from.is_ipv4() == raw.to.is_ipv4(), "--from and --to are of different families");
    let domain = Domain::for_address(raw.to);
    let sender = Socket::new(domain, Type::RAW, Some(Protocol::from(AS_IT_IS))).context("opening a raw socket")?;
    if raw.to.is_ipv4() {
        sender.set_header_included_v4(true)?;
    }
    let mut receiver = Socket::new(domain, Type::RAW, Some(Protocol::TCP)).context("opening a raw socket for TCP")?;
    let packets = packets(raw);
    let mut report = RawReport::default();
    for _ in 0..raw.count {
        for packet in &packets {
            // Ports have no meaning on a raw socket, and IPv6 refuses them.
            sender.send_to(packet, &SocketAddr::new(raw.to.ip(), 0).into()).context("sending")?;
        }
        report.sent += 1;
        report.answered |= answered(&mut receiver, raw, Duration::from_millis(100))?;
    }
    Ok(report)
}

/// Whether the other end accepts the connection, within a time.
fn answered(receiver: &mut Socket, raw: &RawSyn, within: Duration) -> Result<bool> {
    let deadline = Instant::now() + within;
    let mut buffer = [0; 2048];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        receiver.set_read_timeout(Some(left))?;
        match receiver.read(&mut buffer) {
            Ok(count) if accepts(&buffer[..count], raw) => return Ok(true),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error).context("receiving"),
        }
    }
}

/// Whether what came is the SYN-ACK. IPv4 raw sockets give the IP header too, IPv6 ones do not.
fn accepts(packet: &[u8], raw: &RawSyn) -> bool {
    let begin = if raw.to.is_ipv4() { packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4) } else { 0 };
    let Some(header) = packet.get(begin..begin + 14) else { return false };
    let port = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    (port(0), port(2)) == (raw.to.port(), raw.from.port()) && header[13] & SYN_ACK == SYN_ACK
}

fn packets(raw: &RawSyn) -> Vec<Vec<u8>> {
    let segment = segment(raw);
    match raw.shape {
        Shape::Plain => vec![ip(raw, &segment, None)],
        Shape::Fragments => {
            let (first, second) = segment.split_at(8);
            vec![ip(raw, first, Some((0, true))), ip(raw, second, Some((1, false)))]
        }
    }
}

/// The TCP header and the data, with their checksum.
fn segment(raw: &RawSyn) -> Vec<u8> {
    let mut segment = [raw.from.port().to_be_bytes(), raw.to.port().to_be_bytes()].concat();
    segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, SYN, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(raw.data.as_bytes());
    let mut summed = octets(raw.from.ip());
    summed.extend(octets(raw.to.ip()));
    summed.extend([0, TCP]);
    summed.extend(u16::try_from(segment.len()).unwrap_or(u16::MAX).to_be_bytes());
    summed.extend(&segment);
    segment[16..18].copy_from_slice(&checksum(&summed).to_be_bytes());
    segment
}

/// The packet around a segment, or around a part of it: its place in units of eight bytes, and whether more follows.
fn ip(raw: &RawSyn, payload: &[u8], fragment: Option<(u16, bool)>) -> Vec<u8> {
    match raw.to {
        SocketAddr::V4(_) => {
            let total = u16::try_from(20 + payload.len()).unwrap_or(u16::MAX).to_be_bytes();
            let place = fragment.map_or(0, |(place, more)| place | if more { MORE } else { 0 }).to_be_bytes();
            let mut packet = vec![0x45, 0, total[0], total[1], 0x12, 0x34, place[0], place[1], 64, TCP, 0, 0];
            packet.extend(octets(raw.from.ip()));
            packet.extend(octets(raw.to.ip()));
            let sum = checksum(&packet).to_be_bytes();
            packet[10..12].copy_from_slice(&sum);
            packet.extend(payload);
            packet
        }
        SocketAddr::V6(_) => {
            let mut body = Vec::new();
            if let Some((place, more)) = fragment {
                let place = (place << 3 | u16::from(more)).to_be_bytes();
                body.extend([TCP, 0, place[0], place[1], 0, 0, 0x12, 0x34]);
            }
            body.extend(payload);
            let length = u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes();
            let next = if fragment.is_some() { FRAGMENT } else { TCP };
            let mut packet = vec![0x60, 0, 0, 0, length[0], length[1], next, 64];
            packet.extend(octets(raw.from.ip()));
            packet.extend(octets(raw.to.ip()));
            packet.extend(body);
            packet
        }
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
