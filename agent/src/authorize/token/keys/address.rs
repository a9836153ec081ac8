//! Which addresses keys are never fetched from.
//!
//! Whoever may write a RequestAuthentication chooses a URL, and the agent asks it from the node. The answer is told to nobody, but
//! a request alone can do harm: to what trusts the node itself, and to the credentials that clouds give to whoever asks from
//! a node. Issuers may be inside the cluster, so private networks are left open. What is checked is the address that is
//! dialled, whatever name led there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Says whether an address may be dialled.
pub type AddressRule = fn(IpAddr) -> bool;

/// Any address but the node's own and those where clouds keep their metadata services.
pub const OUTSIDE_ONLY: AddressRule = outside_only;

fn outside_only(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => outside_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(address) => outside_v4(address),
            None => outside_v6(address),
        },
    }
}

fn outside_v4(address: Ipv4Addr) -> bool {
    let is_unfit = address.is_loopback()
        || address.octets()[0] == 0
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast();
    !is_unfit && !METADATA_V4.contains(&address)
}

fn outside_v6(address: Ipv6Addr) -> bool {
    let is_unfit =
        address.is_loopback() || address.is_unspecified() || address.is_unicast_link_local() || address.is_multicast();
    !is_unfit && !METADATA_V6.contains(&address)
}

/// The IPv4 address behind one of NAT64's (RFC 6052, section 2.1) or an IPv4-compatible one.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0, 0, high, low] if (high, low) > (0, 1) => {
            Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        _ => None,
    }
}

/// Beside 169.254.169.254, which is link-local: Azure, Alibaba Cloud, Oracle Cloud.
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192)];
/// AWS, Google Cloud.
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_node_and_metadata_services_are_never_asked() {
        for refused in [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::7f00:1",
            "fe80::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd20:ce::254",
        ] {
            assert!(!OUTSIDE_ONLY(refused.parse().unwrap()), "{refused}");
        }
        for asked in ["10.0.0.1", "192.168.1.1", "172.16.0.1", "203.0.113.1", "100.64.0.1", "fd00::1", "2001:db8::1"] {
            assert!(OUTSIDE_ONLY(asked.parse().unwrap()), "{asked}");
        }
    }
}
