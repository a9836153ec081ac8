//! The changes that came at one time, each object once, as it was before all of them.

use std::{collections::BTreeMap, sync::Arc};

use crate::objects::{
    Change, ConfigMap, EndpointSlice, Namespace, Node, Object, ObjectKey, ObjectName, ObjectSet, Pod, Service,
};

/// Objects that changed, and what they were before; what they are now is in the set.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) namespaces: BTreeMap<Arc<str>, Option<Arc<Namespace>>>,
    pub(super) pods: BTreeMap<ObjectName, Option<Arc<Pod>>>,
    pub(super) services: BTreeMap<ObjectName, Option<Arc<Service>>>,
    pub(super) slices: BTreeMap<ObjectName, Option<Arc<EndpointSlice>>>,
    pub(super) nodes: BTreeMap<Arc<str>, Option<Arc<Node>>>,
    pub(super) config_maps: BTreeMap<ObjectName, Option<Arc<ConfigMap>>>,
}

impl Batch {
    /// Brings the set up to date and keeps what the changed objects were.
    pub(super) fn take_in(changes: impl IntoIterator<Item = Change>, objects: &mut ObjectSet) -> Self {
        let mut batch = Self::default();
        for change in changes {
            let key = change.key();
            let before = match change {
                Change::Put(object) => objects.insert(object),
                Change::Remove(key) => objects.remove(&key),
            };
            batch.add(key, before);
        }
        batch.leave_out_unchanged(objects);
        batch
    }

    /// Of several changes of one object, what was there before the first counts.
    fn add(&mut self, key: ObjectKey, before: Option<Object>) {
        use crate::objects::Kind;
        let name = key.name;
        match (key.kind, before) {
            (_, Some(Object::Namespace(before))) => drop(self.namespaces.entry(name.name).or_insert(Some(before))),
            (_, Some(Object::Pod(before))) => drop(self.pods.entry(name).or_insert(Some(before))),
            (_, Some(Object::Service(before))) => drop(self.services.entry(name).or_insert(Some(before))),
            (_, Some(Object::EndpointSlice(before))) => drop(self.slices.entry(name).or_insert(Some(before))),
            (_, Some(Object::Node(before))) => drop(self.nodes.entry(name.name).or_insert(Some(before))),
            (_, Some(Object::ConfigMap(before))) => drop(self.config_maps.entry(name).or_insert(Some(before))),
            // Nothing is decided on it.
            (_, Some(Object::ServiceAccount(_))) => {}
            (Kind::Namespace, None) => drop(self.namespaces.entry(name.name).or_insert(None)),
            (Kind::Pod, None) => drop(self.pods.entry(name).or_insert(None)),
            (Kind::Service, None) => drop(self.services.entry(name).or_insert(None)),
            (Kind::EndpointSlice, None) => drop(self.slices.entry(name).or_insert(None)),
            (Kind::Node, None) => drop(self.nodes.entry(name.name).or_insert(None)),
            (Kind::ConfigMap, None) => drop(self.config_maps.entry(name).or_insert(None)),
            (Kind::ServiceAccount, None) => {}
        }
    }

    fn leave_out_unchanged(&mut self, objects: &ObjectSet) {
        self.namespaces.retain(|name, before| before.as_ref() != objects.namespaces.get(name));
        self.pods.retain(|name, before| before.as_ref() != objects.pods.get(name));
        self.services.retain(|name, before| before.as_ref() != objects.services.get(name));
        self.slices.retain(|name, before| before.as_ref() != objects.endpoint_slices.get(name));
        self.nodes.retain(|name, before| before.as_ref() != objects.nodes.get(name));
        self.config_maps.retain(|name, before| before.as_ref() != objects.config_maps.get(name));
    }
}
