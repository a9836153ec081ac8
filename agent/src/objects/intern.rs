//! One copy of what many objects say alike: names of namespaces and nodes, the labels of a ReplicaSet's pods.
//!
//! In: a value. Out: a shared one that is equal. Values that nobody holds any more are dropped when the table has
//! doubled, so it is never more than twice as large as what the objects in memory need.

use std::{
    collections::HashSet,
    hash::Hash,
    sync::{Arc, LazyLock},
};

use parking_lot::Mutex;

use super::{Map, OwnerReference, Place};

static TEXTS: LazyLock<Table<str>> = LazyLock::new(Table::default);
static MAPS: LazyLock<Table<Map>> = LazyLock::new(Table::default);
static OWNERS: LazyLock<Table<OwnerReference>> = LazyLock::new(Table::default);
static PORTS: LazyLock<Table<[u16]>> = LazyLock::new(Table::default);
static PLACES: LazyLock<Table<Place>> = LazyLock::new(Table::default);

/// The shared copy of a text. Not for texts that are different in each object, such as a pod's name.
pub fn text(value: &str) -> Arc<str> {
    TEXTS.known(value).unwrap_or_else(|| TEXTS.keep(value.into()))
}

/// The shared copy of a list of ports.
pub fn ports(value: &[u16]) -> Arc<[u16]> {
    PORTS.known(value).unwrap_or_else(|| PORTS.keep(value.into()))
}

/// The shared copy of labels or annotations.
pub fn map(value: Map) -> Arc<Map> {
    MAPS.owned(value)
}

/// The shared copy of an owner.
pub fn owner(value: OwnerReference) -> Arc<OwnerReference> {
    OWNERS.owned(value)
}

/// The shared copy of a place.
pub fn place(value: Place) -> Arc<Place> {
    PLACES.owned(value)
}

/// Fewer values than this are not worth a search for unused ones.
const SMALLEST_SWEEP: usize = 256;

struct Values<T: ?Sized> {
    values: HashSet<Arc<T>>,
    sweep_at: usize,
}

struct Table<T: ?Sized>(Mutex<Values<T>>);

impl<T: ?Sized> Default for Table<T> {
    fn default() -> Self {
        Self(Mutex::new(Values { values: HashSet::new(), sweep_at: SMALLEST_SWEEP }))
    }
}

impl<T: ?Sized + Eq + Hash> Table<T> {
    fn known(&self, value: &T) -> Option<Arc<T>> {
        self.0.lock().values.get(value).cloned()
    }

    /// Two threads may make one value at the same time: the first stays.
    fn keep(&self, new: Arc<T>) -> Arc<T> {
        let mut table = self.0.lock();
        if let Some(known) = table.values.get(&new) {
            return Arc::clone(known);
        }
        if table.values.len() >= table.sweep_at {
            table.values.retain(|value| Arc::strong_count(value) > 1);
            table.sweep_at = (table.values.len() * 2).max(SMALLEST_SWEEP);
        }
        table.values.insert(Arc::clone(&new));
        new
    }
}

impl<T: Eq + Hash> Table<T> {
    fn owned(&self, value: T) -> Arc<T> {
        self.known(&value).unwrap_or_else(|| self.keep(Arc::new(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_and_unused_ones_are_dropped() {
        let table = Table::<str>::default();
        let make = |value: &str| table.keep(value.into());
        let kept = make("kept");
        assert!(Arc::ptr_eq(&kept, &make("kept")));
        for number in 0..10 * SMALLEST_SWEEP {
            make(&number.to_string());
        }
        assert!(table.0.lock().values.len() <= SMALLEST_SWEEP, "all but one were unused");
        assert!(Arc::ptr_eq(&kept, &make("kept")));
    }
}
