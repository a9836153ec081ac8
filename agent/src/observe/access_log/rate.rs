//! How many lines a second there are. A quarter of them is kept for failures: a flood of what goes well does not hide what does
//! not.
//!
//! Asked by the data threads before a line's story is put together, so that a line that is left out costs next to nothing.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// What was left out is said once in this time.
pub(super) const SAY_EVERY: Duration = Duration::from_secs(60);

/// How far lines may be ahead of their rate: as many as those of a second may come at once.
const AHEAD: u64 = 1_000_000_000;

/// The allowance of all data threads.
#[derive(Debug)]
pub(super) struct Rate {
    /// Nanoseconds between two lines at the rate.
    apart: u64,
    /// How far those may be ahead that are about no failure.
    ahead_of_kept: u64,
    began: Instant,
    /// When the lines that were admitted so far would all be written at the rate, in nanoseconds since it began.
    paid_until: AtomicU64,
    unsaid: AtomicU64,
    said: Mutex<Option<Instant>>,
}

impl Rate {
    pub(super) fn new(per_second: NonZeroU32, now: Instant) -> Self {
        let apart = AHEAD / u64::from(per_second.get());
        // Of fewer than four none can be kept.
        let kept = if per_second.get() < 4 { 0 } else { AHEAD / 4 };
        let (paid_until, unsaid) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { apart, ahead_of_kept: AHEAD - kept, began: now, paid_until, unsaid, said: Mutex::default() }
    }

    /// Whether there may be a line.
    pub(super) fn admits(&self, is_failure: bool, now: Instant) -> bool {
        let now = u64::try_from(now.saturating_duration_since(self.began).as_nanos()).unwrap_or(u64::MAX);
        let ahead = if is_failure { AHEAD } else { self.ahead_of_kept };
        let pay = |paid_until: u64| {
            let then = paid_until.max(now).saturating_add(self.apart);
            (then <= now.saturating_add(ahead)).then_some(then)
        };
        let admitted = self.paid_until.fetch_update(Relaxed, Relaxed, pay).is_ok();
        if !admitted {
            self.unsaid.fetch_add(1, Relaxed);
        }
        admitted
    }

    /// How many lines were left out since it was said last, if it is time to say so.
    pub(super) fn unsaid(&self, now: Instant) -> Option<u64> {
        let mut said = self.said.lock();
        let is_time = said.is_none_or(|said| now.saturating_duration_since(said) >= SAY_EVERY);
        if !is_time || self.unsaid.load(Relaxed) == 0 {
            return None;
        }
        *said = Some(now);
        Some(self.unsaid.swap(0, Relaxed))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn admitted(rate: &Rate, is_failure: bool, lines: u32, now: Instant) -> usize {
        (0..lines).filter(|_| rate.admits(is_failure, now)).count()
    }

    #[test]
    fn a_flood_is_cut_and_failures_are_written_when_nothing_else_is() {
        let start = Instant::now();
        let rate = Rate::new(NonZeroU32::new(100).unwrap(), start);
        assert_eq!(admitted(&rate, false, 1000, start), 75);
        assert_eq!(admitted(&rate, true, 1000, start), 25, "a quarter was kept for them");
        let later = start + Duration::from_millis(500);
        assert_eq!(admitted(&rate, false, 1000, later), 25, "half of what a second gives, less what is kept");
        let much_later = start + Duration::from_secs(60);
        assert_eq!(admitted(&rate, true, 1000, much_later), 100, "no more than a second's gathers");
    }

    #[test]
    fn even_a_line_a_second_is_a_line() {
        let start = Instant::now();
        let rate = Rate::new(NonZeroU32::MIN, start);
        assert_eq!(admitted(&rate, false, 10, start), 1);
        assert_eq!(admitted(&rate, false, 10, start + Duration::from_secs(1)), 1);
    }

    #[test]
    fn threads_that_ask_at_once_share_one_allowance() {
        let start = Instant::now();
        let rate = Rate::new(NonZeroU32::new(1000).unwrap(), start);
        let all = std::thread::scope(|threads| {
            let asking: Vec<_> = (0..4).map(|_| threads.spawn(|| admitted(&rate, true, 1000, start))).collect();
            asking.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
        });
        assert_eq!(all, 1000);
        assert_eq!(rate.unsaid(start), Some(3000));
    }

    #[test]
    fn what_was_left_out_is_said_once_in_a_while() {
        let start = Instant::now();
        let rate = Rate::new(NonZeroU32::MIN, start);
        assert_eq!(rate.unsaid(start), None);
        assert_eq!(admitted(&rate, false, 4, start), 1);
        assert_eq!(rate.unsaid(start), Some(3));
        assert_eq!(admitted(&rate, false, 2, start), 0);
        assert_eq!(rate.unsaid(start), None);
        assert_eq!((rate.unsaid(start + SAY_EVERY), rate.unsaid(start + SAY_EVERY * 2)), (Some(2), None));
    }
}
