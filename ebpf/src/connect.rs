//! `cgroup/connect4` and `connect6`: an enrolled pod's connect() is turned to the agent's listener on the pod's own
//! loopback, and the socket keeps where it was going; or it goes natively, and the socket keeps by which verdict.

use aya_ebpf::{
    bindings::bpf_sock, helpers::generated::bpf_setsockopt, macros::cgroup_sock_addr, programs::SockAddrContext,
};
use heddle_common::{
    Address, Connect, EventKind, EventReason, KernelEvent, NetworkKey, OUTBOUND_PORT, OriginalDst, Outbound,
    OutboundTables, PortDirection, PortKey, SocketOwner, Verdict, VerdictKey, WatchedSocket, decide_outbound,
};

use crate::{
    context::{read_field, read_ipv6, write_field},
    events,
    log::log_warn,
    maps, native, probe,
    socket::{self, SO_BINDTODEVICE, SOL_SOCKET},
};

/// What a hook answers: 1 lets the system call go on, 0 fails it with EPERM.
const PROCEED: i32 = 1;
const REFUSE: i32 = 0;

/// `SOCK_STREAM`: TCP and MPTCP. Everything else is left alone.
const STREAM: u32 = 1;
/// `IPPROTO_TCP`: not MPTCP, whose connections are sockets of the kernel's own.
const PLAIN_TCP: u32 = 6;

const IPV4_LOOPBACK: u32 = 0x7f00_0001_u32.to_be();

#[cgroup_sock_addr(connect4)]
fn connect4(context: SockAddrContext) -> i32 {
    let address = Address::from_ipv4_be(read_field!(context.sock_addr, user_ip4));
    connect(&context, address, |c| {
        write_field!(c.sock_addr, user_ip4, IPV4_LOOPBACK);
    })
}

#[cgroup_sock_addr(connect6)]
fn connect6(context: SockAddrContext) -> i32 {
    let address = read_ipv6!(context.sock_addr, user_ip6);
    // A mapped address stays mapped, so that the kernel goes on treating the connection as IPv4.
    let listener = match address.is_ipv4() {
        true => Address::from_ipv4_be(IPV4_LOOPBACK),
        false => Address::from_ipv6_be([0, 0, 0, 1_u32.to_be()]),
    };
    connect(&context, address, |c| write_ipv6(c, listener))
}

#[inline(always)]
fn connect(context: &SockAddrContext, address: Address, redirect: impl Fn(&SockAddrContext)) -> i32 {
    if read_field!(context.sock_addr, type_) != STREAM {
        return PROCEED;
    }
    let netns = socket::netns_cookie(context);
    #[expect(unsafe_code, reason = "map look-ups are unsafe in aya-ebpf")]
    // SAFETY: entries of PODS are replaced whole, and a stale one is as good as a connect() a moment earlier.
    let pod = unsafe { maps::PODS.get(netns) };
    let own = socket_of(context);
    let port = u16::from_be(read_field!(context.sock_addr, user_port) as u16);
    let to = OriginalDst::new(address, port);
    let Some(pod) = pod else {
        probe::dialled(own, netns, to);
        return PROCEED;
    };
    let by_agent = socket::stored(&maps::AGENT_SOCKETS, own).is_some();
    match decide_outbound(pod, &Connect { netns, by_agent, address, port }, &Tables { context, own }) {
        Outbound::Pass(event) => {
            socket::forget(&maps::NATIVE_SOCKETS, own);
            passes(own, event, to)
        }
        Outbound::Native(verdict) if native::keep(own, verdict) => passes(own, KernelEvent::OutboundNative, to),
        Outbound::Native(_) | Outbound::Capture => {
            socket::forget(&maps::NATIVE_SOCKETS, own);
            capture(context, netns, to, redirect)
        }
    }
}

/// The address that the socket is bound to, where it can go natively.
#[inline(always)]
fn bound(context: &SockAddrContext, own: *mut bpf_sock) -> Option<Address> {
    if own.is_null() || read_field!(context.sock_addr, protocol) != PLAIN_TCP || read_field!(own, bound_dev_if) != 0 {
        return None;
    }
    Some(socket::bound_address(own))
}

#[inline(always)]
fn capture(context: &SockAddrContext, netns: u64, to: OriginalDst, redirect: impl Fn(&SockAddrContext)) -> i32 {
    if !socket::store(&maps::CAPTURED, socket_of(context), to) {
        log_warn!(context, "no memory for the destination of a captured connection: refused");
        maps::count(KernelEvent::OutboundRefused);
        if events::wanted() {
            let (client, client_port) = (Address::default(), 0);
            let ends = events::Ends { client, client_port, server: to.address, server_port: to.port as u16 };
            events::tell_of(EventKind::Refused, EventReason::NoMemory, PortDirection::Outbound, netns, &ends);
        }
        return REFUSE;
    }
    leave_device(context);
    redirect(context);
    write_field!(context.sock_addr, user_port, u32::from(OUTBOUND_PORT.to_be()));
    maps::count(KernelEvent::OutboundCaptured);
    PROCEED
}

/// It goes where it wanted to. One that bypasses the agent is told when the kernel has chosen its port, in `flows`.
#[inline(always)]
fn passes(own: *mut bpf_sock, event: KernelEvent, to: OriginalDst) -> i32 {
    // The socket may have been captured on an earlier connect() that failed.
    socket::forget(&maps::CAPTURED, own);
    maps::count(event);
    if events::wanted() {
        watch_bypass(own, event, to);
    }
    PROCEED
}

#[inline(always)]
fn watch_bypass(own: *mut bpf_sock, event: KernelEvent, to: OriginalDst) {
    // The socket may have bypassed the agent on an earlier connect() that failed.
    socket::forget(&maps::WATCHED, own);
    if let Some(reason) = events::bypass_reason(event) {
        events::watch(
            own,
            WatchedSocket {
                server: to.address,
                server_port: to.port as u16,
                bypass: reason as u16,
                owner: SocketOwner::Application as u16,
                direction: PortDirection::Outbound as u16,
                ..WatchedSocket::default()
            },
        );
    }
}

/// A socket bound to a device would send its SYN for the loopback address out of that device. It is unbound and not bound
/// to `lo`: for connect() that would be another device than none, and the kernel could give a connection of each the same
/// source port.
#[inline(always)]
fn leave_device(context: &SockAddrContext) {
    let own = socket_of(context);
    if own.is_null() {
        return;
    }
    if read_field!(own, bound_dev_if) == 0 {
        return;
    }
    let mut none = *b"\0";
    #[expect(unsafe_code, reason = "a helper call")]
    // SAFETY: the kernel copies one byte from the stack. Where it fails, the connection times out and nothing leaves.
    unsafe {
        bpf_setsockopt(context.sock_addr.cast(), SOL_SOCKET, SO_BINDTODEVICE, none.as_mut_ptr().cast(), 1);
    }
}

struct Tables<'a> {
    context: &'a SockAddrContext,
    own: *mut bpf_sock,
}

impl OutboundTables for Tables<'_> {
    #[inline(always)]
    fn port_excluded(&self, key: &PortKey) -> bool {
        maps::is_excluded_port(key)
    }

    #[inline(always)]
    fn network_excluded(&self, key: &NetworkKey) -> bool {
        maps::is_excluded_network(key)
    }

    #[inline(always)]
    fn bound(&self) -> Option<Address> {
        bound(self.context, self.own)
    }

    #[inline(always)]
    fn verdict(&self, key: &VerdictKey) -> Option<Verdict> {
        native::verdict(key)
    }

    #[inline(always)]
    fn generation(&self) -> u64 {
        native::generation()
    }

    #[inline(always)]
    fn has_room(&self) -> bool {
        native::has_room()
    }

    #[inline(always)]
    fn agent_serves(&self, netns: u64) -> bool {
        native::agent_serves(netns)
    }
}

/// The context's socket.
#[inline(always)]
#[expect(unsafe_code, reason = "context field by pointer")]
pub(crate) fn socket_of(context: &SockAddrContext) -> *mut bpf_sock {
    // SAFETY: the kernel gives a valid context, and `sk` is the union's only readable member.
    unsafe { (*context.sock_addr).__bindgen_anon_1.sk }
}

/// Writes the context's IPv6 address.
#[inline(always)]
pub(crate) fn write_ipv6(context: &SockAddrContext, address: Address) {
    let words = address.ipv6_be();
    write_field!(context.sock_addr, user_ip6[0], words[0]);
    write_field!(context.sock_addr, user_ip6[1], words[1]);
    write_field!(context.sock_addr, user_ip6[2], words[2]);
    write_field!(context.sock_addr, user_ip6[3], words[3]);
}
