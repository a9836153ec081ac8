//! What the steps of a connection read: one immutable [`Snapshot`], and the compiler that builds it from objects.
//!
//! A snapshot is built aside and published whole; a connection reads one snapshot from start to end.

mod address_map;
mod backend_policies;
mod by_age;
mod by_selector;
mod compile;
mod destinations;
mod documents;
mod endpoints;
mod entries;
mod fallbacks;
mod for_workloads;
mod modes;
mod overlaps;
mod policies;
#[cfg(test)]
mod policy_tests;
mod problem;
mod publish;
mod rate_limits;
mod routes;
mod service;
mod settings;
mod snapshot;
mod spiffe;
mod telemetry;
#[cfg(test)]
pub(crate) mod testing;
mod token_rules;
mod view;
mod workload;

pub(crate) use compile::compile_enforcing;
pub use compile::{Compiled, Compiler, MeshSettings, Outcome, compile};
pub use destinations::DestinationSettings;
pub(crate) use destinations::means;
pub use documents::{DocumentState, DocumentStatus, Rules};
#[cfg(test)]
pub(crate) use endpoints::reads;
pub use endpoints::{Choice, Endpoint, Endpoints, Locality, Reach};
pub use entries::{Entries, Entry, EntryTarget, Names, names_to_resolve};
pub use fallbacks::{Dangling, FallbackProblem, TakesOver};
pub use modes::{Level, Mode, Modes, Statement};
pub use overlaps::Overlap;
pub use policies::Policy;
pub use problem::{MeshProblem, ObjectRef};
pub use publish::{Compiling, FollowedRules, MeshState, run};
pub use rate_limits::AppliedLimits;
pub use routes::{
    Condition, ExtensionProblem, GrpcRank, HttpRank, ParentProblem, ParentRefusal, RouteKind, RouteMatch, RouteTable,
    Routes, Scope,
};
pub(crate) use routes::{call, key_of};
pub use service::{AddressFamily, Service, ServiceKind, ServiceName, ServicePort};
pub use snapshot::{Destination, Snapshot, SnapshotHandle};
pub use spiffe::{SpiffeId, SpiffeIdError, TrustDomain};
pub use telemetry::WorkloadTelemetry;
pub use token_rules::TokenRule;
pub use workload::{CaptureRules, LocalPod, Membership, Netns, Workload, WorkloadUid};
