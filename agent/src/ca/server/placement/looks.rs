//! How often the pods of a node may be looked at beside the watch: so often in all, and so often for one node.
//!
//! The watch shows a new pod within a second, so few looks are honest. Whoever asks for what is not there must neither
//! burden the API server nor use up what other nodes need.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

/// Of all nodes together, a second. A cluster that starts as a whole has a watch that has just listed everything.
const PER_SECOND: f64 = 20.0;

/// Saved up while nobody looks.
const BURST: f64 = 40.0;

/// Two looks for one node are no closer. An agent that starts several new pods tries again after half a second.
const APART: Duration = Duration::from_millis(250);

/// The budget.
#[derive(Debug)]
pub(super) struct Looks {
    saved: f64,
    counted: Instant,
    last: HashMap<Box<str>, Instant>,
}

impl Looks {
    pub(super) fn new(now: Instant) -> Self {
        Self { saved: BURST, counted: now, last: HashMap::new() }
    }

    /// Whether a look is allowed now; if so, it is counted.
    pub(super) fn allow(&mut self, node: &str, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.counted).as_secs_f64() * PER_SECOND;
        (self.saved, self.counted) = ((self.saved + earned).min(BURST), now);
        // So many can have been allowed within `APART` and no more: the map has a bound.
        self.last.retain(|_, last| now.saturating_duration_since(*last) < APART);
        if self.saved < 1.0 || self.last.contains_key(node) {
            return false;
        }
        self.saved -= 1.0;
        self.last.insert(node.into(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_waits_for_its_own_last_look_and_for_no_other_node() {
        let now = Instant::now();
        let mut looks = Looks::new(now);
        assert!(looks.allow("one", now));
        assert!(!looks.allow("one", now + APART / 2));
        assert!(looks.allow("two", now + APART / 2));
        assert!(looks.allow("one", now + APART));
    }

    #[test]
    fn all_nodes_share_a_budget_that_fills_again() {
        let now = Instant::now();
        let mut looks = Looks::new(now);
        let allowed = (0..1000).filter(|n| looks.allow(&n.to_string(), now)).count();
        assert_eq!(allowed, 40);
        let later = now + Duration::from_secs(1);
        let allowed = (0..1000).filter(|n| looks.allow(&n.to_string(), later)).count();
        assert_eq!(allowed, 20);
        assert!(looks.last.len() <= 40);
    }
}
