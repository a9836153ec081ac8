//! What `heddle check` finds in a set of objects: everything that an agent would refuse, and what is legal but surely
//! not meant. The same reading, acceptance and compiler as the agent's.

mod report;

use std::sync::Arc;

use crate::{
    config::Problem,
    mesh::{self, DocumentSettings, DocumentState, Documents, MeshSettings},
    objects::ObjectSet,
    rules::Enforced,
};

pub use report::{Finding, Report, Severity};

/// Checks a set. `unreadable` are the documents that are not in it, since they cannot be read.
pub fn check(objects: &ObjectSet, unreadable: &[Problem], settings: &MeshSettings) -> Report {
    let document_settings =
        DocumentSettings { root_namespace: Arc::clone(&settings.root_namespace), enforced: Enforced::THIS_BUILD };
    let mut documents = Documents::new(document_settings);
    objects.config_maps.values().for_each(|map| drop(documents.put(map)));
    let (_, mesh_problems) = mesh::compile(objects, settings);

    let mut report = Report::new(objects);
    report.extend(unreadable.iter().map(Finding::unreadable));
    report.extend(mesh_problems.iter().map(Finding::of_object));
    for status in documents.status() {
        match &status.state {
            DocumentState::Accepted => report.accepted += 1,
            DocumentState::Rejected { problems, .. } => {
                report.extend(problems.iter().map(|problem| Finding::rejected(&status, problem)));
            }
            DocumentState::Conflict { .. } => report.extend([Finding::conflict(&status)]),
        }
    }
    report
}

#[cfg(test)]
mod tests;
