//! Networks, and addresses that stand for the network of themselves.

use std::net::IpAddr;

use ipnet::IpNet;

/// `10.0.0.0/8`. Bits below the prefix are cleared, so that equal networks are equal.
pub(in crate::rules) fn network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().map(|network| network.trunc())
}

/// The same, or one address.
pub(in crate::rules) fn network_or_address(text: &str) -> Option<IpNet> {
    network(text).or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}
