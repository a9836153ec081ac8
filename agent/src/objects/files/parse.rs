//! The text of one file to what its documents define.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    config::{Position, Problem, yaml},
    objects::{
        ConfigMap, Object, ObjectName,
        read::{self, Outcome},
    },
};

/// What one file defines.
#[derive(Clone, Debug, Default)]
pub(super) struct ParsedFile {
    /// In the order of the file.
    pub(super) outcomes: Vec<Outcome>,
    /// Objects of the file's earlier contents that stay in force, because a part of the file cannot be read and may
    /// be where they are defined. Not in force where another definition of the same object is readable.
    pub(super) held: Vec<Object>,
}

/// Parses a file's text.
pub(super) fn parse(file: &str, text: &str) -> ParsedFile {
    let documents = yaml::split(text);
    let outcomes = documents.iter().flat_map(|document| match document.parse(file, text) {
        Ok(node) => read::read(file, text, &node),
        Err(problem) => vec![Outcome::Broken(None, vec![problem])],
    });
    let mut outcomes: Vec<_> = outcomes.collect();
    if outcomes.contains(&Outcome::MeshDocument) {
        outcomes.push(Outcome::Read(Object::ConfigMap(Arc::new(as_config_map(file, text))), START));
    }
    ParsedFile { outcomes, held: Vec::new() }
}

const START: Position = Position { line: 1, column: 1 };

/// A file with mesh documents, such as a key of a mounted ConfigMap: to the mesh it is a ConfigMap with one text. The
/// reader of mesh documents passes over the other documents in it.
fn as_config_map(file: &str, text: &str) -> ConfigMap {
    let data = BTreeMap::from([(String::new(), text.into())]);
    ConfigMap { name: ObjectName::new("", file), uid: None, created: None, data }
}

/// A file whose text cannot be had.
pub(super) fn unreadable(problem: Problem) -> ParsedFile {
    ParsedFile { outcomes: vec![Outcome::Broken(None, vec![problem])], held: Vec::new() }
}

impl ParsedFile {
    /// Takes over from the file's earlier contents what may be meant by a part that cannot be read now.
    pub(super) fn following(mut self, earlier: Option<Self>) -> Self {
        let unknown_part = self.outcomes.iter().any(|outcome| matches!(outcome, Outcome::Broken(None, _)));
        if let Some(earlier) = earlier.filter(|_| unknown_part) {
            let objects = earlier.outcomes.into_iter().filter_map(|outcome| match outcome {
                Outcome::Read(object, _) => Some(object),
                Outcome::MeshDocument | Outcome::Ignored | Outcome::Broken(..) => None,
            });
            self.held = objects.chain(earlier.held).collect();
        }
        self
    }
}
