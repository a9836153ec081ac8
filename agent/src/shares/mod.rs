//! What each pod may have of the agent that it shares with the other pods of its node, and what it has of it now.
//!
//! An enrolled pod has one [`Account`]. Everything that is done for the pod is entered there: connections and handshakes that are
//! under way, bytes that wait in buffers, time of the data threads. What a pod may have follows from `limits.pod` of agent.yaml and
//! from Capture documents ([`Share`]). At a bound the pod waits, and nobody else does:
//!
//! - no place for another connection or handshake: the pod's own acceptor pauses, and clients wait in the pod's own queue;
//! - no place for another connection of HTTP to a server: the request waits, and is then answered with 503;
//! - too many bytes that wait to be sent: each of its connections may have one small piece under way;
//! - too many bytes that nobody reads: its tunnels are not read until somebody does;
//! - more time of a data thread than the others: it is its turn when nobody else wants the thread (`turns/`).
//!
//! All pods together may have more than the agent can: then what is new is refused ([`Overload`]).

mod account;
mod buffers;
mod overload;
mod places;
mod share;
mod turns;

pub use account::{Account, Bound, Place, PodIsFull};
pub use buffers::{Chunk, Direction, Reserved, Sending};
pub use overload::{Overload, Overloaded};
pub use share::{SaidShare, Share, ShareBounds};
pub use turns::{TurnExecutor, moved, poll_pace, spawn, spawn_for, take_turns};
