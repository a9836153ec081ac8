//! Documents with a selector, found by the labels of a pod.
//!
//! A document is kept under the one of its labels that the fewest others ask for. So a pod finds the documents that may
//! select it under its own labels, of which it has a few, however many documents there are for other pods.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::Document;
use crate::objects::Map;

/// By key and value of one label of the selector; the oldest first.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Selecting(HashMap<String, HashMap<String, Vec<Arc<Document>>>>);

impl Selecting {
    pub(super) fn of(documents: Vec<Document>) -> Self {
        let mut documents = only_the_oldest_of_each_selector(documents);
        documents.sort_by(|a, b| a.age.cmp(&b.age));
        let mut asked_for: HashMap<(&str, &str), usize> = HashMap::new();
        for label in documents.iter().flat_map(labels) {
            *asked_for.entry(label).or_default() += 1;
        }
        let rarest = |document: &Document| -> Option<(String, String)> {
            let (key, value) = labels(document).min_by_key(|label| asked_for.get(label))?;
            Some((key.to_owned(), value.to_owned()))
        };
        let places: Vec<_> = documents.iter().map(rarest).collect();
        let mut all = Self::default();
        for (document, place) in documents.into_iter().zip(places) {
            if let Some((key, value)) = place {
                all.0.entry(key).or_default().entry(value).or_default().push(Arc::new(document));
            }
        }
        all
    }

    /// The oldest document that selects a pod with these labels.
    pub(super) fn oldest(&self, labels: &Map) -> Option<&Document> {
        if self.0.is_empty() {
            return None;
        }
        let kept = labels.iter().filter_map(|(key, value)| self.0.get(key)?.get(value));
        let first = kept.filter_map(|documents| documents.iter().find(|document| document.selector.selects(labels)));
        first.map(AsRef::as_ref).min_by(|a, b| a.age.cmp(&b.age))
    }
}

/// The others select the same pods and never come first.
fn only_the_oldest_of_each_selector(documents: Vec<Document>) -> Vec<Document> {
    let mut oldest: BTreeMap<Map, Document> = BTreeMap::new();
    for document in documents {
        match oldest.get(&document.selector.match_labels) {
            Some(other) if other.age < document.age => {}
            _ => drop(oldest.insert(document.selector.match_labels.clone(), document)),
        }
    }
    oldest.into_values().collect()
}

fn labels(document: &Document) -> impl Iterator<Item = (&str, &str)> {
    document.selector.match_labels.iter().map(|(key, value)| (key.as_str(), value.as_str()))
}

#[cfg(test)]
impl Selecting {
    /// How many documents the search for these labels may have to look at.
    pub(super) fn looked_at(&self, labels: &Map) -> usize {
        labels.iter().filter_map(|(key, value)| self.0.get(key)?.get(value)).map(Vec::len).sum()
    }
}
