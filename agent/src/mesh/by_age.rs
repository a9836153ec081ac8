//! Documents that say something of one thing, of which only the oldest counts.
//!
//! Age is that of the ConfigMap; of unknown age, as documents of files are, come last, and then namespace and name decide.
//! Those that lose are kept: one of them takes over when the first goes.

use std::{borrow::Borrow, collections::BTreeMap, sync::Arc, time::SystemTime};

use crate::{objects::ObjectName, rules::Rule};

/// What documents say, by what they say it of. A copy shares what is the same.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OldestOf<K: Ord, T>(imbl::OrdMap<K, Arc<Claims<T>>>);

/// What documents say of one thing, the oldest first.
type Claims<T> = BTreeMap<Age, Arc<T>>;

/// The order of documents.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Age {
    created: (bool, Option<SystemTime>),
    name: ObjectName,
}

impl Age {
    pub(super) fn of(rule: &Rule) -> Self {
        Self { created: (rule.created.is_none(), rule.created), name: rule.key.name.clone() }
    }

    /// The document.
    pub(super) fn name(&self) -> &ObjectName {
        &self.name
    }
}

impl<K: Ord + Clone, T> OldestOf<K, T> {
    /// Adds what a document says of a thing.
    pub(super) fn insert(&mut self, key: K, rule: &Rule, says: Arc<T>) {
        let mut claims = self.0.get(&key).map_or_else(Claims::new, |claims| Claims::clone(claims));
        claims.insert(Age::of(rule), says);
        self.0.insert(key, Arc::new(claims));
    }

    /// Takes that out again.
    pub(super) fn remove(&mut self, key: &K, rule: &Rule) {
        let Some(claims) = self.0.get(key) else { return };
        let mut claims = Claims::clone(claims);
        claims.remove(&Age::of(rule));
        match claims.is_empty() {
            true => drop(self.0.remove(key)),
            false => drop(self.0.insert(key.clone(), Arc::new(claims))),
        }
    }

    /// What counts of a thing.
    pub(super) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&Arc<T>>
    where
        K: Borrow<Q>,
    {
        self.0.get(key)?.values().next()
    }

    /// The document that says it.
    pub(super) fn winner<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&ObjectName>
    where
        K: Borrow<Q>,
    {
        self.0.get(key)?.keys().next().map(|age| &age.name)
    }

    /// Whether nothing is said of anything.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Ord, T> Default for OldestOf<K, T> {
    fn default() -> Self {
        Self(imbl::OrdMap::default())
    }
}
