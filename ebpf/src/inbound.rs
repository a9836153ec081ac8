//! `sk_lookup`, attached to each enrolled pod's network namespace: a new TCP connection goes to the agent's listener
//! in that namespace, even where the application listens on the same port; a native one goes to the application.

use aya_ebpf::{macros::sk_lookup, programs::SkLookupContext};
use heddle_common::{
    Address, ConnectionTuple, EventKind, EventReason, Inbound, InboundConnection, InboundTables, KernelEvent,
    ListenerKey, ListenerKind, NativeConnection, PortDirection, PortKey, decide_inbound,
};

use crate::{
    context::{read_field, read_ipv6},
    events,
    log::log_debug,
    maps, native,
};

/// What the kernel takes from a socket look-up program.
const DROP: u32 = 0;
const PASS: u32 = 1;

/// `AF_INET6`.
const IPV6: u32 = 10;
/// `IPPROTO_TCP`.
const TCP: u32 = 6;

#[sk_lookup]
fn inbound(context: SkLookupContext) -> u32 {
    if read_field!(context.lookup, protocol) != TCP {
        return PASS;
    }
    let connection = connection(&context);
    match decide_inbound(&connection, &Tables) {
        Inbound::Pass(event) => {
            maps::count(event);
            if events::wanted()
                && let Some(reason) = events::bypass_reason(event)
            {
                let netns = Tables.netns_of(&connection.server).unwrap_or(0);
                tell(EventKind::Bypassed, reason, netns, &connection);
            }
            PASS
        }
        Inbound::Native { source } => {
            native::arrived(source, tuple_of(&connection));
            maps::count(KernelEvent::InboundNative);
            PASS
        }
        Inbound::Stale { source, netns } => {
            native::is_held_up(source, tuple_of(&connection));
            // Dropped here, it would be answered with a reset.
            steer(&context, netns, ListenerKind::Held, &connection)
        }
        Inbound::Drop(event) => {
            log_debug!(
                &context,
                "dropped a connection to port {}: no enrolled pod has its address",
                connection.server_port
            );
            maps::count(event);
            if events::wanted() {
                tell(EventKind::Refused, EventReason::UnknownAddress, 0, &connection);
            }
            DROP
        }
        Inbound::Steer { netns, kind } => steer(&context, netns, kind, &connection),
    }
}

#[inline(always)]
fn steer(context: &SkLookupContext, netns: u64, kind: ListenerKind, connection: &InboundConnection) -> u32 {
    if maps::LISTENERS.redirect_sk_lookup(context, ListenerKey::new(netns, kind), 0).is_err() {
        log_debug!(context, "dropped a connection: the agent does not listen");
        maps::count(KernelEvent::InboundNoListener);
        if events::wanted() {
            tell(EventKind::Refused, EventReason::NoListener, netns, connection);
        }
        return DROP;
    }
    maps::count(match kind {
        ListenerKind::Hbone => KernelEvent::InboundHbone,
        ListenerKind::Plaintext => KernelEvent::InboundPlaintext,
        ListenerKind::Held => KernelEvent::NativeStale,
    });
    PASS
}

#[inline(always)]
fn tuple_of(connection: &InboundConnection) -> ConnectionTuple {
    let InboundConnection { client, client_port, server, server_port } = *connection;
    ConnectionTuple { client, server, client_port, server_port }
}

#[inline(always)]
fn tell(kind: EventKind, reason: EventReason, netns: u64, connection: &InboundConnection) {
    let InboundConnection { client, client_port, server, server_port } = *connection;
    let ends = events::Ends { client, client_port, server, server_port };
    events::tell_of(kind, reason, PortDirection::Inbound, netns, &ends);
}

struct Tables;

impl InboundTables for Tables {
    #[inline(always)]
    fn netns_of(&self, address: &Address) -> Option<u64> {
        #[expect(unsafe_code, reason = "map look-ups are unsafe in aya-ebpf")]
        // SAFETY: the value is one word, read at once.
        unsafe { maps::POD_ADDRESSES.get(address) }.copied()
    }

    #[inline(always)]
    fn is_application_dial(&self, tuple: &ConnectionTuple) -> bool {
        maps::APPLICATION_DIALS.get_ptr(tuple).is_some()
    }

    #[inline(always)]
    fn is_probe(&self, tuple: &ConnectionTuple) -> bool {
        maps::PROBES.get_ptr(tuple).is_some()
    }

    #[inline(always)]
    fn native(&self, source: u64, tuple: &ConnectionTuple) -> Option<NativeConnection> {
        maps::native(source, tuple)
    }

    #[inline(always)]
    fn generation(&self) -> u64 {
        native::generation()
    }

    #[inline(always)]
    fn port_excluded(&self, key: &PortKey) -> bool {
        maps::EXCLUDED_PORTS.get_ptr(key).is_some()
    }
}

#[inline(always)]
fn connection(context: &SkLookupContext) -> InboundConnection {
    // Both families are read before the choice: the compiler would join the two branches' loads into one with a
    // computed offset, which the verifier refuses ("dereference of modified ctx ptr"). The other family reads as zero.
    let ipv6 = (read_ipv6!(context.lookup, remote_ip6), read_ipv6!(context.lookup, local_ip6));
    let ipv4 = (
        Address::from_ipv4_be(read_field!(context.lookup, remote_ip4)),
        Address::from_ipv4_be(read_field!(context.lookup, local_ip4)),
    );
    let (client, server) = if read_field!(context.lookup, family) == IPV6 { ipv6 } else { ipv4 };
    InboundConnection {
        client,
        client_port: u16::from_be(read_field!(context.lookup, remote_port)),
        server,
        // The context has the local port in host byte order.
        server_port: read_field!(context.lookup, local_port) as u16,
    }
}
