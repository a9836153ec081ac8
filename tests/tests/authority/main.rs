//! The agent's client of a remote authority, over real sockets, against the authority of the tests with its faults.
//!
//! When a request is repeated is not seen here: that is `identify/renewal.rs`, tested there with a steered clock.

#![expect(clippy::unwrap_used, reason = "tests")]

mod answers;
mod believing;
mod connections;
mod renewals;
mod requests;
mod setting;
