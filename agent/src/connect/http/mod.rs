//! HTTP over the ways that connections take: reading requests of clients, sending them to endpoints and applications.
//!
//! hyper speaks the protocol; what is refused before hyper reads it, and what is changed between connections and versions,
//! is here. What is decided about requests is in `request/`. Nothing here knows of routes or policies.

pub mod answer;
mod client;
mod flight;
pub mod forwarded;
pub mod fuzz;
pub mod guard;
pub mod head;
mod pool;
mod replay;
mod server;
pub mod undelivered;

pub use client::{HttpVersion, SendError};
pub use pool::{Held, HttpPool, Lease, OpenWay, PoolError, PoolKey, Terms, WayFacts};
pub use replay::{BodyError, BrokenBody, Replay, ReplayLimits, RequestBody};
pub use server::{Served, serve};
