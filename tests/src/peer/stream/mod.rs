//! `heddle-peer stream-serve` and `stream-load`: streams of which both ends know every byte, in both directions.
//!
//! A client says its seed and how many bytes it will send, sends them, and closes its side; the server verifies them, sends as
//! many of its own, which the client verifies, and closes its side after the last. An end that comes in order before the last byte is
//! as wrong as a wrong byte: who reads a file that way believes that it is whole. A reset is not: it says that bytes are missing. The
//! bytes hold [`MARKER`] again and again, to be looked for where they must not be.

mod load;
mod marked;
pub mod report;
mod serve;

use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use tokio::net::TcpStream;

pub(super) use load::{StreamLoad, run as load};
pub(super) use serve::{StreamServe, run as serve};

/// What can be read in every KiB of a stream, by whoever can read it.
pub const MARKER: &str = "heddle-chaos-in-the-clear";

/// Bytes that are sent and read at a time.
const CHUNK: usize = 4 << 10;
/// Seed and number of bytes.
const HEADER: usize = 16;

/// The server's bytes differ from the client's.
fn seed_of_answer(seed: u64) -> u64 {
    !seed
}

/// From now on the connection ends with a reset, or again in order: a stream that is not whole must not end as one that is.
fn ends_in_order(stream: &TcpStream, in_order: bool) {
    let _ = set_socket_linger(stream, (!in_order).then_some(Duration::ZERO));
}
