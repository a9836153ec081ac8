//! All objects of the server, and everything that ever happened to them.
//!
//! One counter numbers every change. Watches read the history from where they are, and lists of an older version are
//! made by undoing it. The compaction point says only from where a request may still begin: the history itself is
//! kept, so that a watch which is open while it moves loses nothing. Who may write what is decided in `write`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::failure::Failure;

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// `v1/pods` or `discovery.k8s.io/v1/endpointslices`.
    pub(super) resource: String,
    /// Empty where the kind is cluster-wide.
    pub(super) namespace: String,
    pub(super) name: String,
}

/// One change.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) key: Key,
    /// What was there, unless it was created.
    pub(super) before: Option<Arc<Value>>,
    /// What is there, unless it was deleted.
    pub(super) after: Option<Arc<Value>>,
}

/// The objects and their history.
pub(super) struct Store {
    objects: BTreeMap<Key, Arc<Value>>,
    history: Vec<Change>,
    version: u64,
    compacted: u64,
}

/// Versions of real clusters do not begin at one either.
const FIRST_VERSION: u64 = 1000;

impl Store {
    pub(super) fn new() -> Self {
        Self { objects: BTreeMap::new(), history: Vec::new(), version: FIRST_VERSION, compacted: FIRST_VERSION }
    }

    /// The number of the latest change.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The version from which history is kept.
    pub(super) fn compacted(&self) -> u64 {
        self.compacted
    }

    /// Forgets what was before `version`, or before now.
    pub(super) fn compact(&mut self, version: Option<u64>) {
        self.compacted = version.unwrap_or(self.version).clamp(self.compacted, self.version);
    }

    /// Numbers a change to nothing that anyone looks at: an outdated version becomes outdated by it.
    pub(super) fn tick(&mut self) {
        self.version += 1;
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    /// Writes an object under the next version, which it gets to carry.
    pub(super) fn put(&mut self, key: Key, mut object: Value) -> Arc<Value> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let object = Arc::new(object);
        let before = self.objects.insert(key.clone(), Arc::clone(&object));
        self.history.push(Change { version: self.version, key, before, after: Some(Arc::clone(&object)) });
        object
    }

    /// Deletes an object and gives back its last state.
    pub(super) fn delete(&mut self, key: &Key) -> Option<Arc<Value>> {
        let before = self.objects.remove(key)?;
        self.version += 1;
        let change = Change { version: self.version, key: key.clone(), before: Some(Arc::clone(&before)), after: None };
        self.history.push(change);
        Some(before)
    }

    /// The keys of everything in a namespace.
    pub(super) fn keys_in(&self, namespace: &str) -> Vec<Key> {
        self.objects.keys().filter(|key| key.namespace == namespace).cloned().collect()
    }

    /// The objects of a kind, of one namespace or of all (""), in the order of their names.
    pub(super) fn list(&self, resource: &str, namespace: &str) -> BTreeMap<Key, Arc<Value>> {
        let from = Key { resource: resource.to_owned(), namespace: namespace.to_owned(), name: String::new() };
        let within = |key: &Key| key.resource == resource && (namespace.is_empty() || key.namespace == namespace);
        let found = self.objects.range(from..).take_while(|(key, _)| within(key));
        found.map(|(key, object)| (key.clone(), Arc::clone(object))).collect()
    }

    /// The same as it was at an earlier version.
    pub(super) fn list_at(
        &self,
        version: u64,
        resource: &str,
        namespace: &str,
    ) -> Result<BTreeMap<Key, Arc<Value>>, Failure> {
        let mut objects = self.list(resource, namespace);
        for change in self.since(version)?.iter().rev() {
            if change.key.resource != resource || !(namespace.is_empty() || change.key.namespace == namespace) {
                continue;
            }
            match &change.before {
                Some(before) => objects.insert(change.key.clone(), Arc::clone(before)),
                None => objects.remove(&change.key),
            };
        }
        Ok(objects)
    }

    /// What happened after a version at which a request may begin.
    pub(super) fn since(&self, version: u64) -> Result<&[Change], Failure> {
        if version < self.compacted {
            return Err(Failure::expired(version, self.compacted));
        }
        Ok(self.after(version))
    }

    /// What happened after a version, however old: for a watch that has begun.
    pub(super) fn after(&self, version: u64) -> &[Change] {
        let begin = self.history.partition_point(|change| change.version <= version);
        &self.history[begin..]
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn key(name: &str) -> Key {
        Key { resource: "v1/pods".to_owned(), namespace: "shop".to_owned(), name: name.to_owned() }
    }

    fn names(objects: &BTreeMap<Key, Arc<Value>>) -> Vec<String> {
        objects.iter().map(|(key, object)| format!("{}={}", key.name, object["n"])).collect()
    }

    #[test]
    fn every_version_can_be_listed_as_it_was_until_it_is_compacted() {
        let mut store = Store::new();
        let begin = store.version();
        store.put(key("a"), json!({"n": 1}));
        store.put(key("b"), json!({"n": 2}));
        store.put(key("a"), json!({"n": 3}));
        store.delete(&key("b"));
        let at = |store: &Store, version| store.list_at(begin + version, "v1/pods", "").map(|found| names(&found));
        let expected: [&[&str]; 5] = [&[], &["a=1"], &["a=1", "b=2"], &["a=3", "b=2"], &["a=3"]];
        for (version, expected) in (0..).zip(expected) {
            assert_eq!(at(&store, version).unwrap(), expected, "at {version}");
        }
        store.compact(Some(begin + 2));
        assert_eq!(at(&store, 1).unwrap_err().code, 410);
        assert_eq!(at(&store, 2).unwrap(), ["a=1", "b=2"]);
        assert_eq!(store.after(begin).len(), 4, "an open watch still gets everything");
    }

    #[test]
    fn a_list_ends_where_its_kind_and_its_namespace_do() {
        let mut store = Store::new();
        store.put(key("a"), json!({}));
        store.put(Key { namespace: "other".to_owned(), ..key("a") }, json!({}));
        store.put(Key { resource: "v1/podtemplates".to_owned(), ..key("a") }, json!({}));
        assert_eq!((store.list("v1/pods", "").len(), store.list("v1/pods", "shop").len()), (2, 1));
        assert_eq!(store.list("v1/pods", "sho").len(), 0);
    }
}
