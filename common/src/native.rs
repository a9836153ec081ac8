//! Native connections: those that the kernel carries by itself, from an application to where it dialled, since the agent
//! has decided before that it would carry them all the same.
//!
//! A [`Verdict`] says so of a pod, an address and a port, for one generation of what is decided on; with any other it is
//! as good as none. connect() goes by it ([`Verdict::takes`]), the connection is entered with its exact addresses and ports
//! when the kernel has chosen them, and its SYN passes the pod's wire and the socket look-up of the destination only as that
//! entry and only while the generation is still the one in force ([`NativeConnection::leaves`],
//! [`NativeConnection::arrives`]). A connection to a pod that was not seen to arrive there is none.
//!
//! Deliberately not here: who may. That is the agent's to decide, and nothing here reads a policy.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Address, ConnectionTuple, connection_event::named, layout::layout};

/// In the place of a pod's cookie: the destination is no pod of the mesh.
pub const OUTSIDE: u64 = 0;

/// Connections that are entered at most. A node of a hundred pods seldom has a third of it.
pub const MOST_NATIVE: usize = 32768;

/// Places that are kept for connections that have passed connect() and are not entered yet.
const ROOM_ON_THE_WAY: u64 = 1024;

layout! {
    /// Key of `VERDICTS`: who dials, and what.
    pub struct VerdictKey {
        /// Cookie of the pod's network namespace.
        pub netns: u64,
        /// Destination address.
        pub address: Address,
        /// Destination port.
        pub port: u32,
        /// Always 0.
        pub reserved: u32,
    }
}

layout! {
    /// Value of `VERDICTS`: it may be carried natively.
    pub struct Verdict {
        /// The generation that it was decided on. Never 0.
        pub generation: u64,
        /// Cookie of the pod that it was decided for as the destination, or [`OUTSIDE`].
        pub destination: u64,
        /// The address of the dialling pod that it was decided for.
        pub client: Address,
    }
}

layout! {
    /// Value of `NATIVE_SOCKETS`, on the application's socket from connect() on. It stays there after the end of the connection,
    /// as [`NativeSocket::default`].
    pub struct NativeSocket {
        /// The verdict that it goes by.
        pub verdict: Verdict,
        /// When it was entered, in nanoseconds of `CLOCK_MONOTONIC`.
        pub began: u64,
        /// Bytes received when the other end had acknowledged that this one sends no more.
        pub received_before: u64,
    }
}

impl NativeSocket {
    /// Whether no connection goes by it any more: no verdict has generation 0, which is what an ended connection leaves there.
    #[inline(always)]
    pub const fn has_ended(&self) -> bool {
        self.verdict.generation == 0
    }
}

layout! {
    /// Value of `NATIVE_CONNECTIONS`, by the dialling pod and the exact addresses and ports.
    pub struct NativeConnection {
        /// Cookie of the destination's network namespace, or [`OUTSIDE`].
        pub destination: u64,
        /// The generation on which it may be opened.
        pub generation: u64,
        /// When it was entered, in nanoseconds of `CLOCK_MONOTONIC`.
        pub began: u64,
        /// A [`NativeStage`].
        pub stage: u32,
        /// Always 0.
        pub reserved: u32,
    }
}

layout! {
    /// What happened to a native connection, as it is in the ring buffer `NATIVE_EVENTS`.
    pub struct NativeEvent {
        /// When, in nanoseconds of `CLOCK_MONOTONIC`.
        pub time: u64,
        /// Cookie of the dialling pod's network namespace.
        pub source: u64,
        /// Cookie of the destination's, or [`OUTSIDE`].
        pub destination: u64,
        /// The generation that its verdict was decided on.
        pub generation: u64,
        /// How long it lasted, in nanoseconds.
        pub lasted: u64,
        /// Bytes from client to server.
        pub sent: u64,
        /// Bytes from server to client.
        pub received: u64,
        /// Both ends.
        pub tuple: ConnectionTuple,
        /// Smoothed round trip time, in microseconds.
        pub rtt_us: u32,
        /// Segments that were sent again.
        pub retransmits: u32,
        /// A [`NativeOutcome`].
        pub outcome: u16,
        /// Always 0.
        pub reserved: u16,
    }
}

/// How far a native connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum NativeStage {
    /// Its SYN is on the way.
    Opening = 0,
    /// Its SYN was let in at the pod that it was decided for.
    Arrived = 1,
    /// It is established. Nothing opens by this entry any more.
    Open = 2,
}

named! {
    /// What an event about a native connection says.
    NativeOutcome {
        /// It was open, and both ends took leave.
        Closed = 0 "closed",
        /// It was open, and broken off.
        Reset = 1 "reset",
        /// Nobody answered, or nobody listens.
        NotEstablished = 2 "not_established",
        /// Its SYN is held up: what it was decided on is not in force any more. Somebody has to decide again.
        Stale = 3 "stale",
        /// Somebody answered who is not the pod that it was decided for. It is cut off, and has to be ended.
        Astray = 4 "astray",
        /// The kernel chose another source address than it was decided for. It is cut off, and has to be ended.
        OtherAddress = 5 "other_address",
        /// There was no room to enter it. It is cut off, and has to be ended.
        NoRoom = 6 "no_room",
    }
}

/// Index in `NATIVE_STATE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum NativeState {
    /// The generation in force. It never goes back.
    Generation = 0,
    /// Entries in `NATIVE_CONNECTIONS`.
    Entered = 1,
}

impl NativeState {
    /// How many there are.
    pub const COUNT: usize = 2;
}

/// What becomes of the SYN of an entered connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NativeSyn {
    /// It goes on.
    Passes,
    /// It does not, until it was decided again.
    IsStale,
    /// It is none of that connection, which is open already: it is judged as any other.
    IsAnother,
}

impl VerdictKey {
    /// The key of what a pod dials.
    #[inline(always)]
    pub const fn new(netns: u64, address: Address, port: u16) -> Self {
        Self { netns, address, port: port as u32, reserved: 0 }
    }
}

impl Verdict {
    /// Whether a connect() goes by it, of a socket that is bound to this address, or to none (`::`).
    #[inline(always)]
    pub fn takes(&self, generation: u64, bound: &Address) -> bool {
        self.generation == generation && (bound.is_unspecified() || *bound == self.client)
    }

    /// Whether it may leave from the address that the kernel has chosen, which an enrolled pod has, or none: the pod's own
    /// that it was decided for. Where no policy decides it may have others, but never another pod's.
    #[inline(always)]
    pub fn leaves_from(&self, source: u64, address: &Address, owner: Option<u64>) -> bool {
        match self.destination {
            OUTSIDE => owner.is_none() || owner == Some(source),
            _ => *address == self.client && owner == Some(source),
        }
    }
}

/// Whether there is room for one more, with so many entered.
#[inline(always)]
pub const fn native_has_room(entered: u64) -> bool {
    entered < MOST_NATIVE as u64 - ROOM_ON_THE_WAY
}

impl NativeConnection {
    /// One that is about to send its SYN.
    #[inline(always)]
    pub const fn opening(verdict: &Verdict, began: u64) -> Self {
        let stage = NativeStage::Opening as u32;
        Self { destination: verdict.destination, generation: verdict.generation, began, stage, reserved: 0 }
    }

    /// Its SYN, on the wire of the dialling pod.
    #[inline(always)]
    pub const fn leaves(&self, generation: u64) -> NativeSyn {
        if self.stage == NativeStage::Open as u32 {
            return NativeSyn::IsAnother;
        }
        if self.generation == generation { NativeSyn::Passes } else { NativeSyn::IsStale }
    }

    /// Its SYN, in the network namespace of a pod.
    #[inline(always)]
    pub const fn arrives(&self, netns: u64, generation: u64) -> NativeSyn {
        match self.leaves(generation) {
            // Another pod has the address by now.
            NativeSyn::Passes if self.destination != netns => NativeSyn::IsStale,
            syn => syn,
        }
    }

    /// Whether it is established where it was to be, now that somebody has answered.
    #[inline(always)]
    pub const fn is_well_placed(&self) -> bool {
        self.destination == OUTSIDE || self.stage == NativeStage::Arrived as u32
    }
}

#[cfg(test)]
#[path = "native_tests.rs"]
mod tests;
