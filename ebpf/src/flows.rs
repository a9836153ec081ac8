//! `sock_ops`: hands the original destination from the application's socket to the socket that the agent accepts,
//! and opens the way for exactly those connections that the agent makes: to applications, and out of the pods; for those
//! that go natively (`native`), and for the kubelet's probes (`probe`).
//!
//! Both go by the connection's own addresses and ports, written when the kernel has chosen them and before the
//! first packet leaves: nothing can come between.

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB,
        BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB, bpf_sock,
    },
    macros::sock_ops,
    programs::SockOpsContext,
};
use heddle_common::{
    Address, AgentSocket, ConnectionTuple, DialKey, FlowKey, KernelEvent, OUTBOUND_PORT, SocketOwner, tcp_state,
};

use crate::{context::read_ipv6, endings, events, maps, native, probe, socket};

/// `AF_INET6`.
const IPV6: u32 = 10;

#[sock_ops]
fn flows(context: SockOpsContext) -> u32 {
    match context.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => connecting(&context),
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => {
            accepted(&context);
            if events::wanted() {
                endings::accepted(&context);
            }
        }
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => {
            // A socket is an application's that goes natively, the agent's or the kubelet's: never two of these.
            if !native::established(&context) {
                dial_ended(&context);
                probe::ended(&context);
            }
        }
        BPF_SOCK_OPS_STATE_CB => state_changed(&context),
        _ => {}
    }
    1
}

/// The source port is chosen, the SYN is not sent yet.
#[inline(always)]
fn connecting(context: &SockOpsContext) {
    let own = socket_of(context);
    if let Some(destination) = socket::stored(&maps::CAPTURED, own) {
        let key = FlowKey::new(socket::netns_cookie(context), local_address(context), local_port(context));
        if maps::FLOWS.insert(key, destination, 0).is_err() {
            maps::count(KernelEvent::FlowLost);
        }
        if events::wanted() {
            endings::captured(context, destination);
        }
    } else if let Some(dial) = agent_dial(own) {
        // Clears the entry if the dial fails; if it does not, `ACTIVE_ESTABLISHED_CB` does.
        let watched = context.set_cb_flags(BPF_SOCK_OPS_STATE_CB_FLAG as i32).is_ok();
        if events::wanted() {
            let owner = match dial {
                Dial::ToApplication => SocketOwner::AgentToApplication,
                Dial::Elsewhere => SocketOwner::Agent,
            };
            endings::dials(context, owner);
        }
        let (kept, lost) = match dial {
            Dial::ToApplication => {
                (maps::APPLICATION_DIALS.insert(dial_tuple(context), 1, 0).is_ok(), KernelEvent::ApplicationDialLost)
            }
            Dial::Elsewhere => (maps::AGENT_DIALS.insert(dial_key(context), 1, 0).is_ok(), KernelEvent::AgentDialLost),
        };
        if !watched || !kept {
            maps::count(lost);
        }
    } else {
        if !native::connecting(context) {
            probe::connecting(context);
        }
        if events::wanted() {
            endings::bypasses(context);
        }
    }
}

/// A socket that is followed came into another state, of which two matter.
#[inline(always)]
fn state_changed(context: &SockOpsContext) {
    let now = context.arg(1);
    if now != tcp_state::CLOSE && now != tcp_state::FIN_WAIT2 {
        return;
    }
    if !native::state_changed(context) && now == tcp_state::CLOSE {
        dial_ended(context);
        probe::ended(context);
    }
    if events::wanted() {
        endings::state_changed(context);
    }
}

/// A connection was accepted. If it is a captured one, the agent's new socket gets its destination.
#[inline(always)]
fn accepted(context: &SockOpsContext) {
    if local_port(context) != OUTBOUND_PORT {
        return;
    }
    // Not only for pods that are enrolled still: one that is released now has connections on their way here.
    let key = FlowKey::new(socket::netns_cookie(context), remote_address(context), remote_port(context));
    #[expect(unsafe_code, reason = "map look-ups are unsafe in aya-ebpf")]
    // SAFETY: the entry is this connection's own until it is removed below; an evicted one is a different key.
    let Some(destination) = (unsafe { maps::FLOWS.get(key) }).copied() else { return };
    if socket::store(&maps::ACCEPTED, socket_of(context), destination) {
        maps::count(KernelEvent::FlowDelivered);
    } else {
        maps::count(KernelEvent::FlowLost);
    }
    // Removal of an entry that was evicted meanwhile is no error.
    let _ = maps::FLOWS.remove(key);
}

/// The agent's dial succeeded or failed: its way through inbound capture, or out of the pod, closes.
#[inline(always)]
fn dial_ended(context: &SockOpsContext) {
    // The entry is gone already where the connection was established before it closed.
    match agent_dial(socket_of(context)) {
        Some(Dial::ToApplication) => {
            let _ = maps::APPLICATION_DIALS.remove(dial_tuple(context));
        }
        Some(Dial::Elsewhere) => {
            let _ = maps::AGENT_DIALS.remove(dial_key(context));
        }
        None => {}
    }
}

/// What the agent opens a connection for.
enum Dial {
    ToApplication,
    Elsewhere,
}

#[inline(always)]
fn agent_dial(own: *mut bpf_sock) -> Option<Dial> {
    let kind = socket::stored(&maps::AGENT_SOCKETS, own)?;
    Some(if kind == AgentSocket::ToApplication as u32 { Dial::ToApplication } else { Dial::Elsewhere })
}

/// The namespace and both ends of the connection that this socket opens.
#[inline(always)]
pub(crate) fn dial_key(context: &SockOpsContext) -> DialKey {
    DialKey::new(socket::netns_cookie(context), dial_tuple(context))
}

#[inline(always)]
pub(crate) fn dial_tuple(context: &SockOpsContext) -> ConnectionTuple {
    ConnectionTuple {
        client: local_address(context),
        server: remote_address(context),
        client_port: local_port(context),
        server_port: remote_port(context),
    }
}

#[inline(always)]
#[expect(unsafe_code, reason = "context field by pointer")]
pub(crate) fn socket_of(context: &SockOpsContext) -> *mut bpf_sock {
    // SAFETY: the kernel gives a valid context, and `sk` is the union's only readable member.
    unsafe { (*context.ops).__bindgen_anon_2.sk }
}

#[inline(always)]
pub(crate) fn local_address(context: &SockOpsContext) -> Address {
    if context.family() == IPV6 {
        return read_ipv6!(context.ops, local_ip6);
    }
    Address::from_ipv4_be(context.local_ip4())
}

#[inline(always)]
pub(crate) fn remote_address(context: &SockOpsContext) -> Address {
    if context.family() == IPV6 {
        return read_ipv6!(context.ops, remote_ip6);
    }
    Address::from_ipv4_be(context.remote_ip4())
}

/// The context has the local port in host byte order.
#[inline(always)]
pub(crate) fn local_port(context: &SockOpsContext) -> u16 {
    context.local_port() as u16
}

/// The context has the remote port in network byte order, in the upper half of a little-endian word.
#[inline(always)]
pub(crate) fn remote_port(context: &SockOpsContext) -> u16 {
    u32::from_be(context.remote_port()) as u16
}
