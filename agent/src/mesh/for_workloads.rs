//! Documents of one kind by the workloads that they are for: those of the workload's namespace and of the root namespace
//! that select it.
//!
//! In: the rules in force, as they change. Out: the documents of a workload. Documents of which only one decides
//! (PeerAuthentication) are in `modes`.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Workload,
    by_selector::{BySelector, Selects},
};
use crate::{objects::ObjectName, rules::Rule};

/// What a workload needs of a rule that selects it.
pub(super) trait Document: Clone + PartialEq + Selects {
    /// `None` of a rule of another kind.
    fn of(rule: &Rule) -> Option<Self>;
    /// Its namespace and name.
    fn name(&self) -> &ObjectName;
}

/// All documents of one kind.
#[derive(Debug)]
pub(super) struct ForWorkloads<T> {
    root_namespace: Arc<str>,
    by_selector: BySelector<T>,
}

impl<T: Document> ForWorkloads<T> {
    /// None yet. Those of the root namespace are for the pods of all namespaces.
    pub(super) fn new(root_namespace: Arc<str>) -> Self {
        Self { root_namespace, ..Self::default() }
    }

    /// Takes over that a rule was this, and is that now. Rules of other kinds are passed over.
    pub(super) fn replace(&mut self, before: Option<&Rule>, now: Option<&Rule>) {
        if let Some(document) = before.and_then(T::of) {
            self.by_selector.remove(document.name(), document.selector());
        }
        if let Some(document) = now.and_then(T::of) {
            self.by_selector.insert(&document.name().clone(), document);
        }
    }

    /// Those that select a workload, in no order.
    pub(super) fn selecting<'a, 'b>(&'a self, workload: &'b Workload) -> impl Iterator<Item = &'a T> + use<'a, 'b, T> {
        let is_elsewhere = workload.namespace != self.root_namespace;
        let own = is_elsewhere.then(|| self.by_selector.select(&workload.namespace, &workload.labels));
        self.by_selector.select(&self.root_namespace, &workload.labels).chain(own.into_iter().flatten())
    }

    /// The same: those for the whole mesh first, then by name.
    pub(super) fn of(&self, workload: &Workload) -> Vec<&T> {
        let mut found: Vec<&T> = self.selecting(workload).collect();
        found.sort_unstable_by_key(|document| (document.name().namespace != self.root_namespace, document.name()));
        found
    }

    /// Whose documents are for the pods of all namespaces.
    pub(super) fn root_namespace(&self) -> &Arc<str> {
        &self.root_namespace
    }

    /// Whether nothing is kept, of what has gone either.
    pub(super) fn is_empty(&self) -> bool {
        self.by_selector.is_empty()
    }
}

/// The same documents are equal, in whatever order they came. The root namespace is one and the same for a process.
impl<T: Document> PartialEq for ForWorkloads<T> {
    fn eq(&self, other: &Self) -> bool {
        let by_name = |all: &Self| -> BTreeMap<ObjectName, T> {
            all.by_selector.iter().map(|document| (document.name().clone(), document.clone())).collect()
        };
        by_name(self) == by_name(other)
    }
}

// Derived, these would ask the same of the documents.

impl<T> Clone for ForWorkloads<T> {
    fn clone(&self) -> Self {
        Self { root_namespace: Arc::clone(&self.root_namespace), by_selector: self.by_selector.clone() }
    }
}

impl<T> Default for ForWorkloads<T> {
    fn default() -> Self {
        Self { root_namespace: Arc::default(), by_selector: BySelector::default() }
    }
}
