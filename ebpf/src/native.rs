//! Native connections, as `common/src/native.rs` decides over them: entered with their ends before the SYN leaves, followed
//! until they close, and cut off where they must not be.
//!
//! The entry is the truth about a connection, for the programs and for the agent alike. What is told by the ring is that one
//! ended, or that it has to be decided over again; what the ring has no room for is counted.

use aya_ebpf::{
    bindings::{BPF_SOCK_OPS_STATE_CB_FLAG, bpf_sock},
    helpers::generated::{bpf_map_lookup_elem, bpf_sk_release},
    programs::SockOpsContext,
};
use heddle_common::{
    Address, ConnectionTuple, DialKey, KernelEvent, ListenerKey, ListenerKind, NativeConnection, NativeEvent,
    NativeOutcome, NativeSocket, NativeStage, NativeState, Verdict, VerdictKey, native_has_room, tcp_state,
};

use crate::{
    context::read_field,
    endings::closing,
    events::now,
    flows::{dial_key, local_address, socket_of},
    maps,
    socket::{self, Carried},
};

/// The verdict on what a pod dials, of whatever generation.
#[inline(always)]
#[expect(unsafe_code, reason = "map look-ups are unsafe in aya-ebpf")]
pub(crate) fn verdict(key: &VerdictKey) -> Option<Verdict> {
    // SAFETY: entries are replaced whole. One that is reused while it is read has parts of two verdicts, of which a connection
    // takes nothing but the generation, the destination and an address that it must have all the same.
    unsafe { maps::VERDICTS.get(key) }.copied()
}

/// The generation in force.
#[inline(always)]
pub(crate) fn generation() -> u64 {
    maps::native_state(NativeState::Generation)
}

/// Whether one more can be entered.
#[inline(always)]
pub(crate) fn has_room() -> bool {
    native_has_room(maps::native_state(NativeState::Entered))
}

/// Whether the agent listens in a pod's namespace. The kernel takes a listener out of the map in the moment in which the last
/// process that has it ends. One that a process of the pod has destroyed stays there until then, and listens no more.
#[inline(always)]
#[expect(unsafe_code, reason = "helper calls")]
pub(crate) fn agent_serves(netns: u64) -> bool {
    let key = ListenerKey::new(netns, ListenerKind::Plaintext);
    // SAFETY: a map and a key of its type.
    let listener = unsafe { bpf_map_lookup_elem(socket::map_pointer(&maps::LISTENERS), (&raw const key).cast()) };
    if listener.is_null() {
        return false;
    }
    // SAFETY: the kernel's view of a socket, to which the look-up has taken a reference, which is given back once.
    let state = unsafe {
        let state = (&raw const (*listener.cast::<bpf_sock>()).state).read_volatile();
        bpf_sk_release(listener);
        state
    };
    state == tcp_state::LISTEN
}

/// Puts the verdict on a socket that goes by it; false when there is no memory.
#[inline(always)]
pub(crate) fn keep(own: *mut bpf_sock, verdict: Verdict) -> bool {
    socket::store(&maps::NATIVE_SOCKETS, own, NativeSocket { verdict, ..NativeSocket::default() })
}

/// What the socket of a native connection carries.
#[inline(always)]
fn carried(context: &SockOpsContext) -> Option<(Carried<NativeSocket>, NativeSocket)> {
    let carried = socket::carried(&maps::NATIVE_SOCKETS, socket_of(context))?;
    let native = carried.get();
    (!native.has_ended()).then_some((carried, native))
}

/// The kernel has chosen address and port, the SYN is not sent yet. Whether it is that of a native connection.
#[inline(always)]
pub(crate) fn connecting(context: &SockOpsContext) -> bool {
    let Some((carried, mut native)) = carried(context) else { return false };
    native.began = now();
    if let Err(outcome) = enter(context, &native) {
        // What has no entry has no end to be told.
        carried.set(NativeSocket::default());
        cut_off(context, &native, outcome);
        return true;
    }
    carried.set(native);
    true
}

#[inline(always)]
fn enter(context: &SockOpsContext, native: &NativeSocket) -> Result<(), NativeOutcome> {
    let (key, local) = (dial_key(context), local_address(context));
    if !native.verdict.leaves_from(key.netns, &local, owner_of(&local)) {
        return Err(NativeOutcome::OtherAddress);
    }
    let flags = context.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG;
    let is_followed = context.set_cb_flags(flags as i32).is_ok();
    match is_followed && maps::enter_native(key, NativeConnection::opening(&native.verdict, native.began)) {
        true => Ok(()),
        false => Err(NativeOutcome::NoRoom),
    }
}

/// Somebody has answered. Whether it is a native connection.
#[inline(always)]
pub(crate) fn established(context: &SockOpsContext) -> bool {
    let Some((_, native)) = carried(context) else { return false };
    let key = dial_key(context);
    match maps::native(key.netns, &key.tuple) {
        Some(entered) if entered.is_well_placed() => set_stage(key, NativeStage::Open),
        _ => cut_off(context, &native, NativeOutcome::Astray),
    }
    true
}

/// The SYN of an entered connection is let in at its pod.
#[inline(always)]
pub(crate) fn arrived(source: u64, tuple: ConnectionTuple) {
    set_stage(DialKey::new(source, tuple), NativeStage::Arrived);
}

/// The SYN of an entered connection is held up.
#[inline(always)]
pub(crate) fn is_held_up(source: u64, tuple: ConnectionTuple) {
    tell(&NativeEvent { source, tuple, ..event(&NativeSocket::default(), NativeOutcome::Stale) });
}

/// A socket has closed, or its end was acknowledged. Whether it is that of a native connection.
#[inline(always)]
pub(crate) fn state_changed(context: &SockOpsContext) -> bool {
    let Some((carried, native)) = carried(context) else { return false };
    if context.arg(1) == tcp_state::CLOSE {
        // The socket may be used for another connection. To take the value off costs more than to leave it there.
        carried.set(NativeSocket::default());
        ended(context, &native, context.arg(0));
    } else {
        carried.set(NativeSocket { received_before: read_field!(context.ops, bytes_received), ..native });
    }
    true
}

#[inline(always)]
fn ended(context: &SockOpsContext, native: &NativeSocket, state: u32) {
    let DialKey { netns, tuple, .. } = dial_key(context);
    maps::leave_native(DialKey::new(netns, tuple));
    let closing = closing(context, state, true, native.received_before);
    let outcome = match state {
        tcp_state::SYN_SENT => NativeOutcome::NotEstablished,
        _ if closing.is_reset() => NativeOutcome::Reset,
        _ => NativeOutcome::Closed,
    };
    let event = event(native, outcome);
    tell(&NativeEvent {
        source: netns,
        tuple,
        lasted: event.time - native.began,
        sent: closing.sent(),
        received: closing.received(),
        // The kernel keeps eight times the value.
        rtt_us: read_field!(context.ops, srtt_us) >> 3,
        retransmits: read_field!(context.ops, total_retrans),
        ..event
    });
}

/// Nothing of this connection leaves its namespace any more, whatever its application sends; the agent is told to end it.
#[inline(always)]
fn cut_off(context: &SockOpsContext, native: &NativeSocket, outcome: NativeOutcome) {
    socket::cut_off(context);
    maps::count(KernelEvent::NativeCutOff);
    let DialKey { netns, tuple, .. } = dial_key(context);
    tell(&NativeEvent { source: netns, tuple, ..event(native, outcome) });
}

#[inline(always)]
fn event(native: &NativeSocket, outcome: NativeOutcome) -> NativeEvent {
    NativeEvent {
        time: now(),
        destination: native.verdict.destination,
        generation: native.verdict.generation,
        outcome: outcome as u16,
        ..NativeEvent::default()
    }
}

#[inline(always)]
fn tell(event: &NativeEvent) {
    if maps::NATIVE_EVENTS.output(event, 0).is_err() {
        maps::count_native_lost();
    }
}

#[inline(always)]
fn set_stage(key: DialKey, stage: NativeStage) {
    if let Some(place) = maps::NATIVE_CONNECTIONS.get_ptr_mut(key) {
        #[expect(unsafe_code, reason = "a map value is reached by pointer")]
        // SAFETY: a valid place in the map; the stage is one word, written at once.
        unsafe {
            (&raw mut (*place).stage).write_volatile(stage as u32);
        }
    }
}

/// Cookie of the enrolled pod that has an address.
#[inline(always)]
#[expect(unsafe_code, reason = "map look-ups are unsafe in aya-ebpf")]
fn owner_of(address: &Address) -> Option<u64> {
    // SAFETY: the value is one word, read at once.
    unsafe { maps::POD_ADDRESSES.get(address) }.copied()
}
