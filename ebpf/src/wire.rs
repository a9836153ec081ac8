//! `tcx/ingress` on the node's end of each enrolled pod's cable: the first packet of a TCP connection leaves the pod only
//! if the agent sent it, if it is that of a native connection, or if it goes to what is excluded.
//!
//! The pod has no hand on this end, whatever it may do in its own namespace.

use aya_ebpf::{macros::classifier, programs::TcContext};
use heddle_common::{
    ConnectionTuple, DialKey, EventKind, EventReason, KernelEvent, NativeConnection, NetworkKey, Packet, PortDirection,
    PortKey, Read, Wire, WireTables, decide_wire, read_ipv4, read_ipv6,
};

use crate::{context::read_field, events, log::log_debug, maps, native};

/// `TCX_NEXT`: whoever else looks at the packet decides.
const NEXT: i32 = -1;
/// `TCX_DROP`.
const DROP: i32 = 2;

/// `ETH_P_IP` and `ETH_P_IPV6`, as the context has them: in network byte order.
const IPV4: u32 = 0x0800_u16.to_be() as u32;
const IPV6: u32 = 0x86dd_u16.to_be() as u32;
/// `ETH_P_8021Q` and `ETH_P_8021AD`. The kernel has taken off the outer tag before; it takes off an inner one of number 0
/// only after this program, and hands what is in it to IP.
const TAGGED: u32 = 0x8100_u16.to_be() as u32;
const TAGGED_TWICE: u32 = 0x88a8_u16.to_be() as u32;
/// Bytes of the Ethernet header: pods' cables are veth devices.
const ETHERNET: usize = 14;

#[classifier]
fn wire(context: TcContext) -> i32 {
    let packet = match read_field!(context.skb.skb, protocol) {
        IPV4 => read_ipv4(&Frame(&context)),
        IPV6 => read_ipv6(&Frame(&context)),
        TAGGED | TAGGED_TWICE => Read::Hidden,
        _ => return NEXT,
    };
    // Nearly all packets end here, before anything is looked up.
    if packet == Read::NoOpening {
        return NEXT;
    }
    let device = read_field!(context.skb.skb, ifindex);
    #[expect(unsafe_code, reason = "map look-ups are unsafe in aya-ebpf")]
    // SAFETY: the value is one word, read at once.
    let Some(netns) = (unsafe { maps::WIRES.get(device) }).copied() else { return NEXT };
    #[expect(unsafe_code, reason = "map look-ups are unsafe in aya-ebpf")]
    // SAFETY: entries of PODS are replaced whole, and a stale one is as good as a packet a moment earlier.
    let Some(pod) = (unsafe { maps::PODS.get(netns) }) else { return NEXT };

    match decide_wire(pod, netns, packet, &Tables) {
        Wire::Pass => NEXT,
        Wire::Drop(event @ KernelEvent::NativeStale) => {
            maps::count(event);
            if let Read::Opening(tuple) = packet {
                native::is_held_up(netns, tuple);
            }
            DROP
        }
        Wire::Drop(event) => {
            log_debug!(&context, "dropped a packet from device {}: it left its pod past the capture", device);
            maps::count(event);
            if events::wanted() {
                tell(netns, packet);
            }
            DROP
        }
    }
}

#[inline(always)]
fn tell(netns: u64, packet: Read) {
    let (reason, tuple) = match packet {
        Read::Opening(tuple) => (EventReason::Escape, tuple),
        Read::Hidden | Read::NoOpening => (EventReason::Hidden, ConnectionTuple::default()),
    };
    let ConnectionTuple { client, server, client_port, server_port } = tuple;
    let ends = events::Ends { client, client_port, server, server_port };
    events::tell_of(EventKind::Refused, reason, PortDirection::Outbound, netns, &ends);
}

struct Frame<'a>(&'a TcContext);

impl Packet for Frame<'_> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.0.load(ETHERNET + offset).ok()
    }
}

struct Tables;

impl WireTables for Tables {
    #[inline(always)]
    fn is_agent_dial(&self, netns: u64, tuple: &ConnectionTuple) -> bool {
        maps::AGENT_DIALS.get_ptr(DialKey::new(netns, *tuple)).is_some()
    }

    #[inline(always)]
    fn native(&self, netns: u64, tuple: &ConnectionTuple) -> Option<NativeConnection> {
        maps::native(netns, tuple)
    }

    #[inline(always)]
    fn generation(&self) -> u64 {
        native::generation()
    }

    #[inline(always)]
    fn port_excluded(&self, key: &PortKey) -> bool {
        maps::is_excluded_port(key)
    }

    #[inline(always)]
    fn network_excluded(&self, key: &NetworkKey) -> bool {
        maps::is_excluded_network(key)
    }
}
