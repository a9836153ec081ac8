//! Model checks: source files of the agent that have no lock, compiled here with loom's atomics, and run in every interleaving
//! that the memory model allows.
//!
//! Few things in the agent have none. What is not here needs no model, for one of four reasons:
//!
//! - A lock is held where it matters: what is read without it is a hint that spares taking it, and wrong for a moment at most
//!   (`balance/left_out.rs`, `observe/recordings.rs`, `observe/live/{mod,flows}.rs`, `observe/metrics/label_sets.rs`).
//! - It is one number that somebody adds to or takes from, or a switch that is looked at, and nothing else is read because of
//!   it (counts of bytes, requests, lines and streams; whose turn it is; which level is logged; whether a tunnel has closed).
//! - It is one number that decides by itself, in one step (`access_log/rate.rs`, `health/group.rs`).
//! - It is another crate's, which checks it so (arc-swap for snapshots and keys, tokio's channels, semaphores and watches).

#![cfg(test)]

mod carried;
mod room;

/// What the agent has of the standard library under the same name.
mod atomics {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
}
