//! Telemetry documents, as the data path asks for them: what is logged and traced of a workload.
//!
//! Log and spans are decided each by itself, by the most specific document that says anything of it: of the workload, of its namespace,
//! of the mesh; of two that are as specific, by the older. What no document says is as agent.yaml has it, and not known here.

use super::{
    Snapshot, Workload,
    by_age::Age,
    by_selector::Selects,
    for_workloads::{Document, ForWorkloads},
};
use crate::{
    objects::ObjectName,
    rules::{
        Rule, Spec,
        telemetry::{AccessLogging, Telemetry, Tracing},
        value::Selector,
    },
};

/// What documents say of a workload's connections and requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkloadTelemetry {
    /// Lines in the access log.
    pub access_log: Option<AccessLogging>,
    /// Spans.
    pub tracing: Option<Tracing>,
}

/// A Telemetry in force.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TelemetryDocument {
    age: Age,
    spec: Telemetry,
}

/// All of them.
pub(super) type TelemetryDocuments = ForWorkloads<TelemetryDocument>;

impl Document for TelemetryDocument {
    fn of(rule: &Rule) -> Option<Self> {
        let Spec::Telemetry(spec) = &rule.spec else { return None };
        Some(Self { age: Age::of(rule), spec: spec.clone() })
    }

    fn name(&self) -> &ObjectName {
        self.age.name()
    }
}

impl Selects for TelemetryDocument {
    fn selector(&self) -> &Selector {
        &self.spec.selector
    }
}

impl Snapshot {
    /// What Telemetry documents say of a workload.
    pub fn telemetry_of(&self, workload: &Workload) -> WorkloadTelemetry {
        // Nearly always there are none.
        if self.telemetry.is_empty() {
            return WorkloadTelemetry::default();
        }
        let (mut access_log, mut tracing) = (None, None);
        for document in self.telemetry.selecting(workload) {
            let place = Place { level: self.level(document), age: &document.age };
            keep_first(&mut access_log, place, document.spec.access_log);
            keep_first(&mut tracing, place, document.spec.tracing);
        }
        WorkloadTelemetry { access_log: access_log.map(|(_, part)| part), tracing: tracing.map(|(_, part)| part) }
    }

    fn level(&self, document: &TelemetryDocument) -> Level {
        match document.spec.selector.is_everything() {
            false => Level::Workload,
            true if document.name().namespace == *self.telemetry.root_namespace() => Level::Mesh,
            true => Level::Namespace,
        }
    }
}

/// What a document is about; what is more specific comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Workload,
    Namespace,
    Mesh,
}

/// The order in which documents count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place<'a> {
    level: Level,
    age: &'a Age,
}

/// Keeps what the first of all documents says that say anything.
fn keep_first<'a, T>(kept: &mut Option<(Place<'a>, T)>, place: Place<'a>, part: Option<T>) {
    if let Some(part) = part
        && kept.as_ref().is_none_or(|(first, _)| place < *first)
    {
        *kept = Some((place, part));
    }
}

#[cfg(test)]
mod tests;
