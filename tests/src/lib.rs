//! What the integration tests, the demo and the benchmarks stand on.
//!
//! [`bed`] builds what Kubernetes would give: nodes and pods out of network namespaces, veth pairs and cgroups, a
//! directory of plain Kubernetes objects, running agents, and a capture of the wire between the nodes. [`kubernetes`] is an
//! API server with every fault that a client must survive, for beds that need more than a directory. [`authority`] is a
//! certificate authority of that kind, [`collector`] a collector of spans. [`peer`] is the
//! program `heddle-peer`: the servers and clients that run inside the pods, so that the kernel sees real processes.
//! [`prometheus`] is a real one, which scrapes agents; [`browser`] a real one, too; [`monitoring`] reads
//! the dashboard that is delivered. [`bench`] is the program `heddle-bench`, [`demo`] the program `heddle-demo`,
//! [`chaos`] the program `heddle-chaos`. [`world`] is the bed that most tests use. [`rogue`] mints certificates that the mesh must, or must not, accept.
//!
//! Nothing here is linked into the agent, and nothing here decides anything about the mesh.

pub mod authority;
pub mod bed;
pub mod bench;
pub mod browser;
pub mod chaos;
pub mod collector;
pub mod demo;
pub mod http;
mod interrupt;
pub mod kubernetes;
pub mod monitoring;
pub mod peer;
pub mod prometheus;
pub mod rogue;
pub mod world;

pub use bed::{Bed, Node, Pod};
