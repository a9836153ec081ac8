//! What the agent and its kernel programs share: the layouts of the maps, and the decisions that the kernel makes.
//!
//! The decisions are pure functions over small traits, so that they are unit- and property-tested on the host;
//! the kernel programs only gather their inputs and carry out the answer. `no_std`, no allocation, no loops
//! whose bound the verifier could not see.

#![no_std]

#[cfg(test)]
extern crate std;

mod address;
mod connection_event;
mod event;
mod inbound;
mod layout;
mod native;
mod outbound;
mod packet;
mod probe;
mod wire;

pub use address::Address;
pub use connection_event::{
    Closing, ConnectionEvent, EventKind, EventReason, SocketOwner, Switch, WatchedSocket, tcp_state,
};
pub use event::KernelEvent;
pub use inbound::{Inbound, InboundConnection, InboundTables, decide_inbound};
pub use layout::{
    AgentSocket, ConnectionTuple, DialKey, FlowKey, LAYOUT_VERSION, ListenerKey, ListenerKind, MAX_POD_ADDRESSES,
    NetworkKey, OriginalDst, Pod, PortDirection, PortKey,
};
pub use native::{
    MOST_NATIVE, NativeConnection, NativeEvent, NativeOutcome, NativeSocket, NativeStage, NativeState, NativeSyn,
    OUTSIDE, Verdict, VerdictKey, native_has_room,
};
pub use outbound::{Connect, Outbound, OutboundTables, decide_outbound};
pub use packet::{Packet, Read, read_ipv4, read_ipv6};
pub use probe::{DEEPEST_CGROUP, KubeletState, ProbeTables, is_probe};
pub use wire::{Wire, WireTables, decide_wire};

/// Port of the agent's listener for captured outbound connections, on the pod's loopback.
pub const OUTBOUND_PORT: u16 = 15001;
/// Port of the agent's listener for inbound plaintext, in the pod's network namespace.
pub const INBOUND_PORT: u16 = 15006;
/// Port of HBONE tunnels, in the pod's network namespace. Istio's number, so that ztunnel reaches us.
pub const HBONE_PORT: u16 = 15008;
