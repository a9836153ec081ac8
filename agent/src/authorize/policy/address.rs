//! Addresses in networks.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// Whether a network has an address. IPv4 addresses and networks that are written as IPv6 ones (`::ffff:`) are IPv4.
pub(super) fn is_within(network: &IpNet, address: IpAddr) -> bool {
    match (unmapped(network), address.to_canonical()) {
        (IpNet::V4(network), IpAddr::V4(address)) => network.contains(&address),
        (IpNet::V6(network), IpAddr::V6(address)) => network.contains(&address),
        _ => false,
    }
}

/// The bits before an IPv4 address in an IPv6 one.
const MAPPED: u8 = 96;

fn unmapped(network: &IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else { return *network };
    let (Some(address), Some(length)) = (mapped.addr().to_ipv4_mapped(), mapped.prefix_len().checked_sub(MAPPED))
    else {
        return *network;
    };
    Ipv4Net::new(address, length).map_or(*network, IpNet::V4)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn families_are_told_apart_by_what_an_address_is_and_not_by_how_it_is_written() {
        let cases = [
            ("10.0.0.0/8", "10.9.9.9", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "::ffff:10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "11.1.2.3", false),
            ("::ffff:10.0.0.1/128", "10.0.0.1", true),
            ("::ffff:0:0/96", "1.2.3.4", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "10.0.0.1", false),
            ("::/0", "::ffff:10.0.0.1", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
        ];
        for (network, address, expected) in cases {
            let found = is_within(&network.parse().unwrap(), address.parse().unwrap());
            assert_eq!(found, expected, "{address} in {network}");
        }
    }
}
