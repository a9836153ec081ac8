//! The decision at connect() outside of enrolled pods: is this the kubelet, about to probe one?
//!
//! The kubelet is known by its cgroup, which only root of the node gives, and by the node's network namespace. Its address says
//! nothing: pods of the host network have the same. What the decision opens is one connection, from its SYN to its answer.

use crate::{Address, HBONE_PORT, OriginalDst, PortDirection, PortKey};

/// How deep a cgroup is looked for among those that a process is below: a kubelet of a node that is a container itself is some
/// levels down.
pub const DEEPEST_CGROUP: u32 = 16;

/// Index in `KUBELET`: what is known of the node's kubelet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum KubeletState {
    /// Id of its cgroup, 0 while there is none.
    Cgroup = 0,
    /// Cookie of the node's network namespace.
    Netns = 1,
}

impl KubeletState {
    /// How many there are.
    pub const COUNT: usize = 2;
}

/// What the decision looks up, lazily.
pub trait ProbeTables {
    /// Cookie of the namespace of the enrolled pod that has this address.
    fn netns_of(&self, address: &Address) -> Option<u64>;
    /// Whether a pod declares a probe of this port.
    fn port_probed(&self, key: &PortKey) -> bool;
    /// What is known of the kubelet.
    fn kubelet(&self, state: KubeletState) -> u64;
    /// The cgroup at this depth that the calling process is in or below, 0 for none.
    fn caller_cgroup(&self, depth: u32) -> u64;
}

/// Whether this connect() from this namespace is the kubelet's, to a port that the pod declares for its probes.
#[inline(always)]
pub fn is_probe(netns: u64, to: &OriginalDst, tables: &impl ProbeTables) -> bool {
    let port = to.port as u16;
    // The cheapest first: most of what a node dials is no pod of its own.
    let Some(pod) = tables.netns_of(&to.address) else { return false };
    port != HBONE_PORT
        && tables.port_probed(&PortKey::new(pod, PortDirection::Inbound, port))
        && netns == tables.kubelet(KubeletState::Netns)
        && is_kubelet(tables.kubelet(KubeletState::Cgroup), tables)
}

#[inline(always)]
fn is_kubelet(cgroup: u64, tables: &impl ProbeTables) -> bool {
    if cgroup == 0 {
        return false;
    }
    // Not the root, which everything is below.
    let mut depth = 1;
    while depth < DEEPEST_CGROUP {
        if tables.caller_cgroup(depth) == cgroup {
            return true;
        }
        depth += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use super::*;

    const NODE: u64 = 1;
    const POD: u64 = 7;
    const KUBELET: u64 = 42;
    const PROBED: u16 = 8080;

    struct Model {
        cgroup: u64,
        caller: &'static [u64],
    }

    impl ProbeTables for Model {
        fn netns_of(&self, address: &Address) -> Option<u64> {
            (*address == pod()).then_some(POD)
        }

        fn port_probed(&self, key: &PortKey) -> bool {
            assert_eq!((key.netns, key.direction), (POD, PortDirection::Inbound as u16));
            [PROBED, HBONE_PORT].contains(&key.port)
        }

        fn kubelet(&self, state: KubeletState) -> u64 {
            match state {
                KubeletState::Cgroup => self.cgroup,
                KubeletState::Netns => NODE,
            }
        }

        fn caller_cgroup(&self, depth: u32) -> u64 {
            self.caller.get(depth as usize).copied().unwrap_or(0)
        }
    }

    fn pod() -> Address {
        IpAddr::from([10, 0, 0, 2]).into()
    }

    #[test]
    fn only_the_kubelet_of_the_node_probes_and_only_what_is_declared() {
        let other = IpAddr::from([10, 0, 0, 3]).into();
        let (kubelet, below): (&[u64], &[u64]) = (&[1, 5, KUBELET], &[1, 5, KUBELET, 9]);
        for (what, netns, address, port, cgroup, caller, expected) in [
            ("the kubelet", NODE, pod(), PROBED, KUBELET, kubelet, true),
            ("a child of it", NODE, pod(), PROBED, KUBELET, below, true),
            ("a port that nobody declares", NODE, pod(), 8081, KUBELET, kubelet, false),
            ("the port of tunnels", NODE, pod(), HBONE_PORT, KUBELET, kubelet, false),
            ("an address of no enrolled pod", NODE, other, PROBED, KUBELET, kubelet, false),
            ("from another namespace", 3, pod(), PROBED, KUBELET, kubelet, false),
            ("another cgroup", NODE, pod(), PROBED, KUBELET, &[1, 5, 6], false),
            ("above the kubelet's", NODE, pod(), PROBED, KUBELET, &[1, 5], false),
            ("no kubelet is known", NODE, pod(), PROBED, 0, kubelet, false),
            ("the root is nobody's", NODE, pod(), PROBED, 1, kubelet, false),
        ] {
            let found = is_probe(netns, &OriginalDst::new(address, port), &Model { cgroup, caller });
            assert_eq!(found, expected, "{what}");
        }
    }
}
