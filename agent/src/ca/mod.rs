//! Certificate authorities: the embedded one, for one machine, for a few that share a directory, and for tests; and the
//! client of a remote one.
//!
//! Both are an [`Issuer`](crate::identify::Issuer): they see signing requests and never a workload's key.

mod directory;
mod error;
mod local;
mod protocol;
mod remote;
mod root;
#[cfg(test)]
mod tests;

pub use error::CaError;
pub use local::{LocalCa, LocalCaSettings};
pub use remote::RemoteCa;
