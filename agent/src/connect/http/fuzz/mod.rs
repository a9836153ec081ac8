//! Any bytes as what a client sends first: detection, the guard of HTTP/1, and hyper behind it; and as frames of HTTP/2.
//!
//! Promised: whatever way bytes come in pieces, they are read alike; requests are framed as a plain reader frames them.

mod detection;
mod frame_seeds;
mod frames;
mod guarded;
mod pieces;
mod reference;
mod seeds;
#[cfg(test)]
mod tests;
mod words;

use fastrand::Rng;
use tokio::runtime::Runtime;

use crate::fuzz::{Exercised, Mutator, Target};

pub(crate) use frames::Frames;

/// A client's first bytes.
#[derive(Debug)]
pub(crate) struct FirstBytes(pub(crate) Runtime);

impl Target for FirstBytes {
    /// Takes bytes through detection, and through the guard and hyper as if they were HTTP/1.
    fn exercise(&self, input: &[u8], rng: &mut Rng) -> Result<Exercised, String> {
        let detected = detection::detect(input, rng)?;
        let guarded = self.0.block_on(guarded::guard(input, rng))?;
        Ok(Exercised { accepted: guarded.requests, ways: vec![format!("{detected}; {}", guarded.shape)] })
    }

    fn mutator(&self) -> &Mutator {
        &words::FIRST_BYTES
    }

    fn seeds(&self, kept: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        [seeds::seeds(), kept].concat()
    }
}
