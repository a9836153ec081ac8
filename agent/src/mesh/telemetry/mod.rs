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
        WorkloadTelemetry {
            access_log: self.most_specific(workload, |spec| spec.access_log),
            tracing: self.most_specific(workload, |spec| spec.tracing),
        }
    }

    fn most_specific<T>(&self, workload: &Workload, part: impl Fn(&Telemetry) -> Option<T>) -> Option<T> {
        let is_of_mesh = |document: &TelemetryDocument| document.name().namespace == *self.telemetry.root_namespace();
        let level = |document: &TelemetryDocument| match document.spec.selector.is_everything() {
            false => 0,
            true if !is_of_mesh(document) => 1,
            true => 2,
        };
        let saying = self.telemetry.selecting(workload).filter_map(|document| Some((document, part(&document.spec)?)));
        saying.min_by_key(|(document, _)| (level(document), &document.age)).map(|(_, said)| said)
    }
}

#[cfg(test)]
mod tests;
