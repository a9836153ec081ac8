//! A pcap file taken apart: IPv4 and IPv6 packets with their TCP or UDP payloads.
//!
//! Knows Ethernet without tags and IP without fragments or extension headers, which is all that the wire of a bed
//! carries; other packets (ARP, ICMP) are kept as raw bytes only.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use memchr::memmem;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Who sent to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// The sender.
    pub source: SocketAddr,
    /// The receiver.
    pub destination: SocketAddr,
    /// TCP, and not UDP.
    pub tcp: bool,
}

/// One TCP or UDP packet.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Who sent it to whom.
    pub flow: Flow,
    /// TCP's flags byte; 0 for UDP.
    pub flags: u8,
    /// What it carried.
    pub payload: Vec<u8>,
}

/// Everything that was recorded.
pub struct Capture {
    raw: Vec<u8>,
    packets: Vec<Packet>,
}

impl Capture {
    /// Reads a pcap file of Ethernet frames as tcpdump writes it on a little-endian machine.
    pub fn parse(raw: Vec<u8>) -> Result<Self> {
        ensure!(raw.get(..4) == Some(&[0xd4, 0xc3, 0xb2, 0xa1]), "not a pcap file");
        ensure!(raw.get(20..24) == Some(&[1, 0, 0, 0]), "not a record of Ethernet frames");
        let mut packets = Vec::new();
        let mut at = 24;
        while at < raw.len() {
            let word = |offset: usize| {
                raw.get(at + offset..at + offset + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes)
            };
            let (kept, sent) = word(8).zip(word(12)).context("a packet header is cut off")?;
            ensure!(kept == sent, "a packet of {sent} bytes was cut to {kept}");
            let frame = raw.get(at + 16..at + 16 + kept as usize).context("a packet is cut off")?;
            packets.extend(frame_payload(frame));
            at += 16 + kept as usize;
        }
        Ok(Self { raw, packets })
    }

    /// All TCP and UDP packets, in order.
    #[must_use]
    pub fn packets(&self) -> &[Packet] {
        &self.packets
    }

    /// Everybody who sent anything by TCP or UDP to anyone.
    #[must_use]
    pub fn flows(&self) -> BTreeMap<Flow, usize> {
        let mut flows = BTreeMap::new();
        for packet in &self.packets {
            *flows.entry(packet.flow).or_default() += packet.payload.len();
        }
        flows
    }

    /// Whether the bytes are anywhere in the record, also across the packets of one flow.
    #[must_use]
    pub fn contains(&self, needle: &[u8]) -> bool {
        find(&self.raw, needle) || !self.flows_with(needle).is_empty()
    }

    /// Who sent the bytes to whom, also across packets.
    #[must_use]
    pub fn flows_with(&self, needle: &[u8]) -> Vec<Flow> {
        let mut streams: BTreeMap<Flow, Vec<&[u8]>> = BTreeMap::new();
        for packet in &self.packets {
            streams.entry(packet.flow).or_default().push(&packet.payload);
        }
        // One whole stream at a time: records may be long.
        let holds = |parts: &Vec<&[u8]>| find(&parts.concat(), needle);
        streams.into_iter().filter(|(_, parts)| holds(parts)).map(|(flow, _)| flow).collect()
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> bool {
    memmem::find(haystack, needle).is_some()
}

fn frame_payload(frame: &[u8]) -> Option<Packet> {
    let packet = frame.get(14..)?;
    match frame.get(12..14)? {
        [0x08, 0x00] => {
            let header = usize::from(packet.first()? & 0x0f) * 4;
            // 0 with segmentation offload of more than 64 KiB.
            let total = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
            let end = if total == 0 { packet.len() } else { total };
            let address =
                |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).map(Ipv4Addr::from).ok()?));
            segment(*packet.get(9)?, address(12)?, address(16)?, packet.get(header..end)?)
        }
        [0x86, 0xdd] => {
            let length = usize::from(u16::from_be_bytes([*packet.get(4)?, *packet.get(5)?]));
            let end = if length == 0 { packet.len() } else { 40 + length };
            let address = |at: usize| {
                Some(IpAddr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).map(Ipv6Addr::from).ok()?))
            };
            segment(*packet.get(6)?, address(8)?, address(24)?, packet.get(40..end)?)
        }
        _ => None,
    }
}

fn segment(protocol: u8, source: IpAddr, destination: IpAddr, bytes: &[u8]) -> Option<Packet> {
    let port = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    let (header, flags) = match protocol {
        TCP => (usize::from(bytes.get(12)? >> 4) * 4, *bytes.get(13)?),
        UDP => (8, 0),
        _ => return None,
    };
    let flow = Flow {
        source: SocketAddr::new(source, port(0)?),
        destination: SocketAddr::new(destination, port(2)?),
        tcp: protocol == TCP,
    };
    Some(Packet { flow, flags, payload: bytes.get(header..)?.to_vec() })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// A record of UDP over IPv4 packets from 10.0.0.1:1 to 10.0.0.2:2.
    fn record(payloads: &[&[u8]]) -> Vec<u8> {
        let mut raw = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];
        for payload in payloads {
            let mut frame = [0; 12].to_vec();
            frame.extend([0x08, 0x00, 0x45, 0, 0, 28 + payload.len() as u8, 0, 0, 0, 0, 64, UDP, 0, 0]);
            frame.extend([10, 0, 0, 1, 10, 0, 0, 2, 0, 1, 0, 2, 0, 8 + payload.len() as u8, 0, 0]);
            frame.extend_from_slice(payload);
            let length = (frame.len() as u32).to_le_bytes();
            raw.extend([0; 8].into_iter().chain(length).chain(length).chain(frame));
        }
        raw
    }

    #[test]
    fn bytes_are_found_within_and_across_packets() {
        let capture = Capture::parse(record(&[b"hello wo", b"rld"])).unwrap();
        assert!(capture.contains(b"hello") && capture.contains(b"hello world"));
        assert!(!capture.contains(b"hello  world") && !capture.contains(b"worlds"));
        let flow = Flow {
            source: SocketAddr::from(([10, 0, 0, 1], 1)),
            destination: SocketAddr::from(([10, 0, 0, 2], 2)),
            tcp: false,
        };
        assert_eq!(capture.flows(), BTreeMap::from([(flow, 11)]));
    }

    #[test]
    fn a_record_that_is_cut_off_is_an_error() {
        let whole = record(&[b"hello"]);
        for length in [0, 10, 30, whole.len() - 1] {
            assert!(Capture::parse(whole[..length].to_vec()).is_err(), "{length} bytes");
        }
    }
}
