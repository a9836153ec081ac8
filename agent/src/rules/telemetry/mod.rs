//! Telemetry: what is logged and traced of a namespace's or a workload's connections and requests.

#[cfg(test)]
mod tests;

use serde::Serialize;

use super::value::{Percentage, Selector, percentage, required, selector};
use crate::config::yaml::MapReader;

/// `heddle.io/v1alpha1` Telemetry. What it does not say is as the agent's configuration has it. At least one part is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Telemetry {
    /// Which pods of the namespace; all of them without labels.
    #[serde(skip_serializing_if = "Selector::is_everything")]
    pub selector: Selector,
    /// Lines in the access log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_log: Option<AccessLogging>,
    /// Spans.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
}

/// Lines in the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessLogging {
    /// Whether there are any; `true` where it is absent.
    pub enabled: bool,
    /// For how many of those that succeed; all where it is absent. What fails or is refused is always logged.
    pub sampling_percentage: Percentage,
}

/// Spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tracing {
    /// For how many of the requests that come without a decision; 0 for none.
    pub sampling_percentage: Percentage,
}

/// Reads the spec.
pub(super) fn read(spec: MapReader<'_>) -> Option<Telemetry> {
    let selector = selector(&spec).unwrap_or_default();
    let access_log = spec.map("accessLog").map(access_log);
    let tracing = spec.map("tracing").and_then(tracing);
    if !spec.has("accessLog") && !spec.has("tracing") {
        spec.complain_here("has neither accessLog nor tracing, and needs one of them");
    }
    spec.finish();
    Some(Telemetry { selector, access_log, tracing })
}

fn access_log(map: MapReader<'_>) -> AccessLogging {
    let enabled = map.boolean("enabled").unwrap_or(true);
    let sampling_percentage = percentage(&map, "samplingPercentage").unwrap_or(Percentage::ALL);
    map.finish();
    AccessLogging { enabled, sampling_percentage }
}

fn tracing(map: MapReader<'_>) -> Option<Tracing> {
    let allowed = "a percentage from 0 to 100";
    let sampling = required(&map, "samplingPercentage", allowed, percentage(&map, "samplingPercentage"));
    map.finish();
    Some(Tracing { sampling_percentage: sampling? })
}
