//! What single documents did to connections, by their names.
//!
//! Names are not a closed list, so they are bounded as workloads are: a cap folds what is beyond it into `other`, and a name
//! under which nothing was counted for as long as for an unused label set is removed.

use std::{collections::HashMap, time::Instant};

use parking_lot::Mutex;

use super::{ClosedLabel, Metrics, label_sets::UNUSED, labels::PolicyEffect};

/// Names in use. Far more than the documents that decide over the pods of one node.
const MAX_NAMES: usize = 1024;
const OTHER: &str = "other";

/// When something was last counted under each name.
#[derive(Debug, Default)]
pub(in crate::observe) struct PolicyHits(Mutex<HashMap<String, Instant>>);

impl PolicyHits {
    /// Counts one hit.
    pub(in crate::observe) fn count(&self, metrics: &Metrics, policy: &str, effect: PolicyEffect, now: Instant) {
        let mut names = self.0.lock();
        let name = if names.len() < MAX_NAMES || names.contains_key(policy) { policy } else { OTHER };
        if name == policy {
            names.insert(policy.to_owned(), now);
        }
        // Under the lock: `expire` must not remove the series between this and the line above.
        metrics.policy_hits.with_label_values(&[name, effect.as_str()]).inc();
    }

    /// Removes the names under which nothing was counted for [`UNUSED`] as of `now`.
    pub(in crate::observe) fn expire(&self, metrics: &Metrics, now: Instant) {
        self.0.lock().retain(|name, last| {
            let keep = now.saturating_duration_since(*last) < UNUSED;
            if !keep {
                for effect in PolicyEffect::ALL {
                    // Most effects never occurred: "not found" is the expected answer.
                    drop(metrics.policy_hits.remove_label_values(&[name.as_str(), effect.as_str()]));
                }
            }
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::time::Duration;

    use super::*;

    #[test]
    fn names_are_capped_and_forgotten_when_nothing_is_counted_under_them() {
        let (_registry, metrics) = crate::observe::metrics::new().unwrap();
        let (hits, start) = (PolicyHits::default(), Instant::now());
        for number in 0..MAX_NAMES + 10 {
            hits.count(&metrics, &format!("AuthorizationPolicy shop/{number}"), PolicyEffect::Denied, start);
        }
        let value = |name: &str| metrics.policy_hits.with_label_values(&[name, "denied"]).get();
        assert_eq!((value("AuthorizationPolicy shop/7"), value(OTHER)), (1, 10));

        let later = start + UNUSED - Duration::from_secs(1);
        hits.count(&metrics, "AuthorizationPolicy shop/7", PolicyEffect::Withdrawn, later);
        hits.expire(&metrics, later);
        assert_eq!(hits.0.lock().len(), MAX_NAMES, "not long enough");
        hits.expire(&metrics, start + UNUSED);
        assert_eq!(hits.0.lock().len(), 1);
        assert_eq!((value("AuthorizationPolicy shop/7"), value("AuthorizationPolicy shop/8")), (1, 0));
        hits.count(&metrics, "AuthorizationPolicy shop/2000", PolicyEffect::Denied, later);
        assert_eq!(value("AuthorizationPolicy shop/2000"), 1, "there is room again");
    }
}
