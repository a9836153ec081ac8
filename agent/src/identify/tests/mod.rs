//! Handshakes with good and bad peers, and renewal under a paused clock.

#![expect(clippy::unwrap_used, reason = "tests")]

mod authority;
mod handshakes;
mod renewal;
