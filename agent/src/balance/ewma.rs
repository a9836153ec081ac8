//! How slow an endpoint is: a moving average of its latencies that follows peaks at once.
//!
//! A latency above the estimate becomes the estimate: a slow endpoint is known after one answer. One below it only pulls
//! the estimate down, the more the longer ago the last one was. Without answers the estimate sinks by itself, so that an
//! endpoint that was slow, or was never tried, is tried some time.

use std::time::{Duration, Instant};

use super::answered::{Answered, TryResult};

/// What is assumed of an endpoint before its first answer. More than a near and idle server takes: endpoints that are
/// known to be fast come before those of which nothing is known.
pub const INITIAL: Duration = Duration::from_millis(30);

/// After this time, what was before counts for 1/e.
pub const DECAY: Duration = Duration::from_secs(10);

/// A failure multiplies the estimate by this. One failure among many answers costs an endpoint the share that the others
/// can take with so many more requests under way; failures in a row multiply, up to [`WORST`].
const FAILURE_FACTOR: f64 = 4.0;

/// No estimate is above this, so that it is back at [`INITIAL`] after about a minute without an answer.
const WORST: Duration = Duration::from_secs(10);

/// The estimate for one endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Ewma {
    /// In seconds, as it was at that time.
    estimate: f64,
    at: Instant,
    /// Whether the estimate is of answers, and not only assumed.
    is_known: bool,
}

impl Ewma {
    /// Of an endpoint that is seen for the first time now, and has not answered yet.
    pub const fn new(now: Instant) -> Self {
        Self { estimate: INITIAL.as_secs_f64(), at: now, is_known: false }
    }

    /// The estimated latency in seconds: never negative, and finite.
    pub fn estimate(&self, now: Instant) -> f64 {
        self.estimate * self.weight(now)
    }

    /// Takes in how a try ended.
    ///
    /// A failure counts as slow however fast it came: as four times the estimate, and never as faster than an endpoint of
    /// which nothing is known. An endpoint that refuses everything at once would draw all requests otherwise.
    pub fn observe(&mut self, answered: &Answered, now: Instant) {
        let latency = answered.latency.as_secs_f64();
        let observed = match is_failure(answered) {
            true => latency.max(self.estimate(now) * FAILURE_FACTOR).max(INITIAL.as_secs_f64()),
            false => latency,
        };
        let estimate = match self.is_known && observed < self.estimate {
            true => {
                let weight = self.weight(now);
                self.estimate * weight + observed * (1.0 - weight)
            }
            false => observed,
        };
        // Answers may be told in another order than they came in.
        let at = self.at.max(now);
        *self = Self { estimate: estimate.min(WORST.as_secs_f64()), at, is_known: true };
    }

    /// What the estimate still counts for.
    fn weight(&self, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(self.at);
        (-elapsed.as_secs_f64() / DECAY.as_secs_f64()).exp()
    }
}

/// What a request would rather not have had from this endpoint. 429 is among it: it is said quickly, too.
fn is_failure(answered: &Answered) -> bool {
    match answered.result {
        TryResult::Status(status, _) => status.is_server_error() || status.as_u16() == 429,
        TryResult::ConnectFailed | TryResult::Reset | TryResult::Timeout => true,
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use proptest::prelude::*;

    use super::*;

    fn answer(milliseconds: u64, status: u16) -> Answered {
        let status = StatusCode::from_u16(status).unwrap_or_default();
        Answered { latency: Duration::from_millis(milliseconds), result: TryResult::Status(status, None) }
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn an_endpoint_that_was_never_tried_looks_better_and_better() {
        let now = Instant::now();
        assert!(close(Ewma::new(now).estimate(now), 0.030));
        assert!(close(Ewma::new(now).estimate(now + DECAY), 0.030 / std::f64::consts::E));
    }

    #[test]
    fn a_peak_is_taken_at_once_and_forgotten_slowly() {
        let start = Instant::now();
        let mut ewma = Ewma::new(start);
        ewma.observe(&answer(10, 200), start);
        assert!(close(ewma.estimate(start), 0.010), "the first answer replaces the assumption");
        ewma.observe(&answer(500, 200), start);
        assert!(close(ewma.estimate(start), 0.500));
        ewma.observe(&answer(10, 200), start);
        assert!(close(ewma.estimate(start), 0.500), "no time has passed in which it could sink");
        ewma.observe(&answer(10, 200), start + DECAY);
        let expected = 0.500 / std::f64::consts::E + 0.010 * (1.0 - 1.0 / std::f64::consts::E);
        assert!(close(ewma.estimate(start + DECAY), expected));
        assert!(close(ewma.estimate(start + DECAY * 2), expected / std::f64::consts::E), "sinks without answers");
    }

    #[test]
    fn failures_that_come_fast_make_no_endpoint_look_fast() {
        let failures = [
            TryResult::Status(StatusCode::INTERNAL_SERVER_ERROR, None),
            TryResult::Status(StatusCode::TOO_MANY_REQUESTS, None),
            TryResult::ConnectFailed,
            TryResult::Reset,
            TryResult::Timeout,
        ];
        for result in failures {
            let failed = Answered { latency: Duration::ZERO, result };
            let start = Instant::now();
            let mut ewma = Ewma::new(start);
            ewma.observe(&failed, start);
            assert!(close(ewma.estimate(start), 0.120), "{result:?}");
            // Long after, it is still no better than one of which nothing is known.
            ewma.observe(&failed, start + DECAY * 50);
            assert!(close(ewma.estimate(start + DECAY * 50), 0.030), "{result:?}");
            for _ in 0..20 {
                ewma.observe(&failed, start + DECAY * 50);
            }
            assert!(close(ewma.estimate(start + DECAY * 50), 10.0), "{result:?}");
        }
        let start = Instant::now();
        let mut ewma = Ewma::new(start);
        ewma.observe(&answer(1, 404), start);
        assert!(close(ewma.estimate(start), 0.001), "what the client got wrong is no failure of the endpoint");
    }

    proptest! {
        #[test]
        fn estimates_are_never_negative_nor_above_the_worst_and_sink_between_answers(
            answers in prop::collection::vec((0_u64..100_000, prop::sample::select(vec![200_u16, 404, 429, 500]), 0_u64..30_000), 0..50),
            idle in prop::collection::vec(0_u64..60_000, 2),
        ) {
            let mut now = Instant::now();
            let mut ewma = Ewma::new(now);
            for (latency, status, pause) in answers {
                let answered = answer(latency, status);
                let before = ewma.estimate(now);
                ewma.observe(&answered, now);
                let after = ewma.estimate(now);
                prop_assert!((0.0..=10.0).contains(&after));
                // Monotone: never below what was just seen, and a failure never makes it better.
                prop_assert!(after + 1e-9 >= answered.latency.as_secs_f64().min(10.0));
                prop_assert!(!is_failure(&answered) || after + 1e-9 >= before);
                now += Duration::from_millis(pause);
            }
            let (sooner, later) = (idle[0].min(idle[1]), idle[0].max(idle[1]));
            let at = |pause| ewma.estimate(now + Duration::from_millis(pause));
            prop_assert!(at(sooner) >= at(later));
            prop_assert!(sooner == later || at(sooner) > at(later) || at(sooner) == 0.0);
        }

        #[test]
        fn a_slower_answer_never_gives_a_lower_estimate(
            first in 0_u64..5_000, faster in 0_u64..5_000, more in 0_u64..5_000, pause in 0_u64..30_000,
        ) {
            let start = Instant::now();
            let after = |latency| {
                let mut ewma = Ewma::new(start);
                ewma.observe(&answer(first, 200), start);
                let then = start + Duration::from_millis(pause);
                ewma.observe(&answer(latency, 200), then);
                ewma.estimate(then)
            };
            prop_assert!(after(faster) <= after(faster + more) + 1e-9);
        }
    }
}
