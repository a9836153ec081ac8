//! The tables that the kernel programs share with each other and with the agent. They are pinned, but for the last four,
//! which live with the programs of one agent.

use aya_ebpf::{
    btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf, SkStorage, SockHash, lpm_trie::Key},
    macros::btf_map,
};
use heddle_common::{
    Address, ConnectionEvent, ConnectionTuple, DialKey, FlowKey, KernelEvent, ListenerKey, NetworkKey, OriginalDst,
    Pod, PortKey, Switch, WatchedSocket,
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
