//! Which mesh documents are in force: the rules of acceptance.
//!
//! In: ConfigMaps (and files, which look the same), as they change. Out: the [`Rule`]s in force, and what became of each
//! document. A document counts whole or not at all. One that cannot be accepted leaves its last accepted version in
//! force; of two that define the same object, the one in the older ConfigMap wins.

mod status;
mod text;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::SystemTime,
};

use crate::{
    objects::{ConfigMap, ObjectName, ObjectSet},
    rules::{Enforced, Rule, RuleKey},
};

pub use status::{DocumentState, DocumentStatus};

use text::{Origin, Text};

/// Rules in force. A copy shares all that is the same.
pub type Rules = imbl::OrdMap<RuleKey, Arc<Rule>>;

/// How documents are judged.
#[derive(Clone, Debug)]
struct DocumentSettings {
    /// The namespace of documents that concern the whole mesh. Files' documents without a namespace belong to it.
    root_namespace: Arc<str>,
    /// What this build enforces.
    enforced: Enforced,
}

/// All documents, and what is in force of them.
#[derive(Debug)]
pub(super) struct Documents {
    settings: DocumentSettings,
    maps: BTreeMap<ObjectName, Map>,
    /// Where each rule is defined, the definition that counts first.
    definitions: BTreeMap<RuleKey, BTreeSet<Place>>,
    in_force: Rules,
}

/// One ConfigMap.
#[derive(Debug)]
struct Map {
    uid: Option<Arc<str>>,
    created: Option<SystemTime>,
    texts: BTreeMap<String, Text>,
}

/// Where a document is; ordered by age of the ConfigMap, then by names. ConfigMaps of unknown age come last, and after
/// all of them what is only held, since nobody can tell whether it is still meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    held: bool,
    created: (bool, Option<SystemTime>),
    map: ObjectName,
    data_key: String,
    index: usize,
}

impl Documents {
    /// None yet.
    pub(super) fn new(root_namespace: Arc<str>, enforced: Enforced) -> Self {
        let settings = DocumentSettings { root_namespace, enforced };
        Self { settings, maps: BTreeMap::new(), definitions: BTreeMap::new(), in_force: Rules::new() }
    }

    /// The rules in force.
    pub(super) fn in_force(&self) -> &Rules {
        &self.in_force
    }

    /// Takes in ConfigMaps that changed; `changed` is what they were, `objects` what they are. The rules that are in
    /// force in another version now, or in force or not for the first time.
    pub(super) fn update(
        &mut self,
        changed: &BTreeMap<ObjectName, Option<Arc<ConfigMap>>>,
        objects: &ObjectSet,
    ) -> BTreeSet<RuleKey> {
        let before = self.in_force.clone();
        let mut touched = BTreeSet::new();
        for name in changed.keys() {
            touched.extend(match objects.config_maps.get(name) {
                Some(map) => self.put(map),
                None => self.remove(name),
            });
        }
        touched.retain(|key| before.get(key) != self.in_force.get(key));
        touched
    }

    /// A ConfigMap is there, new or changed. Returns the rules whose version in force may have changed.
    fn put(&mut self, map: &ConfigMap) -> BTreeSet<RuleKey> {
        let before = self.maps.remove(&map.name);
        let mut touched = before.as_ref().map(|before| self.undefine(&map.name, before)).unwrap_or_default();
        let now = self.read(map, before);
        for (place, key) in places(&map.name, &now) {
            self.definitions.entry(key.clone()).or_default().insert(place);
            touched.insert(key.clone());
        }
        self.maps.insert(map.name.clone(), now);
        self.settle(touched)
    }

    /// A ConfigMap is gone, and with it what it defined. Returns the rules whose version in force may have changed.
    fn remove(&mut self, name: &ObjectName) -> BTreeSet<RuleKey> {
        let Some(before) = self.maps.remove(name) else { return BTreeSet::new() };
        let touched = self.undefine(name, &before);
        self.settle(touched)
    }

    /// What became of each document, in the order of ConfigMaps and texts.
    pub(super) fn status(&self) -> Vec<DocumentStatus> {
        self.maps.iter().flat_map(|(name, map)| self.status_of(name, map)).collect()
    }

    fn read(&self, map: &ConfigMap, before: Option<Map>) -> Map {
        let mut texts_before = before.map(|before| before.texts).unwrap_or_default();
        let read = |(data_key, text): (&String, &Arc<str>)| {
            let origin = Origin { map, data_key, settings: &self.settings };
            let text = Text::read(&origin, text, texts_before.remove(data_key));
            (data_key.clone(), text)
        };
        Map { uid: map.uid.clone(), created: map.created, texts: map.data.iter().map(read).collect() }
    }

    fn undefine(&mut self, name: &ObjectName, map: &Map) -> BTreeSet<RuleKey> {
        let mut touched = BTreeSet::new();
        for (place, key) in places(name, map) {
            if let Some(definitions) = self.definitions.get_mut(key) {
                definitions.remove(&place);
            }
            touched.insert(key.clone());
        }
        touched
    }

    /// Brings what is in force in line with the definitions.
    fn settle(&mut self, touched: BTreeSet<RuleKey>) -> BTreeSet<RuleKey> {
        for key in &touched {
            let first = self.definitions.get(key).and_then(BTreeSet::first);
            match first {
                None => {
                    self.definitions.remove(key);
                    self.in_force.remove(key);
                }
                // A refused definition changes nothing: the last accepted version, if there is one, stays.
                Some(place) => {
                    if let Some(rule) = self.rule_at(place) {
                        self.in_force.insert(key.clone(), rule);
                    }
                }
            }
        }
        touched
    }

    fn rule_at(&self, place: &Place) -> Option<Arc<Rule>> {
        let text = self.maps.get(&place.map)?.texts.get(&place.data_key)?;
        if place.held { None } else { text.rule(place.index) }
    }

    fn status_of<'a>(&'a self, name: &'a ObjectName, map: &'a Map) -> impl Iterator<Item = DocumentStatus> + 'a {
        let created = map.created;
        map.texts.iter().flat_map(move |(data_key, text)| {
            let place = move |index| Place::new(created, name, data_key, Some(index));
            text.documents().map(move |document| {
                let winner = document.key().and_then(|key| self.definitions.get(key)?.first());
                let won = winner.filter(|winner| **winner != place(document.index));
                DocumentStatus {
                    config_map: name.clone(),
                    uid: map.uid.clone(),
                    data_key: data_key.clone(),
                    position: document.position,
                    rule: document.key().cloned(),
                    state: self.state_of(document, won),
                }
            })
        })
    }

    fn state_of(&self, document: &text::Document, winner: Option<&Place>) -> DocumentState {
        match (&document.outcome, winner) {
            (Err(problems), _) => {
                let last_good = document.key().is_some_and(|key| self.in_force.contains_key(key));
                DocumentState::Rejected { problems: problems.clone(), last_good_in_force: last_good }
            }
            (Ok(_), Some(winner)) => DocumentState::Conflict { winner: winner.to_string() },
            (Ok(_), None) => DocumentState::Accepted,
        }
    }
}

impl Place {
    /// Without an index, of what a text only holds.
    fn new(created: Option<SystemTime>, map: &ObjectName, data_key: &str, index: Option<usize>) -> Self {
        let (held, index) = (index.is_none(), index.unwrap_or_default());
        Self { held, created: (created.is_none(), created), map: map.clone(), data_key: data_key.to_owned(), index }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&text::label(&self.map, &self.data_key))
    }
}

/// Where a ConfigMap defines what.
fn places<'a>(name: &'a ObjectName, map: &'a Map) -> impl Iterator<Item = (Place, &'a RuleKey)> {
    let created = map.created;
    map.texts.iter().flat_map(move |(data_key, text)| {
        text.keys().map(move |(index, key)| (Place::new(created, name, data_key, index), key))
    })
}

#[cfg(test)]
mod tests;
