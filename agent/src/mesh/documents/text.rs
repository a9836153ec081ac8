//! One text of a ConfigMap: the documents in it, and those that it had and that cannot be told any more.

use std::{collections::BTreeSet, sync::Arc, time::SystemTime};

use super::DocumentSettings;
use crate::{
    config::{
        Position, Problem,
        yaml::{self, Node},
    },
    objects::{ConfigMap, ObjectName},
    rules::{self, Reading, Rule, RuleKey},
};

/// Where a text is from.
pub(super) struct Origin<'a> {
    pub(super) map: &'a ConfigMap,
    pub(super) data_key: &'a str,
    pub(super) settings: &'a DocumentSettings,
}

/// A text as last read.
#[derive(Debug)]
pub(super) struct Text {
    source: Arc<str>,
    created: Option<SystemTime>,
    documents: Vec<Document>,
    /// What earlier versions of the text defined and this one may still mean, where a part of it cannot be read.
    held: BTreeSet<RuleKey>,
}

/// One document.
#[derive(Debug)]
pub(super) struct Document {
    /// Counts from 0 within the text.
    pub(super) index: usize,
    pub(super) position: Position,
    key: Option<RuleKey>,
    pub(super) outcome: Result<Arc<Rule>, Arc<[Problem]>>,
}

/// A ConfigMap's text, or a file, in messages.
pub(super) fn label(map: &ObjectName, data_key: &str) -> String {
    match map.namespace.is_empty() {
        true => map.name.to_string(),
        false => format!("ConfigMap {map}, key {data_key}"),
    }
}

impl Text {
    /// Reads a text; one that has not changed keeps its reading.
    pub(super) fn read(origin: &Origin<'_>, source: &Arc<str>, before: Option<Self>) -> Self {
        match before {
            Some(before) if before.source == *source && before.created == origin.map.created => before,
            before => Self::read_new(origin, source, before),
        }
    }

    fn read_new(origin: &Origin<'_>, source: &Arc<str>, before: Option<Self>) -> Self {
        let label = label(&origin.map.name, origin.data_key);
        let (mut documents, mut is_whole) = (Vec::new(), true);
        for (index, document) in yaml::split(source).iter().enumerate() {
            let start = Position { line: document.first_line + 1, column: 1 };
            let (position, key, outcome) = match document.parse(&label, source) {
                Ok(node) => match origin.document(&label, source, &node) {
                    Some((key, outcome)) => (node.position, key, outcome),
                    None => continue,
                },
                Err(problem) => (start, None, Err([problem].into())),
            };
            is_whole &= key.is_some();
            // The reader of the file's Kubernetes objects has reported what is no YAML at all.
            if key.is_some() || !origin.map.is_file() {
                documents.push(Document { index, position, key, outcome });
            }
        }
        let held = match before {
            Some(before) if !is_whole => before.into_keys().filter(|key| !defines(&documents, key)).collect(),
            _ => BTreeSet::new(),
        };
        Self { source: Arc::clone(source), created: origin.map.created, documents, held }
    }

    pub(super) fn documents(&self) -> impl Iterator<Item = &Document> {
        self.documents.iter()
    }

    /// What this text defines, well or badly, with the indices of the documents. What is held has none.
    pub(super) fn keys(&self) -> impl Iterator<Item = (Option<usize>, &RuleKey)> {
        let defined = self.documents.iter().filter_map(|document| Some((Some(document.index), document.key.as_ref()?)));
        defined.chain(self.held.iter().map(|key| (None, key)))
    }

    /// The rule of a document that can be accepted.
    pub(super) fn rule(&self, index: usize) -> Option<Arc<Rule>> {
        self.documents.iter().find(|document| document.index == index)?.outcome.as_ref().ok().cloned()
    }

    fn into_keys(self) -> impl Iterator<Item = RuleKey> {
        self.documents.into_iter().filter_map(|document| document.key).chain(self.held)
    }
}

impl Document {
    pub(super) fn key(&self) -> Option<&RuleKey> {
        self.key.as_ref()
    }
}

type Outcome = Result<Arc<Rule>, Arc<[Problem]>>;

impl Origin<'_> {
    /// `None` for a document that is none of the mesh's business.
    fn document(&self, label: &str, source: &str, node: &Node) -> Option<(Option<RuleKey>, Outcome)> {
        let namespace = match self.map.is_file() {
            true => &self.settings.root_namespace,
            false => &self.map.name.namespace,
        };
        match rules::read(label, source, node, namespace, self.settings.enforced) {
            Reading::Rule(rule, _) => {
                let outcome = match self.foreign_namespace(label, source, node, &rule.key) {
                    Some(problem) => Err([problem].into()),
                    None => Ok(Arc::new(Rule { created: self.map.created, ..*rule })),
                };
                // A document that speaks for another namespace defines nothing there, not even a conflict.
                let key = outcome.as_ref().ok().map(|rule| rule.key.clone());
                Some((key, outcome))
            }
            Reading::Refused(key, problems) => {
                let key = key.filter(|key| self.may_define(key));
                Some((key, Err(problems.into())))
            }
            // Kubernetes objects may lie in the same file.
            Reading::Other if self.map.is_file() => None,
            Reading::Other => {
                let message =
                    "is not mesh configuration; `heddle check --features` lists the kinds that are".to_owned();
                Some((None, Err([Problem::at(label, source, node.position, message)].into())))
            }
        }
    }

    fn may_define(&self, key: &RuleKey) -> bool {
        self.map.is_file() || key.name.namespace == self.map.name.namespace
    }

    fn foreign_namespace(&self, label: &str, source: &str, node: &Node, key: &RuleKey) -> Option<Problem> {
        if self.may_define(key) {
            return None;
        }
        let place = node.get("metadata").and_then(|metadata| metadata.get("namespace")).unwrap_or(node).position;
        let own = &self.map.name.namespace;
        let message = format!(
            "metadata.namespace: found {:?}, allowed: {own:?} or none, since a ConfigMap governs its own namespace only",
            key.name.namespace
        );
        Some(Problem::at(label, source, place, message))
    }
}

fn defines(documents: &[Document], key: &RuleKey) -> bool {
    documents.iter().any(|document| document.key.as_ref() == Some(key))
}
