//! What the kernel programs tell about single connections while somebody listens, and how the bytes of one that closes are
//! counted.
//!
//! The maps of these layouts are not pinned: they live and end with the programs of one agent.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Address, layout::layout};

layout! {
    /// One event, as it is in the ring buffer `CONNECTION_EVENTS`.
    pub struct ConnectionEvent {
        /// When, in nanoseconds of `CLOCK_MONOTONIC`.
        pub time: u64,
        /// Cookie of the network namespace.
        pub netns: u64,
        /// Of a closed connection: how long it lasted, in nanoseconds.
        pub lasted: u64,
        /// Of a closed connection: bytes from client to server.
        pub sent: u64,
        /// Of a closed connection: bytes from server to client.
        pub received: u64,
        /// The client, or its end that this socket sees.
        pub client: Address,
        /// Where it wanted to go.
        pub server: Address,
        /// The client's port.
        pub client_port: u16,
        /// The port that it wanted to go to.
        pub server_port: u16,
        /// Of a closed connection: smoothed round trip time, in microseconds.
        pub rtt_us: u32,
        /// Of a closed connection: segments that were sent again.
        pub retransmits: u32,
        /// An [`EventKind`].
        pub kind: u16,
        /// An [`EventReason`].
        pub reason: u16,
        /// A [`SocketOwner`].
        pub owner: u16,
        /// A [`PortDirection`](crate::PortDirection), as seen from the pod.
        pub direction: u16,
        /// Always 0.
        pub reserved: u32,
    }
}

layout! {
    /// Value of `WATCHED`, on a socket whose end is to be told.
    pub struct WatchedSocket {
        /// When it began, in nanoseconds of `CLOCK_MONOTONIC`.
        pub began: u64,
        /// Bytes received when the other end had acknowledged that this one sends no more.
        pub received_before: u64,
        /// Where the connection wanted to go.
        pub server: Address,
        /// The port that it wanted to go to.
        pub server_port: u16,
        /// An [`EventReason`]: why it bypasses the agent, if it does.
        pub bypass: u16,
        /// A [`SocketOwner`].
        pub owner: u16,
        /// A [`PortDirection`](crate::PortDirection), as seen from the pod.
        pub direction: u16,
    }
}

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:literal $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        pub enum $name {
            $($(#[$variant_doc])* $variant = $number,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its word in answers and logs.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The one with this number.
            pub fn of(number: u16) -> Option<Self> {
                Self::ALL.iter().copied().find(|each| *each as u16 == number)
            }
        }
    };
}

pub(crate) use named;

named! {
    /// What happened.
    EventKind {
        /// An application's connect() goes to the agent.
        Connect = 0 "connect",
        /// There is no connection.
        Refused = 1 "refused",
        /// A connection of an enrolled pod goes past the agent.
        Bypassed = 2 "bypassed",
        /// A connection ended.
        Closed = 3 "closed",
    }
}

named! {
    /// Why.
    EventReason {
        /// Nothing to say.
        None = 0 "",
        /// The port is excluded.
        ExcludedPort = 1 "excluded_port",
        /// The network is excluded.
        ExcludedNetwork = 2 "excluded_network",
        /// The kernel had no memory for the destination.
        NoMemory = 3 "no_memory",
        /// The agent does not listen there.
        NoListener = 4 "no_listener",
        /// No enrolled pod has the address that was dialled.
        UnknownAddress = 5 "unknown_address",
        /// Nobody listens at the other end, or nobody answered.
        NotEstablished = 6 "not_established",
        /// It left the pod past the capture.
        Escape = 7 "escape",
        /// Its TCP header cannot be read.
        Hidden = 8 "hidden",
        /// It was broken off by a reset, by either end, or by a timeout.
        Reset = 9 "reset",
        /// The kernel carries it by itself, by a verdict of the agent.
        Native = 10 "native",
        /// The kubelet probes a port that the pod declares for that.
        KubeletProbe = 11 "kubelet_probe",
    }
}

named! {
    /// Whose socket an event is about.
    SocketOwner {
        /// An application's.
        Application = 0 "application",
        /// The agent's, to another agent or to something outside the mesh.
        Agent = 1 "agent",
        /// The agent's, to an application of this node.
        AgentToApplication = 2 "agent_to_application",
    }
}

/// Index in `SWITCHES`: what the agent turns on and off while the programs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Switch {
    /// Whether connection events are wanted: 0 or 1.
    Events = 0,
    /// The most talkative level that is logged: 1 (errors) to 5 (trace), 0 for nothing.
    LogLevel = 1,
}

impl Switch {
    /// How many there are.
    pub const COUNT: usize = 2;
}

/// States of a TCP socket: the kernel's `BPF_TCP_*`.
pub mod tcp_state {
    /// Open.
    pub const ESTABLISHED: u32 = 1;
    /// connect() waits for the answer.
    pub const SYN_SENT: u32 = 2;
    /// This end sends no more, the other has not acknowledged that.
    pub const FIN_WAIT1: u32 = 4;
    /// The other end has.
    pub const FIN_WAIT2: u32 = 5;
    /// Closed.
    pub const CLOSE: u32 = 7;
    /// The other end sends no more.
    pub const CLOSE_WAIT: u32 = 8;
    /// Neither end sends more; the other end's acknowledgement is awaited.
    pub const LAST_ACK: u32 = 9;
    /// Waits for connections.
    pub const LISTEN: u32 = 10;
    /// Both ends sent their last at the same time.
    pub const CLOSING: u32 = 11;
}

/// A socket at the moment in which it closes, as the kernel counts: SYN and FIN are a byte each there.
#[derive(Clone, Copy, Debug)]
pub struct Closing {
    /// The state that it leaves, of [`tcp_state`].
    pub state: u32,
    /// Whether its SYN is among what was acknowledged: it is for the end that connected.
    pub connected: bool,
    /// Bytes that the other end has acknowledged.
    pub acknowledged: u64,
    /// Bytes sent that it has not.
    pub outstanding: u32,
    /// Bytes that came from the other end.
    pub received: u64,
    /// The same, when the socket came into FIN_WAIT2.
    pub received_before: u64,
}

impl Closing {
    /// Bytes of the application that the other end has acknowledged.
    #[inline(always)]
    pub const fn sent(&self) -> u64 {
        let fin_sent = matches!(
            self.state,
            tcp_state::FIN_WAIT1 | tcp_state::FIN_WAIT2 | tcp_state::CLOSING | tcp_state::LAST_ACK
        );
        let fin = fin_sent && self.outstanding == 0;
        self.acknowledged.saturating_sub(self.connected as u64 + fin as u64)
    }

    /// Bytes of the application at the other end.
    #[inline(always)]
    pub const fn received(&self) -> u64 {
        let fin = match self.state {
            tcp_state::CLOSE_WAIT | tcp_state::CLOSING | tcp_state::LAST_ACK => true,
            // The kernel leaves this state early where nobody waits for the other end's last byte any more.
            tcp_state::FIN_WAIT2 => self.received > self.received_before,
            _ => false,
        };
        self.received.saturating_sub(fin as u64)
    }

    /// Whether it ended without the usual farewell.
    #[inline(always)]
    pub const fn is_reset(&self) -> bool {
        !matches!(self.state, tcp_state::FIN_WAIT2 | tcp_state::CLOSING | tcp_state::LAST_ACK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syn_and_fin_are_no_bytes_of_the_application() {
        use tcp_state::*;
        let closing = |state, connected, acknowledged, outstanding, received, received_before| Closing {
            state,
            connected,
            acknowledged,
            outstanding,
            received,
            received_before,
        };
        for (what, closing, expected) in [
            ("closed first, by the client", closing(FIN_WAIT2, true, 102, 0, 51, 50), (100, 50, false)),
            ("the same, nobody waits for the end", closing(FIN_WAIT2, true, 102, 0, 50, 50), (100, 50, false)),
            ("closed last, by the client", closing(LAST_ACK, true, 102, 0, 51, 0), (100, 50, false)),
            ("closed last, by the server", closing(LAST_ACK, false, 51, 0, 101, 0), (50, 100, false)),
            ("both at once", closing(CLOSING, false, 51, 0, 101, 0), (50, 100, false)),
            ("reset in the middle", closing(ESTABLISHED, true, 101, 7, 50, 0), (100, 50, true)),
            ("reset after its end", closing(FIN_WAIT1, true, 101, 1, 50, 0), (100, 50, true)),
            ("reset after the other's end", closing(CLOSE_WAIT, true, 101, 0, 51, 0), (100, 50, true)),
            ("never there", closing(SYN_SENT, true, 0, 1, 0, 0), (0, 0, true)),
        ] {
            assert_eq!((closing.sent(), closing.received(), closing.is_reset()), expected, "{what}");
        }
    }

    #[test]
    fn numbers_lead_back_to_their_names() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::of(*kind as u16), Some(*kind));
        }
        for reason in EventReason::ALL {
            assert_eq!(EventReason::of(*reason as u16), Some(*reason));
        }
        for owner in SocketOwner::ALL {
            assert_eq!(SocketOwner::of(*owner as u16), Some(*owner));
        }
        assert_eq!(EventKind::of(99), None);
    }
}
