//! HTTP over the ways that connections take: reading requests of clients, sending them to endpoints and applications.
//!
//! hyper speaks the protocol; what is decided about requests is in `request/`. Nothing here knows of routes or policies.

mod client;
mod flight;
pub mod head;
pub mod limits;
mod pool;
mod replay;
mod server;

pub use client::{HttpVersion, SendError};
pub use pool::{HttpPool, Lease, OpenWay, PoolError, PoolKey, WayFacts};
pub use replay::{BodyError, BodyState, Replay, RequestBody};
pub use server::serve;
