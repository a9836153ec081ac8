//! `heddle-peer http-serve`, `http` and `http-load`: a server that says what it saw and does what it is told, a client that
//! sends what it is told, and one that never stops asking.
//!
//! The server is hyper, with HTTP/1.1 and HTTP/2 in plaintext on every port. The client writes HTTP/1.1 itself, since tests
//! need requests that a library refuses to make, and takes the crate `h2` for HTTP/2.

mod behaviour;
mod client;
mod hand;
mod load;
pub mod report;
mod serve;
mod served;
mod stream;
mod wire1;
mod wire2;

use super::bulk::Digest;
use super::pattern::Pattern;
use super::report::Receipt;

pub use hand::Client;

pub(super) use client::{Http, run as client};
pub(super) use load::{HttpLoad, run as load};
pub(super) use serve::{HttpServe, run as serve};

/// Bytes of a body that are sent at a time.
const CHUNK: usize = 16 << 10;

/// Count and checksum of the bytes that a patterned body of this length has.
#[must_use]
pub fn patterned(bytes: u64) -> Receipt {
    let mut digest = Digest::new();
    let mut at = 0;
    while at < bytes {
        let part = part_of_pattern(at, bytes);
        digest.update(&part);
        at += part.len() as u64;
    }
    digest.receipt()
}

/// The next bytes of a patterned body of `total` bytes.
fn part_of_pattern(at: u64, total: u64) -> Vec<u8> {
    let mut part = vec![0; CHUNK.min(usize::try_from(total - at).unwrap_or(CHUNK))];
    Pattern::new(0).fill(at, &mut part);
    part
}
