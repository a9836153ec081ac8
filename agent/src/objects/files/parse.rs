//! The text of one file to what its documents define.

use crate::{
    config::{Problem, yaml},
    objects::{
        Object,
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
    ParsedFile { outcomes: outcomes.collect(), held: Vec::new() }
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
                Outcome::Ignored(_) | Outcome::Broken(..) => None,
            });
            self.held = objects.chain(earlier.held).collect();
        }
        self
    }
}
