//! Certificate authorities: the embedded one, for one machine, for a few that share a directory, and for tests; the client
//! of a remote one; and `heddle ca` ([`server`]), which serves the agents of a cluster.
//!
//! All see signing requests and never a workload's key. The embedded one and the client are an
//! [`Issuer`](crate::identify::Issuer).

mod directory;
mod error;
pub(crate) mod fuzz;
mod local;
mod pem;
mod protocol;
mod remote;
mod root;
pub mod server;
mod signing;
#[cfg(test)]
mod tests;

pub use error::CaError;
pub use local::{LocalCa, LocalCaSettings};
pub use remote::RemoteCa;
