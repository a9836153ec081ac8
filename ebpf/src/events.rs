//! Tells the agent about single connections, while somebody listens there: each caller asks [`wanted`] first, which is one
//! read of a map.
//!
//! What is told at the end of a socket it carries in `WATCHED` from its beginning, so connections that were open before
//! somebody listened end without a word.

use aya_ebpf::{bindings::bpf_sock, helpers::generated::bpf_ktime_get_ns};
use heddle_common::{
    Address, ConnectionEvent, EventKind, EventReason, KernelEvent, PortDirection, SocketOwner, Switch, WatchedSocket,
};

use crate::{maps, socket};

/// Whether somebody listens.
#[inline(always)]
pub(crate) fn wanted() -> bool {
    maps::switch(Switch::Events) != 0
}

/// The kernel's monotonic clock.
#[inline(always)]
#[expect(unsafe_code, reason = "a helper call")]
pub(crate) fn now() -> u64 {
    // SAFETY: takes nothing.
    unsafe { bpf_ktime_get_ns() }
}

/// Puts an event into the ring, or counts it as lost.
#[inline(always)]
pub(crate) fn tell(event: &ConnectionEvent) {
    if maps::CONNECTION_EVENTS.output(event, 0).is_err() {
        maps::count_lost();
    }
}

/// What happened to a connection that has no socket yet, or will have none.
#[inline(always)]
pub(crate) fn tell_of(kind: EventKind, reason: EventReason, direction: PortDirection, netns: u64, ends: &Ends) {
    tell(&ConnectionEvent {
        time: now(),
        netns,
        client: ends.client,
        server: ends.server,
        client_port: ends.client_port,
        server_port: ends.server_port,
        kind: kind as u16,
        reason: reason as u16,
        owner: SocketOwner::Application as u16,
        direction: direction as u16,
        ..ConnectionEvent::default()
    });
}

/// Both ends of a connection, as far as they are known.
pub(crate) struct Ends {
    pub(crate) client: Address,
    pub(crate) client_port: u16,
    pub(crate) server: Address,
    pub(crate) server_port: u16,
}

/// Has the end of a socket told. Without memory for that it ends untold, and is counted as lost.
#[inline(always)]
pub(crate) fn watch(own: *mut bpf_sock, watched: WatchedSocket) -> bool {
    let kept = socket::store(&maps::WATCHED, own, watched);
    if !kept {
        maps::count_lost();
    }
    kept
}

/// Why a connection bypasses the agent, for those that are told.
#[inline(always)]
pub(crate) fn bypass_reason(event: KernelEvent) -> Option<EventReason> {
    match event {
        KernelEvent::OutboundExcludedPort | KernelEvent::InboundExcludedPort => Some(EventReason::ExcludedPort),
        KernelEvent::OutboundExcludedNetwork => Some(EventReason::ExcludedNetwork),
        KernelEvent::OutboundNative => Some(EventReason::Native),
        KernelEvent::InboundKubeletProbe => Some(EventReason::KubeletProbe),
        _ => None,
    }
}
