//! What the kernel makes of a connection, told without the kernel: the decisions of `heddle_common` over what the maps would
//! hold for a pod. For who explains; connections are decided in the kernel.

use std::net::{IpAddr, SocketAddr};

use heddle_common::{
    Address, Connect, ConnectionTuple, Inbound, InboundConnection, InboundTables, KernelEvent, ListenerKind,
    MAX_POD_ADDRESSES, NativeConnection, NetworkKey, Outbound, OutboundTables, Pod, PortDirection, PortKey, Verdict,
    VerdictKey, decide_inbound, decide_outbound,
};
use ipnet::IpNet;

use crate::mesh::CaptureRules;

/// The entry of `PODS` of a pod with these addresses and exclusions.
pub(super) fn pod_entry(addresses: &[Address], rules: &CaptureRules) -> Pod {
    let mut pod = Pod {
        excludes_ports: u32::from(!rules.exclude_outbound_ports.is_empty()),
        excludes_networks: u32::from(!rules.exclude_outbound_cidrs.is_empty()),
        ..Pod::default()
    };
    for (place, address) in pod.addresses.iter_mut().zip(addresses.iter().take(MAX_POD_ADDRESSES)) {
        *place = *address;
    }
    pod
}

/// What happens to a connect() of an enrolled pod; the event where it passes the agent by.
pub fn outbound(addresses: &[IpAddr], rules: &CaptureRules, to: SocketAddr) -> Option<KernelEvent> {
    let own: Vec<Address> = addresses.iter().map(|address| Address::from(*address)).collect();
    let connect = Connect { netns: NETNS, by_agent: false, address: to.ip().into(), port: to.port() };
    match decide_outbound(&pod_entry(&own, rules), &connect, &Excluded { addresses: &own, rules }) {
        // To leave it to the kernel is the agent's decision, too.
        Outbound::Capture | Outbound::Native(_) => None,
        Outbound::Pass(event) => Some(event),
    }
}

/// What happens to a connection that arrives at an enrolled pod.
pub fn inbound(addresses: &[IpAddr], rules: &CaptureRules, client: IpAddr, to: SocketAddr) -> Arrives {
    let own: Vec<Address> = addresses.iter().map(|address| Address::from(*address)).collect();
    let connection = InboundConnection {
        client: client.into(),
        // No decision but that over the agent's own connections reads it, and this is none of them.
        client_port: 0,
        server: to.ip().into(),
        server_port: to.port(),
    };
    match decide_inbound(&connection, &Excluded { addresses: &own, rules }) {
        Inbound::Steer { kind: ListenerKind::Hbone, .. } => Arrives::AtTunnels,
        Inbound::Steer { .. } => Arrives::AtPlaintext,
        Inbound::Pass(event) => Arrives::Past(event),
        Inbound::Native { .. } => Arrives::Past(KernelEvent::InboundNative),
        Inbound::Stale { .. } => Arrives::Nowhere(KernelEvent::NativeStale),
        Inbound::Drop(event) => Arrives::Nowhere(event),
    }
}

/// Where a connection to an enrolled pod arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrives {
    /// At the agent, as a tunnel.
    AtTunnels,
    /// At the agent, as plaintext.
    AtPlaintext,
    /// At the application, past the agent.
    Past(KernelEvent),
    /// Nowhere: it is dropped.
    Nowhere(KernelEvent),
}

/// Any cookie will do: there is one pod.
const NETNS: u64 = 1;

/// The maps as they are for one pod.
struct Excluded<'a> {
    addresses: &'a [Address],
    rules: &'a CaptureRules,
}

impl OutboundTables for Excluded<'_> {
    fn port_excluded(&self, key: &PortKey) -> bool {
        self.rules.exclude_outbound_ports.contains(&key.port) && key.direction == PortDirection::Outbound as u16
    }

    fn network_excluded(&self, key: &NetworkKey) -> bool {
        let address: IpAddr = key.address.into();
        self.rules.exclude_outbound_cidrs.iter().any(|network| holds(network, address))
    }

    fn bound(&self) -> Option<Address> {
        None
    }

    fn verdict(&self, _: &VerdictKey) -> Option<Verdict> {
        None
    }

    fn generation(&self) -> u64 {
        0
    }

    fn has_room(&self) -> bool {
        false
    }

    fn agent_serves(&self, _: u64) -> bool {
        true
    }
}

impl InboundTables for Excluded<'_> {
    fn netns_of(&self, address: &Address) -> Option<u64> {
        self.addresses.contains(address).then_some(NETNS)
    }

    fn is_application_dial(&self, _: &ConnectionTuple) -> bool {
        false
    }

    fn is_probe(&self, _: &ConnectionTuple) -> bool {
        // By its ends nobody is the kubelet.
        false
    }

    fn native(&self, _: u64, _: &ConnectionTuple) -> Option<NativeConnection> {
        None
    }

    fn generation(&self) -> u64 {
        0
    }

    fn port_excluded(&self, key: &PortKey) -> bool {
        self.rules.exclude_inbound_ports.contains(&key.port) && key.direction == PortDirection::Inbound as u16
    }
}

fn holds(network: &IpNet, address: IpAddr) -> bool {
    network.contains(&address.to_canonical())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn rules() -> CaptureRules {
        CaptureRules {
            exclude_inbound_ports: vec![9100],
            exclude_outbound_ports: vec![5432],
            exclude_outbound_cidrs: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
            probed_ports: [8080].into(),
        }
    }

    #[test]
    fn a_connect_is_captured_unless_the_kernel_would_let_it_pass() {
        let own = ["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        for (to, expected) in [
            ("10.96.0.1:80", None),
            ("10.96.0.1:5432", Some(KernelEvent::OutboundExcludedPort)),
            ("192.0.2.7:80", Some(KernelEvent::OutboundExcludedNetwork)),
            ("[::ffff:192.0.2.7]:80", Some(KernelEvent::OutboundExcludedNetwork)),
            ("[2001:db8::7]:80", Some(KernelEvent::OutboundExcludedNetwork)),
            ("[2001:db9::7]:80", None),
            ("10.0.0.1:80", Some(KernelEvent::OutboundLocal)),
            ("127.0.0.1:80", Some(KernelEvent::OutboundLocal)),
        ] {
            assert_eq!(outbound(&own, &rules(), to.parse().unwrap()), expected, "{to}");
        }
        assert_eq!(outbound(&own, &CaptureRules::default(), "10.96.0.1:5432".parse().unwrap()), None);
    }

    #[test]
    fn what_arrives_goes_to_the_listener_of_its_port_or_past_the_agent() {
        let own = ["10.0.0.1".parse().unwrap()];
        for (client, to, expected) in [
            ("10.0.0.9", "10.0.0.1:8080", Arrives::AtPlaintext),
            ("10.0.0.9", "10.0.0.1:15008", Arrives::AtTunnels),
            ("10.0.0.9", "10.0.0.1:9100", Arrives::Past(KernelEvent::InboundExcludedPort)),
            ("10.0.0.1", "10.0.0.1:8080", Arrives::Past(KernelEvent::InboundLocal)),
            ("10.0.0.9", "10.0.0.2:8080", Arrives::Nowhere(KernelEvent::InboundUnknownAddress)),
        ] {
            let arrives = inbound(&own, &rules(), client.parse().unwrap(), to.parse().unwrap());
            assert_eq!(arrives, expected, "{client} {to}");
        }
    }
}
