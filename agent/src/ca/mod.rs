//! Certificate authorities. This build has the embedded one: for one machine, for a few that share a directory, and for
//! tests.
//!
//! It is an [`Issuer`](crate::identify::Issuer): it sees signing requests and never a workload's key.

mod directory;
mod error;
mod local;
mod protocol;
mod root;
#[cfg(test)]
mod tests;

pub use error::CaError;
pub use local::{LocalCa, LocalCaSettings};
