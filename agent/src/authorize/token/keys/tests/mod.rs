//! Keys: when they are fetched, with a paused clock; and how, from real servers with every fault.

#![expect(clippy::unwrap_used, reason = "tests")]

mod refresh;
mod server;
mod servers;
