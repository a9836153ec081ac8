//! The decision at the socket look-up of a pod's network namespace: who gets this new connection?

use crate::{
    Address, ConnectionTuple, HBONE_PORT, KernelEvent, ListenerKind, NativeConnection, NativeSyn, PortDirection,
    PortKey,
};

/// A new TCP connection that arrived in an enrolled pod's network namespace.
#[derive(Clone, Copy, Debug)]
pub struct InboundConnection {
    /// Who opens it.
    pub client: Address,
    /// The opener's port, in host byte order.
    pub client_port: u16,
    /// The address of the pod that was dialled.
    pub server: Address,
    /// The port that was dialled, in host byte order.
    pub server_port: u16,
}

/// What the decision looks up, lazily.
pub trait InboundTables {
    /// Cookie of the namespace of the enrolled pod that has this address.
    fn netns_of(&self, address: &Address) -> Option<u64>;
    /// Whether the agent itself is opening exactly this connection.
    fn is_application_dial(&self, tuple: &ConnectionTuple) -> bool;
    /// Whether the kubelet is opening exactly this connection, to probe the pod.
    fn is_probe(&self, tuple: &ConnectionTuple) -> bool;
    /// The native connection that was entered with exactly these ends from this namespace.
    fn native(&self, source: u64, tuple: &ConnectionTuple) -> Option<NativeConnection>;
    /// The generation in force.
    fn generation(&self) -> u64;
    /// Whether a port is excluded.
    fn port_excluded(&self, key: &PortKey) -> bool;
}

/// What happens to a new inbound connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inbound {
    /// It goes to one of the agent's listeners in this namespace.
    Steer {
        /// Cookie of the namespace.
        netns: u64,
        /// Which listener.
        kind: ListenerKind,
    },
    /// It goes to the application, for the reason that is counted.
    Pass(KernelEvent),
    /// It goes to the application: a pod of this node opens it, and the agent has decided that it may.
    Native {
        /// Cookie of that pod's namespace.
        source: u64,
    },
    /// Nobody gets it before it is decided over again.
    Stale {
        /// Cookie of the namespace that opens it.
        source: u64,
        /// Cookie of this one.
        netns: u64,
    },
    /// Nobody gets it.
    Drop(KernelEvent),
}

/// Decides over a new connection in an enrolled pod's namespace. What is unknown is dropped, never passed.
#[inline(always)]
pub fn decide_inbound(connection: &InboundConnection, tables: &impl InboundTables) -> Inbound {
    // A packet from the pod to its own address comes in by loopback whatever device it names.
    if connection.server.is_loopback() || connection.client == connection.server {
        return Inbound::Pass(KernelEvent::InboundLocal);
    }
    let tuple = ConnectionTuple {
        client: connection.client,
        server: connection.server,
        client_port: connection.client_port,
        server_port: connection.server_port,
    };
    if tables.is_application_dial(&tuple) {
        return Inbound::Pass(KernelEvent::InboundAgent);
    }
    let Some(netns) = tables.netns_of(&connection.server) else {
        return Inbound::Drop(KernelEvent::InboundUnknownAddress);
    };
    if connection.server_port == HBONE_PORT {
        return Inbound::Steer { netns, kind: ListenerKind::Hbone };
    }
    if tables.is_probe(&tuple) {
        return Inbound::Pass(KernelEvent::InboundKubeletProbe);
    }
    // By the address only the place of the entry is found. That a pod has sent this, and which, its wire has seen to.
    if let Some(source) = tables.netns_of(&connection.client)
        && let Some(native) = tables.native(source, &tuple)
    {
        match native.arrives(netns, tables.generation()) {
            NativeSyn::Passes => return Inbound::Native { source },
            NativeSyn::IsStale => return Inbound::Stale { source, netns },
            NativeSyn::IsAnother => {}
        }
    }
    if tables.port_excluded(&PortKey::new(netns, PortDirection::Inbound, connection.server_port)) {
        return Inbound::Pass(KernelEvent::InboundExcludedPort);
    }
    Inbound::Steer { netns, kind: ListenerKind::Plaintext }
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::{NativeStage, Verdict};

    const NETNS: u64 = 7;
    const CLIENT: u64 = 8;
    const GENERATION: u64 = 3;

    #[derive(Default)]
    struct Model {
        pod: Option<Address>,
        client: Option<Address>,
        dials: Vec<ConnectionTuple>,
        probes: Vec<ConnectionTuple>,
        native: Option<(ConnectionTuple, NativeConnection)>,
        excluded: Vec<u16>,
    }

    impl InboundTables for Model {
        fn netns_of(&self, address: &Address) -> Option<u64> {
            let client = || self.client.filter(|client| client == address).map(|_| CLIENT);
            self.pod.filter(|pod| pod == address).map(|_| NETNS).or_else(client)
        }

        fn native(&self, source: u64, tuple: &ConnectionTuple) -> Option<NativeConnection> {
            self.native.filter(|(entered, _)| source == CLIENT && entered == tuple).map(|(_, native)| native)
        }

        fn generation(&self) -> u64 {
            GENERATION
        }

        fn is_application_dial(&self, tuple: &ConnectionTuple) -> bool {
            self.dials.contains(tuple)
        }

        fn is_probe(&self, tuple: &ConnectionTuple) -> bool {
            self.probes.contains(tuple)
        }

        fn port_excluded(&self, key: &PortKey) -> bool {
            assert_eq!((key.netns, key.direction), (NETNS, PortDirection::Inbound as u16));
            self.excluded.contains(&key.port)
        }
    }

    fn connection(client: IpAddr, client_port: u16, server: IpAddr, server_port: u16) -> InboundConnection {
        InboundConnection { client: client.into(), client_port, server: server.into(), server_port }
    }

    proptest! {
        #[test]
        fn a_stranger_never_reaches_the_application(client: IpAddr, client_port: u16, server: IpAddr, port: u16, known: bool) {
            let connection = connection(client, client_port, server, port);
            prop_assume!(!connection.server.is_loopback() && connection.client != connection.server);
            let model = Model { pod: known.then_some(connection.server), ..Model::default() };
            let kind = if port == HBONE_PORT { ListenerKind::Hbone } else { ListenerKind::Plaintext };
            let expected = match known {
                true => Inbound::Steer { netns: NETNS, kind },
                false => Inbound::Drop(KernelEvent::InboundUnknownAddress),
            };
            prop_assert_eq!(decide_inbound(&connection, &model), expected);
        }

        #[test]
        fn only_the_exact_dial_of_the_agent_and_probe_of_the_kubelet_pass(change in 0_usize..4) {
            let (client, server) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
            let mut tuple = ConnectionTuple {
                client: client.into(), server: server.into(), client_port: 40000, server_port: 80,
            };
            let connection = connection(client, 40000, server, 80);
            let pod = Some(connection.server);
            let exact = Model { pod, dials: [tuple].into(), ..Model::default() };
            prop_assert_eq!(decide_inbound(&connection, &exact), Inbound::Pass(KernelEvent::InboundAgent));
            let exact = Model { pod, probes: [tuple].into(), ..Model::default() };
            prop_assert_eq!(decide_inbound(&connection, &exact), Inbound::Pass(KernelEvent::InboundKubeletProbe));
            match change {
                0 => tuple.client = IpAddr::from([10, 0, 0, 9]).into(),
                1 => tuple.server = IpAddr::from([10, 0, 0, 9]).into(),
                2 => tuple.client_port += 1,
                _ => tuple.server_port += 1,
            }
            let other = Model { pod, dials: [tuple].into(), probes: [tuple].into(), ..Model::default() };
            let steered = Inbound::Steer { netns: NETNS, kind: ListenerKind::Plaintext };
            prop_assert_eq!(decide_inbound(&connection, &other), steered);
        }
    }

    proptest! {
        #[test]
        fn only_the_exact_native_connection_passes_and_only_on_its_generation(
            change in 0_usize..5, decided in 1_u64..5, destination in NETNS..NETNS + 3, open: bool, is_known: bool,
        ) {
            let (client, server) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
            let mut tuple = ConnectionTuple {
                client: client.into(), server: server.into(), client_port: 40000, server_port: 80,
            };
            match change {
                0 => {}
                1 => tuple.client = IpAddr::from([10, 0, 0, 9]).into(),
                2 => tuple.server = IpAddr::from([10, 0, 0, 9]).into(),
                3 => tuple.client_port += 1,
                _ => tuple.server_port += 1,
            }
            let verdict = Verdict { generation: decided, destination, client: client.into() };
            let stage = if open { NativeStage::Open } else { NativeStage::Opening };
            let native = NativeConnection { stage: stage as u32, ..NativeConnection::opening(&verdict, 0) };
            let model = Model {
                pod: Some(server.into()),
                client: is_known.then(|| client.into()),
                native: Some((tuple, native)),
                ..Model::default()
            };
            let expected = match change == 0 && is_known && !open {
                true if decided == GENERATION && destination == NETNS => Inbound::Native { source: CLIENT },
                true => Inbound::Stale { source: CLIENT, netns: NETNS },
                false => Inbound::Steer { netns: NETNS, kind: ListenerKind::Plaintext },
            };
            prop_assert_eq!(decide_inbound(&connection(client, 40000, server, 80), &model), expected);
        }
    }

    #[test]
    fn cases() {
        let pod = IpAddr::from([10, 0, 0, 2]);
        let peer = IpAddr::from([10, 0, 0, 1]);
        let model = Model { pod: Some(pod.into()), excluded: [22, HBONE_PORT].into(), ..Model::default() };
        let plaintext = Inbound::Steer { netns: NETNS, kind: ListenerKind::Plaintext };
        let hbone = Inbound::Steer { netns: NETNS, kind: ListenerKind::Hbone };
        for (what, client, server, port, expected) in [
            ("to itself", pod, pod, 80, Inbound::Pass(KernelEvent::InboundLocal)),
            ("loopback", peer, IpAddr::from([127, 0, 0, 1]), 80, Inbound::Pass(KernelEvent::InboundLocal)),
            ("excluded", peer, pod, 22, Inbound::Pass(KernelEvent::InboundExcludedPort)),
            ("plaintext", peer, pod, 80, plaintext),
            ("tunnels cannot be excluded", peer, pod, HBONE_PORT, hbone),
        ] {
            assert_eq!(decide_inbound(&connection(client, 1, server, port), &model), expected, "{what}");
        }
    }
}
