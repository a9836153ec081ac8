//! Documents by what they select: finding those of a workload costs by its labels and by what selects it, not by how many
//! documents there are.
//!
//! A document is kept under its namespace and under one label of its selector. Maps are persistent: a copy costs nothing,
//! a change little.

use std::sync::Arc;

use foldhash::fast::RandomState;
use imbl::{GenericHashMap, OrdMap, shared_ptr::DefaultSharedPtr};

use crate::{
    objects::{Map, ObjectName},
    rules::value::Selector,
};

type HashMap<K, V> = GenericHashMap<K, V, RandomState, DefaultSharedPtr>;
type Text = Arc<str>;
/// Documents by their names.
type Shelf<T> = OrdMap<Text, Arc<T>>;

/// A document with a selector.
pub(super) trait Selects {
    /// What it selects in its namespace, or in all.
    fn selector(&self) -> &Selector;
}

/// Documents of one kind.
#[derive(Debug)]
pub(super) struct BySelector<T> {
    namespaces: HashMap<Text, Shelves<T>>,
}

/// Documents of one namespace.
#[derive(Debug)]
struct Shelves<T> {
    /// Those that select every pod.
    everything: Shelf<T>,
    /// The others, by the key and then by the value of one of their labels.
    labels: HashMap<Text, HashMap<Text, Shelf<T>>>,
}

impl<T: Selects> BySelector<T> {
    /// Adds a document. One of the same name must have been removed.
    pub(super) fn insert(&mut self, name: &ObjectName, document: T) {
        let shelves = entry(&mut self.namespaces, &name.namespace);
        let shelf = match shelves.label_for(document.selector()) {
            None => &mut shelves.everything,
            Some((key, value)) => entry(entry(&mut shelves.labels, &key.into()), &value.into()),
        };
        shelf.insert(Arc::clone(&name.name), Arc::new(document));
    }

    /// Takes a document out, which had this selector.
    pub(super) fn remove(&mut self, name: &ObjectName, selector: &Selector) {
        let Some(shelves) = self.namespaces.get_mut(&name.namespace) else { return };
        shelves.everything.remove(&name.name);
        // Which of its labels it is under depends on what was there when it came.
        for (key, value) in &selector.match_labels {
            let Some(values) = shelves.labels.get_mut(key.as_str()) else { continue };
            let Some(shelf) = values.get_mut(value.as_str()) else { continue };
            shelf.remove(&name.name);
            if shelf.is_empty() {
                values.remove(value.as_str());
            }
            if values.is_empty() {
                shelves.labels.remove(key.as_str());
            }
        }
        if shelves.everything.is_empty() && shelves.labels.is_empty() {
            self.namespaces.remove(&name.namespace);
        }
    }

    /// The documents of a namespace that select a pod with these labels, in no order.
    pub(super) fn select<'a, 'b>(
        &'a self,
        namespace: &str,
        labels: &'b Map,
    ) -> impl Iterator<Item = &'a T> + use<'a, 'b, T> {
        self.candidates(namespace, labels).filter(|document| document.selector().selects(labels))
    }

    /// The documents to look at for that: of each shelf that the labels lead to.
    pub(super) fn candidates<'a, 'b>(
        &'a self,
        namespace: &str,
        labels: &'b Map,
    ) -> impl Iterator<Item = &'a T> + use<'a, 'b, T> {
        self.namespaces.get(namespace).into_iter().flat_map(|shelves| {
            let shelf = |(key, value): (&String, &String)| shelves.labels.get(key.as_str())?.get(value.as_str());
            let by_label = labels.iter().filter_map(shelf).flat_map(OrdMap::values);
            shelves.everything.values().chain(by_label).map(AsRef::as_ref)
        })
    }

    /// Whether nothing is kept, of what has gone either.
    pub(super) fn is_empty(&self) -> bool {
        self.namespaces.is_empty()
    }

    /// All documents, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.namespaces.values().flat_map(|shelves| {
            let by_label = shelves.labels.values().flat_map(HashMap::values).flat_map(OrdMap::values);
            shelves.everything.values().chain(by_label).map(AsRef::as_ref)
        })
    }
}

impl<T> Shelves<T> {
    /// The label of a selector that the fewest documents are under: `app` rather than `environment`, once there are some
    /// of both.
    fn label_for<'a>(&self, selector: &'a Selector) -> Option<(&'a str, &'a str)> {
        let labels = selector.match_labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        labels.min_by_key(|(key, value)| {
            self.labels.get(*key).and_then(|values| values.get(*value)).map_or(0, OrdMap::len)
        })
    }
}

/// The value of a key, made if it is not there.
fn entry<'a, V: Clone + Default>(map: &'a mut HashMap<Text, V>, key: &Text) -> &'a mut V {
    map.entry(Arc::clone(key)).or_default()
}

// Derived, these would ask the same of the documents.

impl<T> Clone for BySelector<T> {
    fn clone(&self) -> Self {
        Self { namespaces: self.namespaces.clone() }
    }
}

impl<T> Clone for Shelves<T> {
    fn clone(&self) -> Self {
        Self { everything: self.everything.clone(), labels: self.labels.clone() }
    }
}

impl<T> Default for BySelector<T> {
    fn default() -> Self {
        Self { namespaces: HashMap::default() }
    }
}

impl<T> Default for Shelves<T> {
    fn default() -> Self {
        Self { everything: Shelf::default(), labels: HashMap::default() }
    }
}
