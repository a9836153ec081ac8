//! HTTP through two nodes: real requests of real programs, and what the servers saw of them.

mod access;
mod balance;
mod bodies;
mod changes;
mod detection;
mod fallback;
mod framing;
mod grpc;
mod hostile;
mod identity;
mod peers;
mod programs;
pub(crate) mod python;
mod resilience;
mod suite;
pub(crate) mod tools;
