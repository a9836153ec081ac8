//! The tables that the kernel programs share with each other and with the agent. They are pinned, but for the last four,
//! which live with the programs of one agent.

use core::arch::asm;

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf, SkStorage, SockHash, lpm_trie::Key},
    macros::btf_map,
};
use heddle_common::{
    Address, ConnectionEvent, ConnectionTuple, DialKey, FlowKey, KernelEvent, KubeletState, ListenerKey, MOST_NATIVE,
    NativeConnection, NativeEvent, NativeSocket, NativeState, NetworkKey, OriginalDst, Pod, PortKey, Switch, Verdict,
    VerdictKey, WatchedSocket,
};

/// Enrolled pods by the cookie of their network namespace. A node runs 110 pods by default, seldom over 500.
#[btf_map]
pub(crate) static PODS: HashMap<u64, Pod, 4096> = HashMap::new();

/// Cookie of the namespace of the enrolled pod that has an address: socket look-ups know no cookie.
#[btf_map]
pub(crate) static POD_ADDRESSES: HashMap<Address, u64, 16384> = HashMap::new();

/// Ports that stay out of the mesh.
#[btf_map]
pub(crate) static EXCLUDED_PORTS: HashMap<PortKey, u32, 65536> = HashMap::new();

/// Networks that stay out of the mesh. 1 is `BPF_F_NO_PREALLOC`, which this kind of map requires.
#[btf_map]
pub(crate) static EXCLUDED_NETWORKS: LpmTrie<NetworkKey, u32, 16384> = LpmTrie::new();

/// The agent's listening sockets.
#[btf_map]
pub(crate) static LISTENERS: SockHash<ListenerKey, 8192> = SockHash::new();

/// The agent's own sockets, each with an `AgentSocket`.
#[btf_map]
pub(crate) static AGENT_SOCKETS: SkStorage<u32> = SkStorage::new();

/// On an application's captured socket: where it was going.
#[btf_map]
pub(crate) static CAPTURED: SkStorage<OriginalDst> = SkStorage::new();

/// On the socket that the agent accepted for a captured one: where that was going. A map of its own, since accept(2)
/// asks for the peer's name, and `peername` answers that of a socket in [`CAPTURED`].
#[btf_map]
pub(crate) static ACCEPTED: SkStorage<OriginalDst> = SkStorage::new();

/// Captured connections between connect() and accept(). An entry lives for one loopback handshake; those whose
/// handshake failed are evicted by age.
#[btf_map]
pub(crate) static FLOWS: LruHashMap<FlowKey, OriginalDst, 16384> = LruHashMap::new();

/// Connections that the agent is opening to applications, between connect() and the end of the handshake.
#[btf_map]
pub(crate) static APPLICATION_DIALS: HashMap<ConnectionTuple, u32, 16384> = HashMap::new();

/// Connections that the agent is opening from pods to elsewhere, between connect() and the end of the handshake. A pod that
/// calls many who do not answer drives out the oldest, of which only the further tries are lost.
#[btf_map]
pub(crate) static AGENT_DIALS: LruHashMap<DialKey, u32, 16384> = LruHashMap::new();

/// Cookie of the namespace of the enrolled pod that is at the other end of a network device of the node.
#[btf_map]
pub(crate) static WIRES: HashMap<u32, u64, 8192> = HashMap::new();

/// What goes natively, as the agent has decided. The least used make room for new ones: then the agent is asked again.
#[btf_map]
pub(crate) static VERDICTS: LruHashMap<VerdictKey, Verdict, 16384> = LruHashMap::new();

/// The generation in force, and how many native connections are entered: each at its place in `NativeState`.
#[btf_map]
pub(crate) static NATIVE_STATE: Array<u64, { NativeState::COUNT }> = Array::new();

/// On an application's socket that goes natively: by which verdict.
#[btf_map]
pub(crate) static NATIVE_SOCKETS: SkStorage<NativeSocket> = SkStorage::new();

/// Native connections, from their SYN to their end.
#[btf_map]
pub(crate) static NATIVE_CONNECTIONS: HashMap<DialKey, NativeConnection, MOST_NATIVE> = HashMap::new();

/// Their ends, and what the agent has to decide over. 1 MiB are 9,300 of them, for an agent that is busy or being started
/// anew; a full ring loses the newest.
#[btf_map]
pub(crate) static NATIVE_EVENTS: RingBuf<NativeEvent, 1048576> = RingBuf::new();

/// How many of these the ring had no room for.
#[btf_map]
pub(crate) static NATIVE_LOST: PerCpuArray<u64, 1> = PerCpuArray::new();

/// What is known of the node's kubelet, each at its place in `KubeletState`.
#[btf_map]
pub(crate) static KUBELET: Array<u64, { KubeletState::COUNT }> = Array::new();

/// Ports that enrolled pods declare for their probes.
#[btf_map]
pub(crate) static PROBED_PORTS: HashMap<PortKey, u32, 16384> = HashMap::new();

/// On a socket of the kubelet that probes a pod: where.
#[btf_map]
pub(crate) static PROBING: SkStorage<OriginalDst> = SkStorage::new();

/// Probes that the kubelet is opening, between connect() and the end of the handshake. It has a few under way at a time.
#[btf_map]
pub(crate) static PROBES: HashMap<ConnectionTuple, u32, 4096> = HashMap::new();

/// One counter for each `KernelEvent`.
#[btf_map]
pub(crate) static EVENTS: PerCpuArray<u64, { KernelEvent::ALL.len() }> = PerCpuArray::new();

/// What the agent turns on and off while the programs run, each at its place in `Switch`.
#[btf_map]
pub(crate) static SWITCHES: Array<u32, { Switch::COUNT }> = Array::new();

/// Events of connections, while somebody listens. 256 KiB are 2,520 of them; a full ring loses the newest.
#[btf_map]
pub(crate) static CONNECTION_EVENTS: RingBuf<ConnectionEvent, 262144> = RingBuf::new();

/// How many the ring had no room for.
#[btf_map]
pub(crate) static LOST_EVENTS: PerCpuArray<u64, 1> = PerCpuArray::new();

/// On a socket whose end is to be told.
#[btf_map]
pub(crate) static WATCHED: SkStorage<WatchedSocket> = SkStorage::new();

/// The value of a switch.
#[inline(always)]
pub(crate) fn switch(switch: Switch) -> u32 {
    SWITCHES.get(switch as u32).copied().unwrap_or(0)
}

/// Counts an event.
#[inline(always)]
pub(crate) fn count(event: KernelEvent) {
    increment(EVENTS.get_ptr_mut(event as u32));
}

/// A number about native connections.
#[inline(always)]
#[expect(unsafe_code, reason = "a map value is reached by pointer")]
pub(crate) fn native_state(state: NativeState) -> u64 {
    // SAFETY: a valid place in a map, read at once.
    NATIVE_STATE.get_ptr_mut(state as u32).map_or(0, |place| unsafe { core::ptr::read_volatile(place) })
}

/// Enters a native connection that is about to be opened; false if there is no room, or another with these ends.
#[inline(always)]
pub(crate) fn enter_native(key: DialKey, native: NativeConnection) -> bool {
    let is_new = NATIVE_CONNECTIONS.insert(key, native, u64::from(BPF_NOEXIST)).is_ok();
    if is_new {
        change_entered(1);
    }
    is_new
}

/// Takes a native connection out.
#[inline(always)]
pub(crate) fn leave_native(key: DialKey) {
    if NATIVE_CONNECTIONS.remove(key).is_ok() {
        change_entered(u64::MAX);
    }
}

/// Modulo 2^64. Programs on all CPUs do so at the same time: `core` has no atomic addition for this target, the machine has.
#[inline(always)]
fn change_entered(by: u64) {
    if let Some(place) = NATIVE_STATE.get_ptr_mut(NativeState::Entered as u32) {
        #[expect(unsafe_code, reason = "a map value is reached by pointer")]
        // SAFETY: a valid, aligned place in a map, which is added to.
        unsafe {
            asm!("lock *(u64 *)({place} + 0) += {by}", place = in(reg) place, by = in(reg) by, options(nostack));
        }
    }
}

/// The native connection with these ends from this namespace.
#[inline(always)]
#[expect(unsafe_code, reason = "map look-ups are unsafe in aya-ebpf")]
pub(crate) fn native(netns: u64, tuple: &ConnectionTuple) -> Option<NativeConnection> {
    // SAFETY: words are read one by one; of those only the stage is ever changed in place.
    unsafe { NATIVE_CONNECTIONS.get(DialKey::new(netns, *tuple)) }.copied()
}

/// Counts an event of a native connection that was lost.
#[inline(always)]
pub(crate) fn count_native_lost() {
    increment(NATIVE_LOST.get_ptr_mut(0));
}

/// Counts an event of a connection that was lost.
#[inline(always)]
pub(crate) fn count_lost() {
    increment(LOST_EVENTS.get_ptr_mut(0));
}

#[inline(always)]
fn increment(counter: Option<*mut u64>) {
    if let Some(counter) = counter {
        #[expect(unsafe_code, reason = "a map value is reached by pointer")]
        // SAFETY: the value belongs to this CPU and programs of one CPU do not interleave on it.
        unsafe {
            *counter += 1;
        }
    }
}

/// Whether a port of a pod stays out of the mesh.
#[inline(always)]
pub(crate) fn is_excluded_port(key: &PortKey) -> bool {
    EXCLUDED_PORTS.get_ptr(key).is_some()
}

/// Whether a network stays out of the mesh for a pod. The key has the address whole.
#[inline(always)]
pub(crate) fn is_excluded_network(key: &NetworkKey) -> bool {
    EXCLUDED_NETWORKS.get(&Key::new(NetworkKey::NETNS_BITS + 128, *key)).is_some()
}
