//! Where Kubernetes objects come from: one stream of complete [`ObjectSet`]s, whichever source produces them.
//!
//! In: a [`Source`] of the configuration. Out: an [`ObjectStream`] that always holds the newest set. Nothing
//! downstream can tell which source it was. What the objects mean for the mesh is decided in `mesh::compile`.

mod kinds;
mod set;
mod stream;

pub use kinds::{
    AddressType, EndpointSlice, Map, Namespace, ObjectName, OwnerReference, Pod, PodPhase, Protocol, Service,
    ServiceKind, ServicePort, SliceEndpoint, SlicePort, TargetPort,
};
pub use set::{Kind, Object, ObjectKey, ObjectSet};
pub use stream::ObjectStream;
