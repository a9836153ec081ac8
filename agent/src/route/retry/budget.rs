//! The retry budget of one destination, node-wide: which share of its requests may be tries again, and how many always
//! may (XBackendTrafficPolicy).
//!
//! Times are counted in [`BUCKETS`] parts of the interval, the oldest of which is dropped whole: a window therefore reaches
//! back by nine to ten tenths of its interval.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{
    mesh::ServiceName,
    rules::backend_traffic_policy::{RequestRate, RetryBudget, RetryConstraint},
};

/// What is known of one destination.
#[derive(Debug)]
pub struct Budget {
    began: Instant,
    state: Mutex<State>,
}

/// The budgets of this node, one for each Service that was asked; [`Budgets::retain`] bounds them.
#[derive(Debug, Default)]
pub struct Budgets {
    all: Mutex<HashMap<ServiceName, Arc<Budget>>>,
}

impl Budgets {
    /// That of a Service, under what a policy says of it now.
    pub fn of(&self, service: &ServiceName, constraint: Option<RetryConstraint>) -> Arc<Budget> {
        let constraint = constraint.unwrap_or_else(|| RetryConstraint {
            budget: RetryBudget::default(),
            min_retry_rate: RequestRate::default(),
        });
        let mut all = self.all.lock();
        if let Some(budget) = all.get(service) {
            budget.set(constraint);
            return Arc::clone(budget);
        }
        Arc::clone(all.entry(service.clone()).or_insert_with(|| Arc::new(Budget::new(constraint, Instant::now()))))
    }

    /// Forgets those of Services that are not there.
    pub fn retain(&self, there: impl Fn(&ServiceName) -> bool) {
        self.all.lock().retain(|service, _| there(service));
    }
}

#[derive(Debug)]
struct State {
    constraint: RetryConstraint,
    requests: Window,
    retries: Window,
    /// Retries within the interval of the rate that is always allowed.
    recent: Window,
}

#[derive(Debug)]
struct Window {
    width: u128,
    /// The part of time that the last bucket is for.
    newest: u128,
    counts: [u64; BUCKETS],
}

const BUCKETS: usize = 10;

impl Budget {
    /// Nothing was sent yet.
    pub fn new(constraint: RetryConstraint, now: Instant) -> Self {
        Self { began: now, state: Mutex::new(State::new(constraint)) }
    }

    /// Counts a request, not its tries again.
    pub fn request(&self, now: Instant) {
        let since = now.saturating_duration_since(self.began);
        self.state.lock().requests.add(since);
    }

    /// Counts a try again, if the budget has one.
    pub fn try_retry(&self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.began);
        self.state.lock().try_retry(since)
    }

    /// Follows a change of the policy; what was counted under another one is forgotten.
    pub fn set(&self, constraint: RetryConstraint) {
        let mut state = self.state.lock();
        if state.constraint != constraint {
            *state = State::new(constraint);
        }
    }
}

impl State {
    fn new(constraint: RetryConstraint) -> Self {
        let [requests, retries] = [(); 2].map(|()| Window::new(constraint.budget.interval));
        Self { constraint, requests, retries, recent: Window::new(constraint.min_retry_rate.interval) }
    }

    fn try_retry(&mut self, since: Duration) -> bool {
        let share = self.requests.sum(since).saturating_mul(u64::from(self.constraint.budget.percent)) / 100;
        let allowed =
            self.retries.sum(since) < share || self.recent.sum(since) < u64::from(self.constraint.min_retry_rate.count);
        if allowed {
            self.retries.add(since);
            self.recent.add(since);
        }
        allowed
    }
}

impl Window {
    fn new(interval: Duration) -> Self {
        let width = (interval.as_nanos() / BUCKETS as u128).max(1);
        Self { width, newest: 0, counts: [0; BUCKETS] }
    }

    fn add(&mut self, since: Duration) {
        self.advance(since);
        if let Some(count) = self.counts.last_mut() {
            *count = count.saturating_add(1);
        }
    }

    fn sum(&mut self, since: Duration) -> u64 {
        self.advance(since);
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Threads may be a little out of order: an earlier time counts as the newest.
    fn advance(&mut self, since: Duration) {
        let newest = (since.as_nanos() / self.width).max(self.newest);
        let gone = usize::try_from(newest - self.newest).unwrap_or(BUCKETS).min(BUCKETS);
        self.counts.rotate_left(gone);
        let kept = BUCKETS - gone;
        self.counts.iter_mut().skip(kept).for_each(|count| *count = 0);
        self.newest = newest;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rules::backend_traffic_policy::{RequestRate, RetryBudget};

    fn defaults() -> RetryConstraint {
        RetryConstraint { budget: RetryBudget::default(), min_retry_rate: RequestRate::default() }
    }

    fn retries(budget: &Budget, now: Instant) -> usize {
        (0..10_000).take_while(|_| budget.try_retry(now)).count()
    }

    #[test]
    fn ten_a_second_without_any_request_and_a_fifth_of_many() {
        let now = Instant::now();
        let budget = Budget::new(defaults(), now);
        assert_eq!(retries(&budget, now), 10);
        assert_eq!(retries(&budget, now + Duration::from_secs(1)), 10);
        let budget = Budget::new(defaults(), now);
        (0..1_000).for_each(|_| budget.request(now));
        assert_eq!(retries(&budget, now), 200);
        assert_eq!(retries(&budget, now + Duration::from_secs(10)), 10, "the requests are forgotten");
    }

    #[test]
    fn a_changed_policy_applies_at_once() {
        let now = Instant::now();
        let budget = Budget::new(defaults(), now);
        assert_eq!(retries(&budget, now), 10);
        budget.set(defaults());
        assert_eq!(retries(&budget, now), 0);
        let min_retry_rate = RequestRate { count: 3, interval: Duration::from_secs(1) };
        budget.set(RetryConstraint { min_retry_rate, ..defaults() });
        assert_eq!(retries(&budget, now), 3);
    }

    proptest! {
        #[test]
        fn as_a_list_of_all_times(
            percent in 0_u8..=100,
            count in 1_u32..5,
            steps in prop::collection::vec((any::<bool>(), 0_u64..700), 1..300),
        ) {
            let budget = RetryBudget { percent, interval: Duration::from_secs(2) };
            let min_retry_rate = RequestRate { count, interval: Duration::from_secs(1) };
            let began = Instant::now();
            let real = Budget::new(RetryConstraint { budget, min_retry_rate }, began);
            let (mut requests, mut retries, mut time) = (Vec::new(), Vec::new(), 0_u64);
            // Within the last ten parts of an interval, in milliseconds.
            let within = |times: &[u64], time: u64, interval: u64| {
                let part = interval / 10;
                times.iter().filter(|past| **past / part + 10 > time / part).count() as u64
            };
            for (retry, wait) in steps {
                time += wait;
                let now = began + Duration::from_millis(time);
                if !retry {
                    requests.push(time);
                    real.request(now);
                    continue;
                }
                let share = within(&requests, time, 2_000) * u64::from(percent) / 100;
                let allowed = within(&retries, time, 2_000) < share || within(&retries, time, 1_000) < u64::from(count);
                prop_assert_eq!(real.try_retry(now), allowed);
                if allowed { retries.push(time); }
            }
        }
    }
}
