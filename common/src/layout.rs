//! Keys and values of the kernel maps.
//!
//! zerocopy proves that no layout has padding and that any bits are valid, which is what the kernel copies and
//! what `aya::Pod` asks for. Ports are in host byte order. The agent pins the maps under a name that carries
//! [`LAYOUT_VERSION`], so that it never adopts maps of another layout: raise it with every change here.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Address;

/// Version of the maps' layouts, in the name of the folder that they are pinned in.
pub const LAYOUT_VERSION: u32 = 5;

/// Addresses of one pod that the kernel programs know: Kubernetes gives one per family, the rest is room.
pub const MAX_POD_ADDRESSES: usize = 4;

macro_rules! layout {
    ($(#[$doc:meta])* pub struct $name:ident { $($(#[$field_doc:meta])* $visibility:vis $field:ident: $type:ty,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub struct $name {
            $($(#[$field_doc])* $visibility $field: $type,)+
        }

        #[cfg(feature = "user")]
        #[expect(unsafe_code, reason = "aya takes map keys and values only of types that promise what zerocopy proved")]
        // SAFETY: IntoBytes and FromBytes prove a layout without padding in which any bits are valid; it is Copy and
        // has no lifetime.
        unsafe impl aya::Pod for $name {}
    };
}

pub(crate) use layout;

layout! {
    /// Value of `PODS`, keyed by the network namespace's cookie: an enrolled pod.
    pub struct Pod {
        /// The pod's own addresses; unused places are `::`.
        pub addresses: [Address; MAX_POD_ADDRESSES],
        /// Whether `EXCLUDED_PORTS` has outbound entries of this pod: 0 or 1. Spares the look-up.
        pub excludes_ports: u32,
        /// Whether `EXCLUDED_NETWORKS` has entries of this pod: 0 or 1. Spares the look-up.
        pub excludes_networks: u32,
    }
}

layout! {
    /// Key of `FLOWS`: the client's end of a captured connection on its way to the agent's listener.
    pub struct FlowKey {
        /// Cookie of the pod's network namespace.
        pub netns: u64,
        /// Source address: one port can be in use on several.
        pub address: Address,
        /// Source port.
        pub port: u32,
        /// Always 0.
        pub reserved: u32,
    }
}

layout! {
    /// Where a captured connection was going.
    pub struct OriginalDst {
        /// Destination address.
        pub address: Address,
        /// Destination port.
        pub port: u32,
    }
}

layout! {
    /// Key of `APPLICATION_DIALS`, a connection that the agent opens to an application with the client's address, and of
    /// `PROBES`, one that the kubelet opens.
    pub struct ConnectionTuple {
        /// The client's address, which the agent borrows.
        pub client: Address,
        /// The application's address.
        pub server: Address,
        /// The client's port.
        pub client_port: u16,
        /// The application's port.
        pub server_port: u16,
    }
}

layout! {
    /// Key of `AGENT_DIALS`, a connection that the agent opens from inside a pod to somewhere else, and of
    /// `NATIVE_CONNECTIONS`, one that the pod's application opens by itself.
    pub struct DialKey {
        /// Cookie of the pod's network namespace.
        pub netns: u64,
        /// Both ends: the agent, or the application, is the client.
        pub tuple: ConnectionTuple,
        /// Always 0.
        pub reserved: u32,
    }
}

layout! {
    /// Key of `EXCLUDED_PORTS`, a TCP port that stays out of the mesh, and of `PROBED_PORTS`, one that the kubelet probes.
    pub struct PortKey {
        /// Cookie of the pod's network namespace.
        pub netns: u64,
        /// Port number.
        pub port: u16,
        /// A [`PortDirection`].
        pub direction: u16,
        /// Always 0.
        pub reserved: u32,
    }
}

layout! {
    /// Key of `EXCLUDED_NETWORKS`, a longest-prefix-match table: the namespace's 64 bits, then the network's.
    pub struct NetworkKey {
        /// Cookie of the pod's network namespace, as two words: the table compares bytes in memory order.
        pub netns: [u32; 2],
        /// Network address.
        pub address: Address,
    }
}

layout! {
    /// Key of `LISTENERS`: one of the agent's listening sockets in a pod's network namespace.
    pub struct ListenerKey {
        /// Cookie of the pod's network namespace.
        pub netns: u64,
        /// A [`ListenerKind`].
        pub kind: u32,
        /// Always 0.
        pub reserved: u32,
    }
}

/// Which side of a connection a [`PortKey`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum PortDirection {
    /// The pod's own port, as peers dial it.
    Inbound = 0,
    /// A remote port that the pod dials.
    Outbound = 1,
}

/// What an agent's listener in a pod's network namespace accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ListenerKind {
    /// Connections that come in without a tunnel.
    Plaintext = 0,
    /// HBONE tunnels.
    Hbone = 1,
    /// Nothing, and without a word: what is held up, which its client sends again.
    Held = 2,
}

/// Value of `AGENT_SOCKETS`, the storage that the agent puts on its own sockets by descriptor before it connects
/// them. A pod can forge a mark, but it cannot put storage on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum AgentSocket {
    /// Dials another pod or something outside: not captured.
    Dial = 1,
    /// Dials the application in the same namespace, with the client's address: passes inbound capture too.
    ToApplication = 2,
}

impl NetworkKey {
    /// Bits of the key before the address.
    pub const NETNS_BITS: u32 = 64;
    /// Bits of the key before the bits of an IPv4 address.
    pub const IPV4_BITS: u32 = Self::NETNS_BITS + 96;

    /// The key of an address or network seen from a namespace.
    #[inline(always)]
    pub const fn new(netns: u64, address: Address) -> Self {
        Self { netns: [(netns >> 32) as u32, netns as u32], address }
    }
}

impl DialKey {
    /// The key of a connection from a namespace.
    #[inline(always)]
    pub const fn new(netns: u64, tuple: ConnectionTuple) -> Self {
        Self { netns, tuple, reserved: 0 }
    }
}

impl FlowKey {
    /// The key of a connection's client end.
    #[inline(always)]
    pub const fn new(netns: u64, address: Address, port: u16) -> Self {
        Self { netns, address, port: port as u32, reserved: 0 }
    }
}

impl OriginalDst {
    /// A destination.
    #[inline(always)]
    pub const fn new(address: Address, port: u16) -> Self {
        Self { address, port: port as u32 }
    }
}

impl PortKey {
    /// The key of a port of a pod.
    #[inline(always)]
    pub const fn new(netns: u64, direction: PortDirection, port: u16) -> Self {
        Self { netns, port, direction: direction as u16, reserved: 0 }
    }
}

impl ListenerKey {
    /// The key of a listener of a pod.
    #[inline(always)]
    pub const fn new(netns: u64, kind: ListenerKind) -> Self {
        Self { netns, kind: kind as u32, reserved: 0 }
    }
}
