//! Readiness: named conditions that parts of the agent require and fulfil, and what is still missing.
//!
//! The agent is ready when every condition is met and it is not draining. Parts only report; nothing is worked out here.

use std::{collections::BTreeMap, fmt, sync::Arc};

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

/// The registry of conditions. Cloning gives another handle to the same one.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<RwLock<State>>);

#[derive(Debug, Default)]
struct State {
    /// Why each condition is not met; `None` where it is.
    conditions: BTreeMap<Arc<str>, Option<String>>,
    draining: Option<String>,
}

/// What a probe is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReadinessReport {
    /// Whether new traffic should come.
    pub ready: bool,
    /// What is missing, ordered by name.
    pub missing: Vec<Missing>,
}

/// One thing that is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// The condition, as its part named it: `certificate spiffe://...`.
    pub condition: String,
    /// Why it is not met.
    pub reason: String,
}

/// Reason of a condition that nobody has reported on.
const NOT_YET: &str = "not yet";

impl Readiness {
    /// A registry that is not ready until each of `conditions` is met.
    pub fn new<'a>(conditions: impl IntoIterator<Item = &'a str>) -> Self {
        let readiness = Self(Arc::default());
        conditions.into_iter().for_each(|condition| readiness.require(condition));
        readiness
    }

    /// Requires a condition, not met yet. One that exists keeps its state.
    pub fn require(&self, condition: &str) {
        self.0.write().conditions.entry(condition.into()).or_insert_with(|| Some(NOT_YET.to_owned()));
    }

    /// The condition is met.
    pub fn met(&self, condition: &str) {
        self.0.write().conditions.insert(condition.into(), None);
    }

    /// The condition is not, or no longer, met.
    pub fn missing(&self, condition: &str, reason: impl Into<String>) {
        self.0.write().conditions.insert(condition.into(), Some(reason.into()));
    }

    /// The condition does not matter any more (its pod is gone).
    pub fn forget(&self, condition: &str) {
        self.0.write().conditions.remove(condition);
    }

    /// The agent is stopping: not ready for good, whatever the conditions.
    pub fn drain(&self, reason: impl Into<String>) {
        self.0.write().draining = Some(reason.into());
    }

    /// The state as of now.
    pub fn report(&self) -> ReadinessReport {
        let state = self.0.read();
        let draining = state.draining.iter().map(|reason| ("draining", reason));
        let unmet = state.conditions.iter().filter_map(|(name, reason)| Some((name.as_ref(), reason.as_ref()?)));
        let missing: Vec<_> = draining
            .chain(unmet)
            .map(|(name, reason)| Missing { condition: name.to_owned(), reason: reason.clone() })
            .collect();
        ReadinessReport { ready: missing.is_empty(), missing }
    }
}

/// `ok`, or one line per missing condition.
impl fmt::Display for ReadinessReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ready {
            return writeln!(f, "ok");
        }
        self.missing.iter().try_for_each(|missing| writeln!(f, "{}: {}", missing.condition, missing.reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_when_every_condition_is_met() {
        let readiness = Readiness::new(["snapshot published", "programs attached"]);
        assert_eq!(readiness.report().to_string(), "programs attached: not yet\nsnapshot published: not yet\n");
        readiness.met("programs attached");
        readiness.met("snapshot published");
        assert_eq!(readiness.report().to_string(), "ok\n");
        readiness.missing("certificate spiffe://t/ns/a/sa/b", "the ca did not answer");
        assert_eq!(readiness.report().to_string(), "certificate spiffe://t/ns/a/sa/b: the ca did not answer\n");
        readiness.forget("certificate spiffe://t/ns/a/sa/b");
        assert!(readiness.report().ready);
    }

    #[test]
    fn requiring_again_keeps_what_was_reported() {
        let readiness = Readiness::new(["programs attached"]);
        readiness.met("programs attached");
        readiness.require("programs attached");
        assert!(readiness.report().ready);
    }

    #[test]
    fn draining_is_not_ready_whatever_is_met() {
        let readiness = Readiness::new([]);
        assert!(readiness.report().ready);
        readiness.drain("stopping, 3 connections open");
        assert_eq!(readiness.report().to_string(), "draining: stopping, 3 connections open\n");
    }
}
