//! The decision at connect(): does this connection of an enrolled pod go to the agent?

use crate::{Address, KernelEvent, MAX_POD_ADDRESSES, NetworkKey, Pod, PortDirection, PortKey, Verdict, VerdictKey};

/// A connect() in an enrolled pod's network namespace.
#[derive(Clone, Copy, Debug)]
pub struct Connect {
    /// Cookie of the network namespace.
    pub netns: u64,
    /// Whether the socket carries the agent's storage.
    pub by_agent: bool,
    /// Where it wants to go.
    pub address: Address,
    /// Port, in host byte order.
    pub port: u16,
}

/// What the decision looks up, lazily.
pub trait OutboundTables {
    /// Whether a port is excluded.
    fn port_excluded(&self, key: &PortKey) -> bool;
    /// Whether a network that contains the key's address is excluded.
    fn network_excluded(&self, key: &NetworkKey) -> bool;
    /// The address that the socket is bound to, `::` for none; nothing for a socket that only the agent can serve: one of
    /// another protocol than plain TCP, or bound to a device.
    fn bound(&self) -> Option<Address>;
    /// Whether it may go natively, on which generation.
    fn verdict(&self, key: &VerdictKey) -> Option<Verdict>;
    /// The generation in force.
    fn generation(&self) -> u64;
    /// Whether one more native connection can be entered.
    fn has_room(&self) -> bool;
    /// Whether the agent serves this pod now.
    fn agent_serves(&self, netns: u64) -> bool;
}

/// What happens to a connect().
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outbound {
    /// It goes to the agent's listener.
    Capture,
    /// It goes where the socket wanted, for the reason that is counted.
    Pass(KernelEvent),
    /// It goes where the socket wanted, by this verdict.
    Native(Verdict),
}

/// Decides over a connect() of an enrolled pod. Everything is captured but the agent's own sockets, what stays inside
/// the pod, what its annotations exclude, and what the agent has said goes natively.
#[inline(always)]
pub fn decide_outbound(pod: &Pod, connect: &Connect, tables: &impl OutboundTables) -> Outbound {
    if connect.by_agent {
        return Outbound::Pass(KernelEvent::OutboundAgent);
    }
    if stays_in_pod(pod, &connect.address) {
        return Outbound::Pass(KernelEvent::OutboundLocal);
    }
    if pod.excludes_ports != 0
        && tables.port_excluded(&PortKey::new(connect.netns, PortDirection::Outbound, connect.port))
    {
        return Outbound::Pass(KernelEvent::OutboundExcludedPort);
    }
    if pod.excludes_networks != 0 && tables.network_excluded(&NetworkKey::new(connect.netns, connect.address)) {
        return Outbound::Pass(KernelEvent::OutboundExcludedNetwork);
    }
    native(connect, tables).map_or(Outbound::Capture, Outbound::Native)
}

/// The verdict that it goes by. One that outlives its agent is none: without an agent nothing new is opened.
#[inline(always)]
fn native(connect: &Connect, tables: &impl OutboundTables) -> Option<Verdict> {
    let verdict = tables.verdict(&VerdictKey::new(connect.netns, connect.address, connect.port))?;
    let bound = tables.bound()?;
    let holds = verdict.takes(tables.generation(), &bound) && tables.has_room() && tables.agent_serves(connect.netns);
    holds.then_some(verdict)
}

#[inline(always)]
fn stays_in_pod(pod: &Pod, address: &Address) -> bool {
    if address.is_loopback() || address.is_unspecified() {
        return true;
    }
    let mut index = 0;
    while index < MAX_POD_ADDRESSES {
        if pod.addresses[index] == *address {
            return true;
        }
        index += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr};
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const NETNS: u64 = 7;

    #[derive(Debug, Default)]
    struct Model {
        ports: Vec<u16>,
        /// IPv4 networks as address and prefix length.
        networks: Vec<(Ipv4Addr, u8)>,
        verdict: Option<Verdict>,
        bound: Option<Address>,
        is_full: bool,
        is_alone: bool,
    }

    const GENERATION: u64 = 3;

    impl Model {
        fn contains(&self, address: IpAddr) -> bool {
            let IpAddr::V4(address) = address.to_canonical() else { return false };
            self.networks.iter().any(|(network, length)| {
                let mask = u32::MAX.checked_shl(32 - u32::from(*length)).unwrap_or(0);
                u32::from(*network) & mask == u32::from(address) & mask
            })
        }
    }

    impl OutboundTables for Model {
        fn port_excluded(&self, key: &PortKey) -> bool {
            assert_eq!((key.netns, key.direction), (NETNS, PortDirection::Outbound as u16));
            self.ports.contains(&key.port)
        }

        fn network_excluded(&self, key: &NetworkKey) -> bool {
            assert_eq!(key.netns, [0, 7]);
            self.contains(key.address.into())
        }

        fn bound(&self) -> Option<Address> {
            self.bound
        }

        fn verdict(&self, key: &VerdictKey) -> Option<Verdict> {
            assert_eq!(key.netns, NETNS);
            self.verdict
        }

        fn generation(&self) -> u64 {
            GENERATION
        }

        fn has_room(&self) -> bool {
            !self.is_full
        }

        fn agent_serves(&self, netns: u64) -> bool {
            netns == NETNS && !self.is_alone
        }
    }

    fn verdict() -> impl Strategy<Value = Option<Verdict>> {
        let verdict = (2_u64..5, any::<IpAddr>()).prop_map(|(generation, client)| Verdict {
            generation,
            destination: 9,
            client: client.into(),
        });
        proptest::option::of(verdict)
    }

    fn pod(address: IpAddr, model: &Model) -> Pod {
        let mut pod = Pod {
            excludes_ports: u32::from(!model.ports.is_empty()),
            excludes_networks: u32::from(!model.networks.is_empty()),
            ..Pod::default()
        };
        pod.addresses[0] = address.into();
        pod
    }

    proptest! {
        #[test]
        fn only_listed_reasons_bypass_the_agent(
            own: IpAddr,
            address: IpAddr,
            port: u16,
            by_agent: bool,
            ports in proptest::collection::vec(any::<u16>(), 0..4),
            networks in proptest::collection::vec((any::<Ipv4Addr>(), 0_u8..=32), 0..4),
            verdict in verdict(),
            is_full: bool,
            is_alone: bool,
            bound: Option<bool>,
        ) {
            // Unbound, bound to the address of the verdict, or nothing that goes natively.
            let bound = bound.map(|own| verdict.filter(|_| own).map_or_else(Address::default, |verdict| verdict.client));
            let model = Model { ports, networks, verdict, bound, is_full, is_alone };
            let connect = Connect { netns: NETNS, by_agent, address: address.into(), port };
            let canonical = address.to_canonical();
            let local = canonical.is_loopback() || canonical.is_unspecified() || canonical == own.to_canonical();
            let expected = if by_agent {
                Outbound::Pass(KernelEvent::OutboundAgent)
            } else if local {
                Outbound::Pass(KernelEvent::OutboundLocal)
            } else if model.ports.contains(&port) {
                Outbound::Pass(KernelEvent::OutboundExcludedPort)
            } else if model.contains(address) {
                Outbound::Pass(KernelEvent::OutboundExcludedNetwork)
            } else if let Some(verdict) = verdict
                && verdict.generation == GENERATION
                && bound.is_some()
                && !is_full
                && !is_alone
            {
                Outbound::Native(verdict)
            } else {
                Outbound::Capture
            };
            prop_assert_eq!(decide_outbound(&pod(own, &model), &connect, &model), expected);
        }
    }

    #[test]
    fn flags_of_the_pod_gate_the_look_ups() {
        let model = Model { ports: [80].into(), networks: [(Ipv4Addr::UNSPECIFIED, 0)].into(), ..Model::default() };
        let address = IpAddr::from([192, 0, 2, 1]).into();
        let connect = Connect { netns: NETNS, by_agent: false, address, port: 80 };
        assert_eq!(decide_outbound(&Pod::default(), &connect, &model), Outbound::Capture);
    }
}
