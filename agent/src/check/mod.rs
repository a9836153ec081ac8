//! What `heddle check` finds in a set of objects: everything that an agent would refuse, and what is legal but surely
//! not meant. The same reading, acceptance and compiler as the agent's. `cluster/` and `node/` judge where Heddle is to run.

pub mod cluster;
pub mod fuzz;
mod kernel;
mod lints;
pub mod node;
mod outcome;
mod report;
mod version;

use crate::{
    config::Problem,
    mesh::{self, DocumentState, MeshSettings},
    objects::ObjectSet,
};

pub use outcome::{Outcome, Standing};
pub use report::{Finding, Report, Severity};

/// Checks a set. `unreadable` are the documents that are not in it, since they cannot be read.
pub fn check(objects: &ObjectSet, unreadable: &[Problem], settings: &MeshSettings) -> Report {
    let mut report = refusals(objects, unreadable, settings);
    let lints::Found { findings, unchecked } = lints::run(objects, settings);
    report.extend(findings);
    report.unchecked = unchecked.into_iter().collect();
    report
}

/// The errors alone: what an agent would refuse.
pub fn refusals(objects: &ObjectSet, unreadable: &[Problem], settings: &MeshSettings) -> Report {
    let compiled = mesh::compile(objects, settings);
    let mut report = Report::new(objects);
    let mut findings: Vec<_> = unreadable.iter().map(Finding::unreadable).collect();
    findings.extend(compiled.problems.iter().map(Finding::of_object));
    for status in compiled.documents {
        match &status.state {
            DocumentState::Accepted => report.accepted += 1,
            DocumentState::Rejected { problems, .. } => {
                findings.extend(problems.iter().map(|problem| Finding::rejected(&status, problem)));
            }
            DocumentState::Conflict { .. } => findings.push(Finding::conflict(&status)),
        }
    }
    report.extend(findings);
    report
}

#[cfg(test)]
mod example_tests;
#[cfg(test)]
mod tests;
