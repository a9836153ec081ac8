//! Any bytes as what a client sends first: what `cargo xtask fuzz http` and a test feed mutated requests and hellos to.
//!
//! In: bytes, and a seed for how they are split as they come. Out: what became of them, or which promise of detection, of
//! the guard, or of hyper behind the guard they break. It decides nothing for an agent, and is part of the library so that
//! it reaches the readers as the agent does.

mod detection;
mod guarded;
mod mutate;
mod pieces;
mod reference;
mod seeds;
#[cfg(test)]
mod tests;

use fastrand::Rng;
use tokio::runtime::Runtime;

use super::guard::Refused;

pub use mutate::mutate;
pub use seeds::seeds;

/// What became of some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exercised {
    /// Requests that reached a service.
    pub requests: usize,
    /// Why the guard ended the connection, if it did.
    pub refused: Option<Refused>,
    /// How they were read, in few words: inputs that differ in it took different ways.
    pub shape: String,
}

/// Takes bytes through detection, and through the guard and hyper as if they were HTTP/1. It must not panic.
///
/// The runtime is of one thread, with its clock paused: then what waits for ever is told at once, as what waited too long.
///
/// # Errors
/// A promise that these bytes break: which, and what was found.
pub fn exercise(runtime: &Runtime, bytes: &[u8], splits: u64) -> Result<Exercised, String> {
    let mut rng = Rng::with_seed(splits);
    let detected = detection::detect(bytes, &mut rng)?;
    let guarded = runtime.block_on(guarded::guard(bytes, &mut rng))?;
    Ok(Exercised {
        requests: guarded.requests,
        refused: guarded.refused,
        shape: format!("{detected}; {}", guarded.shape),
    })
}
