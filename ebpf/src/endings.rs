//! The part of `flows` that tells about connections: that they begin, and how they end. Called only while somebody listens.

use aya_ebpf::{bindings::BPF_SOCK_OPS_STATE_CB_FLAG, programs::SockOpsContext};
use heddle_common::{
    Closing, ConnectionEvent, EventKind, EventReason, OriginalDst, PortDirection, PortKey, SocketOwner, WatchedSocket,
    tcp_state,
};

use crate::{
    context::read_field,
    events::{now, tell, watch},
    flows::{local_address, local_port, remote_address, remote_port, socket_of},
    maps, socket,
};

/// An application's captured connection has its port.
#[inline(always)]
pub(crate) fn captured(context: &SockOpsContext, to: OriginalDst) {
    let watched = WatchedSocket {
        began: now(),
        server: to.address,
        server_port: to.port as u16,
        owner: SocketOwner::Application as u16,
        direction: PortDirection::Outbound as u16,
        ..WatchedSocket::default()
    };
    follow(context, watched);
    tell(&told(context, &watched, EventKind::Connect, EventReason::None));
}

/// A connection of the agent has its port. Its end is always watched.
#[inline(always)]
pub(crate) fn dials(context: &SockOpsContext, owner: SocketOwner) {
    let direction = match owner {
        SocketOwner::AgentToApplication => PortDirection::Inbound,
        SocketOwner::Agent | SocketOwner::Application => PortDirection::Outbound,
    };
    let watched = WatchedSocket {
        began: now(),
        server: remote_address(context),
        server_port: remote_port(context),
        owner: owner as u16,
        direction: direction as u16,
        ..WatchedSocket::default()
    };
    watch(socket_of(context), watched);
}

/// Any other connection has its port: it is one that bypasses the agent, or nobody's business.
#[inline(always)]
pub(crate) fn bypasses(context: &SockOpsContext) {
    let Some(mut watched) = socket::stored(&maps::WATCHED, socket_of(context)) else { return };
    watched.began = now();
    follow(context, watched);
    tell(&ConnectionEvent {
        reason: watched.bypass,
        ..told(context, &watched, EventKind::Bypassed, EventReason::None)
    });
}

/// A connection was accepted: the end of one that bypasses the agent is told. That it began is told where it came in.
#[inline(always)]
pub(crate) fn accepted(context: &SockOpsContext) {
    let netns = socket::netns_cookie(context);
    if maps::PODS.get_ptr(netns).is_none() {
        return;
    }
    let key = PortKey::new(netns, PortDirection::Inbound, local_port(context));
    if !maps::is_excluded_port(&key) {
        return;
    }
    follow(
        context,
        WatchedSocket {
            began: now(),
            server: local_address(context),
            server_port: local_port(context),
            owner: SocketOwner::Application as u16,
            direction: PortDirection::Inbound as u16,
            ..WatchedSocket::default()
        },
    );
}

/// A watched socket came into another state.
#[inline(always)]
pub(crate) fn state_changed(context: &SockOpsContext) {
    let own = socket_of(context);
    let Some(mut watched) = socket::stored(&maps::WATCHED, own) else { return };
    let (before, after) = (context.arg(0), context.arg(1));
    if after == tcp_state::FIN_WAIT2 {
        watched.received_before = read_field!(context.ops, bytes_received);
        watch(own, watched);
    }
    if after != tcp_state::CLOSE {
        return;
    }
    // The socket may be used for another connection.
    socket::forget(&maps::WATCHED, own);
    if before == tcp_state::SYN_SENT {
        return tell(&told(context, &watched, EventKind::Refused, EventReason::NotEstablished));
    }
    let is_client = is_client(&watched);
    let closing = closing(context, before, is_client, watched.received_before);
    let reason = if closing.is_reset() { EventReason::Reset } else { EventReason::None };
    let (sent, received) = match is_client {
        true => (closing.sent(), closing.received()),
        false => (closing.received(), closing.sent()),
    };
    let event = told(context, &watched, EventKind::Closed, reason);
    tell(&ConnectionEvent {
        lasted: event.time - watched.began,
        sent,
        received,
        // The kernel keeps eight times the value.
        rtt_us: read_field!(context.ops, srtt_us) >> 3,
        retransmits: read_field!(context.ops, total_retrans),
        ..event
    });
}

/// How a socket closes that was in this state before: its kernel's own counts.
#[inline(always)]
pub(crate) fn closing(context: &SockOpsContext, state: u32, connected: bool, received_before: u64) -> Closing {
    Closing {
        state,
        connected,
        acknowledged: read_field!(context.ops, bytes_acked),
        outstanding: read_field!(context.ops, snd_nxt).wrapping_sub(read_field!(context.ops, snd_una)),
        received: read_field!(context.ops, bytes_received),
        received_before,
    }
}

/// Has the kernel call `flows` when the socket comes into another state.
#[inline(always)]
fn follow(context: &SockOpsContext, watched: WatchedSocket) {
    let flags = context.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG;
    if watch(socket_of(context), watched) && context.set_cb_flags(flags as i32).is_err() {
        maps::count_lost();
    }
}

/// Whether it is the end that connected.
#[inline(always)]
fn is_client(watched: &WatchedSocket) -> bool {
    watched.direction == PortDirection::Outbound as u16 || watched.owner != SocketOwner::Application as u16
}

#[inline(always)]
fn told(context: &SockOpsContext, watched: &WatchedSocket, kind: EventKind, reason: EventReason) -> ConnectionEvent {
    let (client, client_port) = match is_client(watched) {
        true => (local_address(context), local_port(context)),
        false => (remote_address(context), remote_port(context)),
    };
    ConnectionEvent {
        time: now(),
        netns: socket::netns_cookie(context),
        client,
        client_port,
        server: watched.server,
        server_port: watched.server_port,
        kind: kind as u16,
        reason: reason as u16,
        owner: watched.owner,
        direction: watched.direction,
        ..ConnectionEvent::default()
    }
}
