//! XBackendTrafficPolicy: how much may be tried again at a Service, and how its clients stay with one endpoint.

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::gateway::{
    DURATION, SessionPersistence, as_duration, parse_duration, required, required_list, service_target,
    session_persistence,
};
use crate::config::yaml::MapReader;

/// By upstream's schema.
const MAX_TARGETS: usize = 16;
const MAX_INTERVAL: Duration = Duration::from_secs(3600);

/// `gateway.networking.x-k8s.io/v1alpha1` BackendTrafficPolicySpec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendTrafficPolicy {
    /// The Services of its namespace that it is for, at least one, each once.
    pub target_refs: Vec<TargetRef>,
    /// How much may be tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_constraint: Option<RetryConstraint>,
    /// How a client stays with one endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_persistence: Option<SessionPersistence>,
}

/// LocalPolicyTargetReference to a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetRef {
    /// Name of the Service, in the policy's namespace.
    pub name: String,
}

/// RetryConstraint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryConstraint {
    /// The share of requests that may be tries again.
    pub budget: RetryBudget,
    /// What is allowed however few requests there are.
    pub min_retry_rate: RequestRate,
}

/// BudgetDetails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RetryBudget {
    /// At most 100.
    pub percent: u8,
    /// How far back requests count, from a second to an hour.
    #[serde(serialize_with = "as_duration")]
    pub interval: Duration,
}

/// RequestRate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RequestRate {
    /// From 1 to a million.
    pub count: u32,
    /// Above zero, and up to an hour.
    #[serde(serialize_with = "as_duration")]
    pub interval: Duration,
}

/// Upstream's default.
impl Default for RetryBudget {
    fn default() -> Self {
        Self { percent: 20, interval: Duration::from_secs(10) }
    }
}

/// Upstream's default.
impl Default for RequestRate {
    fn default() -> Self {
        Self { count: 10, interval: Duration::from_secs(1) }
    }
}

/// Reads the spec.
pub(super) fn read(spec: MapReader<'_>) -> Option<BackendTrafficPolicy> {
    let target_refs = target_refs(&spec);
    let retry_constraint = spec.map("retryConstraint").map(retry_constraint);
    let session_persistence = session_persistence(&spec);
    spec.finish();
    Some(BackendTrafficPolicy { target_refs, retry_constraint, session_persistence })
}

fn target_refs(spec: &MapReader<'_>) -> Vec<TargetRef> {
    let maps = required_list(spec, "targetRefs", MAX_TARGETS, "the Services that the policy is for");
    let mut targets: Vec<TargetRef> = Vec::with_capacity(maps.len());
    for map in maps {
        service_target(&map);
        let name = required(&map, "name", "the name of a Service, of 1 to 253 characters", |name| {
            (1..=253).contains(&name.chars().count()).then(|| name.to_owned())
        });
        let target = name.map(|name| TargetRef { name });
        if target.iter().any(|target| targets.contains(target)) {
            map.complain_here("is the same Service as one before it, allowed: each once");
        }
        targets.extend(target);
        map.finish();
    }
    targets
}

fn retry_constraint(map: MapReader<'_>) -> RetryConstraint {
    let budget = map.map("budget").map_or_else(RetryBudget::default, |map| {
        let default = RetryBudget::default();
        let percent = map.integer("percent", "a whole number from 0 to 100", |percent| *percent <= 100);
        let interval = interval(&map, "from 1s to 1h", Duration::from_secs(1));
        map.finish();
        RetryBudget { percent: percent.unwrap_or(default.percent), interval: interval.unwrap_or(default.interval) }
    });
    let min_retry_rate = map.map("minRetryRate").map_or_else(RequestRate::default, |map| {
        let default = RequestRate::default();
        let allowed = "a whole number from 1 to 1000000";
        let count = map.integer("count", allowed, |count| (1..=1_000_000).contains(count));
        let interval = interval(&map, "above 0s and up to 1h", Duration::from_millis(1));
        map.finish();
        RequestRate { count: count.unwrap_or(default.count), interval: interval.unwrap_or(default.interval) }
    });
    map.finish();
    RetryConstraint { budget, min_retry_rate }
}

fn interval(map: &MapReader<'_>, range: &str, least: Duration) -> Option<Duration> {
    let interval = map.parsed("interval", DURATION, parse_duration);
    if interval.is_some_and(|interval| interval < least || interval > MAX_INTERVAL) {
        map.complain("interval", format!("is out of range, allowed: {range}"));
    }
    interval
}

impl Serialize for TargetRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("group", "")?;
        map.serialize_entry("kind", "Service")?;
        map.serialize_entry("name", &self.name)?;
        map.end()
    }
}
