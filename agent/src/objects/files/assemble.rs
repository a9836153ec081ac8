//! Parsed files to one consistent set of objects.

use std::collections::BTreeMap;

use super::parse::ParsedFile;
use crate::{
    config::{Position, Problem},
    objects::{Object, ObjectKey, ObjectSet, read::Outcome},
};

/// A file's name, its text for snippets, and what it defines.
pub(super) type NamedFile<'a> = (&'a str, &'a ParsedFile);

/// What a directory defines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Assembled {
    pub(super) set: ObjectSet,
    /// Documents and files that could not be read. The last good version of their objects is in the set.
    pub(super) problems: Vec<Problem>,
}

/// Puts files together in the given order. The first definition of an object wins. A broken definition of an object
/// counts as its version in `last`, the set that was in force before.
pub(super) fn assemble<'a>(files: impl Iterator<Item = NamedFile<'a>> + Clone, last: &ObjectSet) -> Assembled {
    let mut assembly = Assembly::default();
    for (file, parsed) in files.clone() {
        for outcome in &parsed.outcomes {
            assembly.add(file, outcome, last);
        }
    }
    for object in files.flat_map(|(_, parsed)| &parsed.held) {
        if !assembly.contents.set.contains(&object.key()) {
            assembly.contents.set.insert(object.clone());
        }
    }
    assembly.contents
}

#[derive(Default)]
struct Assembly<'a> {
    contents: Assembled,
    defined_in: BTreeMap<ObjectKey, &'a str>,
}

impl<'a> Assembly<'a> {
    fn add(&mut self, file: &'a str, outcome: &Outcome, last: &ObjectSet) {
        match outcome {
            Outcome::Read(object, position) => self.define(file, object.clone(), *position),
            // A mesh document is read from its whole file: see `ParsedFile::documents`.
            Outcome::MeshDocument | Outcome::Ignored => {}
            Outcome::Broken(key, problems) => {
                self.contents.problems.extend(problems.iter().cloned());
                if let Some(good) = key.as_ref().and_then(|key| last.get(key))
                    && !self.contents.set.contains(&good.key())
                {
                    self.defined_in.insert(good.key(), file);
                    self.contents.set.insert(good);
                }
            }
        }
    }

    fn define(&mut self, file: &'a str, object: Object, position: Position) {
        let key = object.key();
        if let Some(first) = self.defined_in.get(&key) {
            let message = format!("{key} is already defined in {first}, which comes first; remove one of the two");
            self.contents.problems.push(Problem {
                file: file.into(),
                position: Some(position),
                message,
                snippet: None,
            });
        } else {
            self.defined_in.insert(key, file);
            self.contents.set.insert(object);
        }
    }
}
