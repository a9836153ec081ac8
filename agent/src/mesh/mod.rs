//! What the steps of a connection read: one immutable [`Snapshot`], and the compiler that builds it from objects.
//!
//! A snapshot is built aside and published whole; a connection reads one snapshot from start to end.

mod address_map;
mod by_selector;
mod compile;
mod documents;
mod endpoints;
mod entries;
mod for_workloads;
mod modes;
mod policies;
#[cfg(test)]
mod policy_tests;
mod problem;
mod publish;
mod routes;
mod service;
mod snapshot;
mod spiffe;
#[cfg(test)]
pub(crate) mod testing;
mod token_rules;
mod view;
mod workload;

pub(crate) use compile::compile_enforcing;
pub use compile::{Compiled, Compiler, MeshSettings, Outcome, compile};
pub use documents::{DocumentState, DocumentStatus, Rules};
#[cfg(test)]
pub(crate) use endpoints::reads;
pub use endpoints::{Choice, Endpoint, Endpoints, Locality, Reach};
pub use entries::{Entries, Entry, EntryTarget, Names, names_to_resolve};
pub use modes::{Level, Mode, Modes, Statement};
pub use policies::Policy;
pub use problem::{MeshProblem, ObjectRef};
pub use publish::{FollowedRules, MeshState, run};
pub(crate) use routes::call;
pub use routes::{
    Condition, GrpcRank, HttpRank, ParentProblem, ParentRefusal, RouteKind, RouteMatch, RouteTable, Routes, Scope,
};
pub use service::{AddressFamily, Service, ServiceKind, ServiceName, ServicePort};
pub use snapshot::{Destination, Snapshot, SnapshotHandle};
pub use spiffe::{SpiffeId, SpiffeIdError, TrustDomain};
pub use token_rules::TokenRule;
pub use workload::{CaptureRules, LocalPod, Membership, Netns, Workload, WorkloadUid};
