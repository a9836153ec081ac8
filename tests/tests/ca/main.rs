//! `heddle ca` over real sockets: the real program, the tests' API server, and a client that speaks the protocol by
//! itself.

#![expect(clippy::unwrap_used, reason = "tests")]

mod admission;
mod bounds;
mod client;
mod files;
mod requests;
mod rotation;
mod setting;
mod tainting;
mod webhook;
