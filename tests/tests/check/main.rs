//! `heddle check` of clusters and machines: the real binary against the tests' API server, and against this kernel.

#![expect(clippy::unwrap_used, reason = "tests")]

mod cluster;
mod node;
mod said;
