//! Handshakes with good, bad and odd peers, roots that replace each other, and renewal under a paused clock.

#![expect(clippy::unwrap_used, reason = "tests")]

pub(crate) mod authority;
mod handshakes;
mod odd;
mod renewal;
mod rotation;
