//! A complete, consistent set of objects, and the one enumeration of the kinds that the mesh reads.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Change, ConfigMap, EndpointSlice, Namespace, Node, ObjectName, Pod, Service, ServiceAccount};

/// All objects of one moment, ordered by name.
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
    /// Nodes by name.
    pub nodes: BTreeMap<Arc<str>, Arc<Node>>,
    /// ServiceAccounts.
    pub service_accounts: BTreeMap<ObjectName, Arc<ServiceAccount>>,
    /// ConfigMaps that hold mesh configuration, and files of the same.
    pub config_maps: BTreeMap<ObjectName, Arc<ConfigMap>>,
}

/// One object of a kind that the mesh reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Object {
    /// A Namespace.
    Namespace(Arc<Namespace>),
    /// A Pod.
    Pod(Arc<Pod>),
    /// A Service.
    Service(Arc<Service>),
    /// An EndpointSlice.
    EndpointSlice(Arc<EndpointSlice>),
    /// A Node.
    Node(Arc<Node>),
    /// A ServiceAccount.
    ServiceAccount(Arc<ServiceAccount>),
    /// A ConfigMap of mesh configuration.
    ConfigMap(Arc<ConfigMap>),
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
    /// `v1` Node.
    Node,
    /// `v1` ServiceAccount.
    ServiceAccount,
    /// `v1` ConfigMap with label `heddle.io/config: "true"`.
    ConfigMap,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Namespace,
        Self::Pod,
        Self::Service,
        Self::EndpointSlice,
        Self::Node,
        Self::ServiceAccount,
        Self::ConfigMap,
    ];

    /// As written in `kind:`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Pod => "Pod",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Node => "Node",
            Self::ServiceAccount => "ServiceAccount",
            Self::ConfigMap => "ConfigMap",
        }
    }
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = self.kind.as_str();
        // Cluster-wide kinds and files have no namespace.
        match self.name.namespace.is_empty() {
            true => write!(f, "{kind} {}", self.name.name),
            false => write!(f, "{kind} {}", self.name),
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
            Self::Node(node) => ObjectKey { kind: Kind::Node, name: ObjectName::new("", &node.name) },
            Self::ServiceAccount(account) => ObjectKey { kind: Kind::ServiceAccount, name: account.name.clone() },
            Self::ConfigMap(map) => ObjectKey { kind: Kind::ConfigMap, name: map.name.clone() },
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
        let name = &key.name;
        match key.kind {
            Kind::Namespace => self.namespaces.get(&name.name).cloned().map(Object::Namespace),
            Kind::Pod => self.pods.get(name).cloned().map(Object::Pod),
            Kind::Service => self.services.get(name).cloned().map(Object::Service),
            Kind::EndpointSlice => self.endpoint_slices.get(name).cloned().map(Object::EndpointSlice),
            Kind::Node => self.nodes.get(&name.name).cloned().map(Object::Node),
            Kind::ServiceAccount => self.service_accounts.get(name).cloned().map(Object::ServiceAccount),
            Kind::ConfigMap => self.config_maps.get(name).cloned().map(Object::ConfigMap),
        }
    }

    /// Adds an object, in place of one of the same key, which is returned.
    pub fn insert(&mut self, object: Object) -> Option<Object> {
        match object {
            Object::Namespace(it) => self.namespaces.insert(Arc::clone(&it.name), it).map(Object::Namespace),
            Object::Pod(it) => self.pods.insert(it.name.clone(), it).map(Object::Pod),
            Object::Service(it) => self.services.insert(it.name.clone(), it).map(Object::Service),
            Object::EndpointSlice(it) => self.endpoint_slices.insert(it.name.clone(), it).map(Object::EndpointSlice),
            Object::Node(it) => self.nodes.insert(Arc::clone(&it.name), it).map(Object::Node),
            Object::ServiceAccount(it) => self.service_accounts.insert(it.name.clone(), it).map(Object::ServiceAccount),
            Object::ConfigMap(it) => self.config_maps.insert(it.name.clone(), it).map(Object::ConfigMap),
        }
    }

    /// Takes an object out and returns it.
    pub fn remove(&mut self, key: &ObjectKey) -> Option<Object> {
        let name = &key.name;
        match key.kind {
            Kind::Namespace => self.namespaces.remove(&name.name).map(Object::Namespace),
            Kind::Pod => self.pods.remove(name).map(Object::Pod),
            Kind::Service => self.services.remove(name).map(Object::Service),
            Kind::EndpointSlice => self.endpoint_slices.remove(name).map(Object::EndpointSlice),
            Kind::Node => self.nodes.remove(&name.name).map(Object::Node),
            Kind::ServiceAccount => self.service_accounts.remove(name).map(Object::ServiceAccount),
            Kind::ConfigMap => self.config_maps.remove(name).map(Object::ConfigMap),
        }
    }

    /// Brings the set up to date.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            match change {
                Change::Put(object) => self.insert(object),
                Change::Remove(key) => self.remove(&key),
            };
        }
    }

    /// All objects, in the order of their keys.
    pub fn objects(&self) -> impl Iterator<Item = Object> {
        let namespaces = self.namespaces.values().cloned().map(Object::Namespace);
        let pods = self.pods.values().cloned().map(Object::Pod);
        let services = self.services.values().cloned().map(Object::Service);
        let slices = self.endpoint_slices.values().cloned().map(Object::EndpointSlice);
        let nodes = self.nodes.values().cloned().map(Object::Node);
        let accounts = self.service_accounts.values().cloned().map(Object::ServiceAccount);
        let maps = self.config_maps.values().cloned().map(Object::ConfigMap);
        namespaces.chain(pods).chain(services).chain(slices).chain(nodes).chain(accounts).chain(maps)
    }

    /// What has to change for this set to become `newer`.
    pub fn changes_to(&self, newer: &Self) -> Vec<Change> {
        let put = newer.objects().filter(|object| self.get(&object.key()).as_ref() != Some(object)).map(Change::Put);
        let gone = self.objects().map(|object| object.key()).filter(|key| !newer.contains(key)).map(Change::Remove);
        put.chain(gone).collect()
    }

    /// How many objects of each kind.
    pub fn counts(&self) -> [(Kind, usize); 7] {
        Kind::ALL.map(|kind| {
            let count = match kind {
                Kind::Namespace => self.namespaces.len(),
                Kind::Pod => self.pods.len(),
                Kind::Service => self.services.len(),
                Kind::EndpointSlice => self.endpoint_slices.len(),
                Kind::Node => self.nodes.len(),
                Kind::ServiceAccount => self.service_accounts.len(),
                Kind::ConfigMap => self.config_maps.len(),
            };
            (kind, count)
        })
    }
}
