//! Reading a packet as far as is needed to know whether it opens a TCP connection, and which.
//!
//! In: the packet from its IP header on, read piece by piece. Out: [`Read`]. A packet that is TCP, or may be, and whose
//! header is arranged so that a reader on the way sees another than the receiver does (RFC 1858, RFC 3128, RFC 7112), is
//! told apart: no honest stack sends one.

use crate::{Address, ConnectionTuple};

/// The bytes of a packet.
pub trait Packet {
    /// `N` bytes from `offset` on, counted from the IP header; `None` where the packet is shorter.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;
}

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// Not the first packet of a TCP connection.
    NoOpening,
    /// The first packet of this one.
    Opening(ConnectionTuple),
    /// TCP, and what it is for cannot be read.
    Hidden,
}

/// `IPPROTO_TCP`.
const TCP: u8 = 6;
/// The TCP header up to the flags, which are its fourteenth byte.
const TCP_TO_FLAGS: usize = 14;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;

/// IPv6 extension headers (RFC 8200, 4.1): hop-by-hop options, routing, fragment, authentication, destination options.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
/// Extension headers that are followed. RFC 8200 recommends at most one of each kind, and two of destination options.
const MAX_EXTENSIONS: usize = 6;

/// Reads an IPv4 packet.
#[inline(always)]
pub fn read_ipv4(packet: &impl Packet) -> Read {
    // Too short for IP: no receiver takes it.
    let Some(header) = packet.read::<IPV4_HEADER>(0) else { return Read::NoOpening };
    if header[9] != TCP {
        return Read::NoOpening;
    }
    let total = word(header[2], header[3]);
    let fragment = word(header[6], header[7]) & 0x1fff;
    let begin = usize::from(header[0] & 0x0f) * 4;
    match fragment {
        0 => {}
        // Eight bytes into the TCP header: it would write the flags over those of the first fragment.
        1 => return Read::Hidden,
        _ => return Read::NoOpening,
    }
    // What follows the length that the header tells is padding, for the receiver. 0 is a packet of more than 64 KiB,
    // which the kernel has put together itself.
    if total != 0 && usize::from(total) < begin + TCP_TO_FLAGS {
        return Read::Hidden;
    }
    let client = Address::from_ipv4_be(u32::from_ne_bytes([header[12], header[13], header[14], header[15]]));
    let server = Address::from_ipv4_be(u32::from_ne_bytes([header[16], header[17], header[18], header[19]]));
    read_tcp(packet, begin, client, server)
}

/// Reads an IPv6 packet.
#[inline(always)]
pub fn read_ipv6(packet: &impl Packet) -> Read {
    let Some(header) = packet.read::<IPV6_HEADER>(0) else { return Read::NoOpening };
    let payload = usize::from(word(header[4], header[5]));
    let mut next = header[6];
    let mut begin = IPV6_HEADER;
    let mut followed = 0;
    while followed < MAX_EXTENSIONS {
        match next {
            TCP => {
                if payload != 0 && IPV6_HEADER + payload < begin + TCP_TO_FLAGS {
                    return Read::Hidden;
                }
                return read_tcp(packet, begin, address(&header, 8), address(&header, 24));
            }
            HOP_BY_HOP | ROUTING | DESTINATION | AUTHENTICATION | FRAGMENT => {
                // What follows the payload is padding, for the receiver, which takes the header from the next fragment.
                if payload != 0 && IPV6_HEADER + payload < begin + 8 {
                    return Read::Hidden;
                }
                let Some(extension) = packet.read::<4>(begin) else { return Read::Hidden };
                if next == FRAGMENT && word(extension[2], extension[3]) & 0xfff8 != 0 {
                    // RFC 7112: all headers are in the first fragment, and without that one the rest is nothing.
                    return Read::NoOpening;
                }
                begin += match next {
                    FRAGMENT => 8,
                    // RFC 4302: in words of four bytes, less two.
                    AUTHENTICATION => (usize::from(extension[1]) + 2) * 4,
                    _ => (usize::from(extension[1]) + 1) * 8,
                };
                next = extension[0];
            }
            _ => return Read::NoOpening,
        }
        followed += 1;
    }
    Read::Hidden
}

#[inline(always)]
fn read_tcp(packet: &impl Packet, begin: usize, client: Address, server: Address) -> Read {
    let Some(header) = packet.read::<TCP_TO_FLAGS>(begin) else { return Read::Hidden };
    if header[13] & (SYN | ACK) != SYN {
        return Read::NoOpening;
    }
    let (client_port, server_port) = (word(header[0], header[1]), word(header[2], header[3]));
    Read::Opening(ConnectionTuple { client, server, client_port, server_port })
}

/// A number of two bytes in network byte order.
#[inline(always)]
const fn word(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high, low])
}

#[inline(always)]
const fn address(header: &[u8; IPV6_HEADER], at: usize) -> Address {
    const fn part(header: &[u8; IPV6_HEADER], at: usize) -> u32 {
        u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    }
    Address::from_ipv6_be([part(header, at), part(header, at + 4), part(header, at + 8), part(header, at + 12)])
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
