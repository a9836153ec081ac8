//! The tests' own API server, over real sockets: with the `kube` crate as the client, and with raw requests where that
//! hides what is to be seen.

#![expect(clippy::unwrap_used, reason = "tests")]

mod beds;
mod clusters;
mod faults;
mod lists;
mod raw;
mod refusals;
mod setting;
mod watches;
mod writes;
