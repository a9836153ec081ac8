//! The decision on a pod's wire: a packet that leaves an enrolled pod, seen at the node's end of its cable.
//!
//! connect() is where connections are captured, and connect() is not the only way to open one: a raw socket, a packet
//! socket, a tunnel device or another network namespace behind the pod's reach the wire without it. There is one thing
//! that they cannot do without: the first packet of the connection. So that one must be the agent's, or excluded, or of a
//! native connection that was entered and is still to be opened.
//! Deliberately not looked at: what is not TCP, and what follows the first packet.

use crate::{
    ConnectionTuple, KernelEvent, NativeConnection, NativeSyn, NetworkKey, Pod, PortDirection, PortKey, packet::Read,
};

/// What the decision looks up, lazily.
pub trait WireTables {
    /// Whether the agent is opening exactly this connection from this namespace.
    fn is_agent_dial(&self, netns: u64, tuple: &ConnectionTuple) -> bool;
    /// The native connection that was entered with exactly these ends from this namespace.
    fn native(&self, netns: u64, tuple: &ConnectionTuple) -> Option<NativeConnection>;
    /// The generation in force.
    fn generation(&self) -> u64;
    /// Whether a port is excluded.
    fn port_excluded(&self, key: &PortKey) -> bool;
    /// Whether a network that contains the key's address is excluded.
    fn network_excluded(&self, key: &NetworkKey) -> bool;
}

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// It goes on.
    Pass,
    /// It goes nowhere, for the reason that is counted.
    Drop(KernelEvent),
}

/// Decides over a packet of an enrolled pod.
#[inline(always)]
pub fn decide_wire(pod: &Pod, netns: u64, packet: Read, tables: &impl WireTables) -> Wire {
    let tuple = match packet {
        Read::NoOpening => return Wire::Pass,
        Read::Hidden => return Wire::Drop(KernelEvent::WireHidden),
        Read::Opening(tuple) => tuple,
    };
    if tables.is_agent_dial(netns, &tuple) {
        return Wire::Pass;
    }
    if let Some(native) = tables.native(netns, &tuple) {
        match native.leaves(tables.generation()) {
            NativeSyn::Passes => return Wire::Pass,
            NativeSyn::IsStale => return Wire::Drop(KernelEvent::NativeStale),
            NativeSyn::IsAnother => {}
        }
    }
    if pod.excludes_ports != 0 && tables.port_excluded(&PortKey::new(netns, PortDirection::Outbound, tuple.server_port))
    {
        return Wire::Pass;
    }
    if pod.excludes_networks != 0 && tables.network_excluded(&NetworkKey::new(netns, tuple.server)) {
        return Wire::Pass;
    }
    Wire::Drop(KernelEvent::WireEscape)
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::{NativeStage, Verdict};

    const NETNS: u64 = 7;

    #[derive(Default)]
    struct Model {
        dial: Option<ConnectionTuple>,
        native: Option<(ConnectionTuple, NativeConnection)>,
        port: Option<u16>,
        network: Option<IpAddr>,
    }

    const GENERATION: u64 = 3;

    impl WireTables for Model {
        fn is_agent_dial(&self, netns: u64, tuple: &ConnectionTuple) -> bool {
            netns == NETNS && self.dial == Some(*tuple)
        }

        fn native(&self, netns: u64, tuple: &ConnectionTuple) -> Option<NativeConnection> {
            self.native.filter(|(entered, _)| netns == NETNS && entered == tuple).map(|(_, native)| native)
        }

        fn generation(&self) -> u64 {
            GENERATION
        }

        fn port_excluded(&self, key: &PortKey) -> bool {
            assert_eq!((key.netns, key.direction), (NETNS, PortDirection::Outbound as u16));
            self.port == Some(key.port)
        }

        fn network_excluded(&self, key: &NetworkKey) -> bool {
            assert_eq!(key.netns, [0, 7]);
            self.network.is_some_and(|network| key.address == network.into())
        }
    }

    fn pod(model: &Model) -> Pod {
        Pod {
            excludes_ports: u32::from(model.port.is_some()),
            excludes_networks: u32::from(model.network.is_some()),
            ..Pod::default()
        }
    }

    fn tuple(client: IpAddr, client_port: u16, server: IpAddr, server_port: u16) -> ConnectionTuple {
        ConnectionTuple { client: client.into(), server: server.into(), client_port, server_port }
    }

    const ESCAPE: Wire = Wire::Drop(KernelEvent::WireEscape);

    proptest! {
        #[test]
        fn nobody_but_the_agent_opens_a_connection(client: IpAddr, client_port: u16, server: IpAddr, port: u16) {
            let tuple = tuple(client, client_port, server, port);
            let nothing = Model::default();
            prop_assert_eq!(decide_wire(&pod(&nothing), NETNS, Read::Opening(tuple), &nothing), ESCAPE);
            let agent = Model { dial: Some(tuple), ..Model::default() };
            prop_assert_eq!(decide_wire(&pod(&agent), NETNS, Read::Opening(tuple), &agent), Wire::Pass);
            prop_assert_eq!(decide_wire(&pod(&agent), NETNS + 1, Read::Opening(tuple), &agent), ESCAPE);
        }

        #[test]
        fn a_native_connection_leaves_its_own_pod_on_its_own_generation_only(
            decided in 1_u64..5, destination in 0_u64..2, open: bool, from_other: bool, other_port: bool,
        ) {
            let entered = tuple(IpAddr::from([10, 0, 0, 1]), 40000, IpAddr::from([10, 0, 0, 2]), 80);
            let verdict = Verdict { generation: decided, destination, client: entered.client };
            let stage = if open { NativeStage::Open } else { NativeStage::Arrived };
            let native = NativeConnection { stage: stage as u32, ..NativeConnection::opening(&verdict, 0) };
            let model = Model { native: Some((entered, native)), ..Model::default() };
            let sent = ConnectionTuple { client_port: 40000 + u16::from(other_port), ..entered };
            let expected = match (from_other || other_port || open, decided == GENERATION) {
                (true, _) => ESCAPE,
                (false, true) => Wire::Pass,
                (false, false) => Wire::Drop(KernelEvent::NativeStale),
            };
            let netns = NETNS + u64::from(from_other);
            prop_assert_eq!(decide_wire(&pod(&model), netns, Read::Opening(sent), &model), expected);
        }

        #[test]
        fn the_agents_connection_opens_the_way_for_no_other(change in 0_usize..4) {
            let (client, server) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
            let dial = tuple(client, 40000, server, 15008);
            let mut other = dial;
            match change {
                0 => other.client = IpAddr::from([10, 0, 0, 9]).into(),
                1 => other.server = IpAddr::from([10, 0, 0, 9]).into(),
                2 => other.client_port += 1,
                _ => other.server_port += 1,
            }
            let model = Model { dial: Some(dial), ..Model::default() };
            prop_assert_eq!(decide_wire(&pod(&model), NETNS, Read::Opening(other), &model), ESCAPE);
        }
    }

    #[test]
    fn exclusions_hold_on_the_wire_too() {
        let (client, server) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([192, 0, 2, 1]));
        let opening = Read::Opening(tuple(client, 40000, server, 80));
        for (what, model, expected) in [
            ("nothing", Model::default(), ESCAPE),
            ("the port", Model { port: Some(80), ..Model::default() }, Wire::Pass),
            ("another port", Model { port: Some(81), ..Model::default() }, ESCAPE),
            ("the network", Model { network: Some(server), ..Model::default() }, Wire::Pass),
            ("another network", Model { network: Some(client), ..Model::default() }, ESCAPE),
        ] {
            assert_eq!(decide_wire(&pod(&model), NETNS, opening, &model), expected, "{what} is excluded");
        }
    }

    #[test]
    fn what_opens_nothing_passes_and_what_hides_does_not() {
        let model = Model::default();
        assert_eq!(decide_wire(&pod(&model), NETNS, Read::NoOpening, &model), Wire::Pass);
        let hidden = Wire::Drop(KernelEvent::WireHidden);
        assert_eq!(decide_wire(&pod(&model), NETNS, Read::Hidden, &model), hidden);
    }
}
