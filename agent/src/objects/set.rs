//! A complete, consistent set of objects: what a source delivers on each change.

use std::{collections::BTreeMap, sync::Arc};

use super::{EndpointSlice, Namespace, ObjectName, Pod, Service};
use crate::config::Problem;

/// All objects of one moment, ordered by name, and what could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectSet {
    /// Namespaces by name. Objects may be in namespaces that have no entry here.
    pub namespaces: BTreeMap<Arc<str>, Arc<Namespace>>,
    /// Pods of all nodes.
    pub pods: BTreeMap<ObjectName, Arc<Pod>>,
    /// Services.
    pub services: BTreeMap<ObjectName, Arc<Service>>,
    /// EndpointSlices.
    pub endpoint_slices: BTreeMap<ObjectName, Arc<EndpointSlice>>,
    /// How many objects of kinds that the mesh does not read, by kind.
    pub ignored: BTreeMap<String, usize>,
    /// Documents and files that could not be read. The last good version of their objects is in the set.
    pub problems: Vec<Problem>,
}

/// One object of a kind that the mesh reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A Namespace.
    Namespace(Arc<Namespace>),
    /// A Pod.
    Pod(Arc<Pod>),
    /// A Service.
    Service(Arc<Service>),
    /// An EndpointSlice.
    EndpointSlice(Arc<EndpointSlice>),
}

/// What tells two objects apart: kind, namespace (empty where the kind has none) and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Kind, as in the document.
    pub kind: Kind,
    /// Namespace and name.
    pub name: ObjectName,
}

/// The kinds that the mesh reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `v1` Namespace.
    Namespace,
    /// `v1` Pod.
    Pod,
    /// `v1` Service.
    Service,
    /// `discovery.k8s.io/v1` EndpointSlice.
    EndpointSlice,
}

impl Kind {
    /// As written in `kind:`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Pod => "Pod",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
        }
    }
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            Kind::Namespace => write!(f, "Namespace {}", self.name.name),
            kind => write!(f, "{} {}", kind.as_str(), self.name),
        }
    }
}

impl Object {
    /// What tells it from others.
    pub fn key(&self) -> ObjectKey {
        match self {
            Self::Namespace(namespace) => {
                ObjectKey { kind: Kind::Namespace, name: ObjectName::new("", &namespace.name) }
            }
            Self::Pod(pod) => ObjectKey { kind: Kind::Pod, name: pod.name.clone() },
            Self::Service(service) => ObjectKey { kind: Kind::Service, name: service.name.clone() },
            Self::EndpointSlice(slice) => ObjectKey { kind: Kind::EndpointSlice, name: slice.name.clone() },
        }
    }
}

impl ObjectSet {
    /// Whether the set has this object.
    pub fn contains(&self, key: &ObjectKey) -> bool {
        self.get(key).is_some()
    }

    /// The object of this key.
    pub fn get(&self, key: &ObjectKey) -> Option<Object> {
        match key.kind {
            Kind::Namespace => self.namespaces.get(&key.name.name).cloned().map(Object::Namespace),
            Kind::Pod => self.pods.get(&key.name).cloned().map(Object::Pod),
            Kind::Service => self.services.get(&key.name).cloned().map(Object::Service),
            Kind::EndpointSlice => self.endpoint_slices.get(&key.name).cloned().map(Object::EndpointSlice),
        }
    }

    /// Adds an object, in place of one of the same key.
    pub fn insert(&mut self, object: Object) {
        match object {
            Object::Namespace(namespace) => drop(self.namespaces.insert(Arc::clone(&namespace.name), namespace)),
            Object::Pod(pod) => drop(self.pods.insert(pod.name.clone(), pod)),
            Object::Service(service) => drop(self.services.insert(service.name.clone(), service)),
            Object::EndpointSlice(slice) => drop(self.endpoint_slices.insert(slice.name.clone(), slice)),
        }
    }

    /// How many objects of each kind that the mesh reads.
    pub fn counts(&self) -> [(Kind, usize); 4] {
        [
            (Kind::Namespace, self.namespaces.len()),
            (Kind::Pod, self.pods.len()),
            (Kind::Service, self.services.len()),
            (Kind::EndpointSlice, self.endpoint_slices.len()),
        ]
    }
}
