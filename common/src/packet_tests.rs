//! Packets as honest stacks send them, and as those do who hide.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::{vec, vec::Vec};

use proptest::prelude::*;

use super::*;

impl Packet for Vec<u8> {
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..offset + N)?.try_into().ok()
    }
}

const CLIENT4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const SERVER4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const CLIENT6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const SERVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);

fn opening(client: IpAddr, server: IpAddr) -> Read {
    let (client, server) = (client.into(), server.into());
    Read::Opening(ConnectionTuple { client, server, client_port: 40000, server_port: 80 })
}

fn opening4() -> Read {
    opening(CLIENT4.into(), SERVER4.into())
}

fn opening6() -> Read {
    opening(CLIENT6.into(), SERVER6.into())
}

fn tcp(flags: u8) -> Vec<u8> {
    let mut header = [40000_u16.to_be_bytes(), 80_u16.to_be_bytes()].concat();
    header.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    header
}

/// `options` in words of four bytes, `fragment` in units of eight bytes with the flags above it.
fn ipv4(protocol: u8, options: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let begin = 20 + usize::from(options) * 4;
    let total = u16::try_from(begin + payload.len()).unwrap_or(0).to_be_bytes();
    let fragment = fragment.to_be_bytes();
    let mut packet = vec![0x45 + options, 0, total[0], total[1], 0, 1, fragment[0], fragment[1], 64, protocol, 0, 0];
    packet.extend(CLIENT4.octets());
    packet.extend(SERVER4.octets());
    packet.resize(begin, 1);
    packet.extend(payload);
    packet
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut packet = vec![0x60, 0, 0, 0, length[0], length[1], next, 64];
    packet.extend(CLIENT6.octets());
    packet.extend(SERVER6.octets());
    packet.extend(payload);
    packet
}

/// An extension header of 8 bytes, or of 12 for an authentication header with length 1.
fn extension(next: u8, length: u8, rest: usize) -> Vec<u8> {
    let mut header = vec![next, length];
    header.resize(2 + rest, 0);
    header
}

#[test]
fn the_first_packet_of_a_connection_is_known_by_its_flags() {
    for (what, flags, is_opening) in [
        ("SYN", SYN, true),
        ("SYN with ECN's flags", SYN | 0xc0, true),
        ("SYN with data to push", SYN | 0x08, true),
        ("SYN and FIN", SYN | 0x01, true),
        ("SYN-ACK", SYN | ACK, false),
        ("ACK", ACK, false),
        ("RST", 0x04, false),
        ("nothing", 0, false),
    ] {
        let expected = |opening| if is_opening { opening } else { Read::NoOpening };
        assert_eq!(read_ipv4(&ipv4(TCP, 0, 0, &tcp(flags))), expected(opening4()), "{what}");
        assert_eq!(read_ipv4(&ipv4(TCP, 10, 0x4000, &tcp(flags))), expected(opening4()), "{what}, with options");
        assert_eq!(read_ipv6(&ipv6(TCP, &tcp(flags))), expected(opening6()), "{what}");
    }
}

#[test]
fn other_protocols_open_no_connection() {
    for protocol in [1, 4, 17, 41, 47, 50, 132, 59] {
        assert_eq!(read_ipv4(&ipv4(protocol, 0, 0, &tcp(SYN))), Read::NoOpening, "{protocol}");
        assert_eq!(read_ipv6(&ipv6(protocol, &tcp(SYN))), Read::NoOpening, "{protocol}");
    }
}

#[test]
fn extension_headers_do_not_hide_a_connection() {
    let after = |headers: Vec<Vec<u8>>, flags| [headers.concat(), tcp(flags)].concat();
    for (what, first, headers) in [
        ("hop by hop", HOP_BY_HOP, vec![extension(TCP, 0, 6)]),
        ("long options", DESTINATION, vec![extension(TCP, 3, 30)]),
        ("routing", ROUTING, vec![extension(TCP, 0, 6)]),
        ("authentication", AUTHENTICATION, vec![extension(TCP, 1, 10)]),
        ("first fragment", FRAGMENT, vec![extension(TCP, 0, 6)]),
        (
            "one of each",
            HOP_BY_HOP,
            vec![
                extension(DESTINATION, 0, 6),
                extension(ROUTING, 0, 6),
                extension(FRAGMENT, 0, 6),
                extension(AUTHENTICATION, 0, 6),
                extension(TCP, 1, 10),
            ],
        ),
    ] {
        assert_eq!(read_ipv6(&ipv6(first, &after(headers.clone(), SYN))), opening6(), "{what}");
        assert_eq!(read_ipv6(&ipv6(first, &after(headers, ACK))), Read::NoOpening, "{what}");
    }
    let chain = |count| [vec![extension(DESTINATION, 0, 6); count], vec![extension(TCP, 0, 6)]].concat();
    assert_eq!(read_ipv6(&ipv6(DESTINATION, &after(chain(20), SYN))), Read::Hidden, "more than anybody needs");
}

#[test]
fn fragments_cannot_hide_the_flags() {
    let header = tcp(SYN);
    // RFC 1858: the flags are in the second fragment.
    assert_eq!(read_ipv4(&ipv4(TCP, 0, 0x2000, &header[..8])), Read::Hidden);
    // RFC 3128: the second fragment writes over the flags of the first.
    assert_eq!(read_ipv4(&ipv4(TCP, 0, 0x2001, &header[8..])), Read::Hidden);
    assert_eq!(read_ipv4(&ipv4(TCP, 0, 2, &header[16..])), Read::NoOpening, "a later fragment");
    // The receiver cuts off what is behind the length of the packet.
    let mut padded = ipv4(TCP, 0, 0x2000, &header[..8]);
    padded.extend(&tcp(ACK)[8..]);
    assert_eq!(read_ipv4(&padded), Read::Hidden);

    let first = |next, payload: &[u8]| ipv6(FRAGMENT, &[extension(next, 0, 6), payload.to_vec()].concat());
    assert_eq!(read_ipv6(&first(TCP, &header[..8])), Read::Hidden);
    assert_eq!(read_ipv6(&first(DESTINATION, &[])), Read::Hidden, "RFC 7112: the headers are not all there");
    let mut padded = first(TCP, &header[..8]);
    padded.extend(&tcp(ACK)[8..]);
    assert_eq!(read_ipv6(&padded), Read::Hidden);
    let mut padded = first(DESTINATION, &extension(DESTINATION, 0, 6));
    padded.extend(extension(17, 0, 6));
    assert_eq!(read_ipv6(&padded), Read::Hidden, "the next header is in the next fragment, and not in the padding");
    let later = ipv6(FRAGMENT, &[vec![TCP, 0, 0, 8, 0, 0, 0, 1], header.clone()].concat());
    assert_eq!(read_ipv6(&later), Read::NoOpening, "a later fragment");
}

#[test]
fn a_packet_of_more_than_64_kib_is_read_as_well() {
    // The kernel puts large packets together and leaves their length out.
    let mut large = ipv4(TCP, 0, 0, &tcp(SYN));
    (large[2], large[3]) = (0, 0);
    assert_eq!(read_ipv4(&large), opening4());
    let mut large = ipv6(TCP, &tcp(SYN));
    (large[4], large[5]) = (0, 0);
    assert_eq!(read_ipv6(&large), opening6());
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_fail(bytes: Vec<u8>) {
        let _ = (read_ipv4(&bytes), read_ipv6(&bytes));
    }

    #[test]
    fn whatever_is_cut_off_a_packet_never_makes_it_another_connection(keep in 0_usize..60) {
        let cut = |mut packet: Vec<u8>| {
            packet.truncate(keep);
            packet
        };
        let (four, six) = (read_ipv4(&cut(ipv4(TCP, 0, 0, &tcp(SYN)))), read_ipv6(&cut(ipv6(TCP, &tcp(SYN)))));
        prop_assert!(four == opening4() || four == Read::Hidden || (four == Read::NoOpening && keep < 20), "{four:?}");
        prop_assert!(six == opening6() || six == Read::Hidden || (six == Read::NoOpening && keep < 40), "{six:?}");
    }
}
