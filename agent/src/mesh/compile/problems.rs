//! What could not be honoured, kept by object: a change computes those of the objects anew that it touches.

use std::collections::BTreeMap;

use crate::{
    mesh::{MeshProblem, ObjectRef},
    objects::ObjectKey,
};

/// All problems; objects without any have no entry.
#[derive(Debug, Default)]
pub(super) struct Problems {
    by_object: BTreeMap<ObjectKey, Vec<String>>,
    new: Vec<MeshProblem>,
    changed: bool,
}

impl Problems {
    /// All that is wrong with an object now.
    pub(super) fn set(&mut self, object: &ObjectKey, messages: Vec<String>) {
        let before = match messages.is_empty() {
            true => self.by_object.remove(object),
            false => self.by_object.insert(object.clone(), messages.clone()),
        };
        let before = before.unwrap_or_default();
        self.changed |= before != messages;
        let new = messages.into_iter().filter(|message| !before.contains(message));
        self.new.extend(new.map(|message| problem(object, message)));
    }

    /// All problems if they are not the same as at the last call, and those that are new since then.
    pub(super) fn changed(&mut self) -> (Option<Vec<MeshProblem>>, Vec<MeshProblem>) {
        let changed = std::mem::take(&mut self.changed);
        let all = || {
            let of_object = |(object, messages): (_, &Vec<String>)| -> Vec<MeshProblem> {
                messages.iter().map(|message| problem(object, message.clone())).collect()
            };
            self.by_object.iter().flat_map(of_object).collect()
        };
        (changed.then(all), std::mem::take(&mut self.new))
    }
}

fn problem(object: &ObjectKey, message: String) -> MeshProblem {
    MeshProblem { object: ObjectRef(object.clone()), message }
}
