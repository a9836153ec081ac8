//! How many lines a second are written. A quarter of them is kept for failures: a flood of what goes well does not hide what
//! does not.

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

/// What was left out is said once in this time.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// The writer's allowance.
#[derive(Debug)]
pub(super) struct Rate {
    per_second: f64,
    /// Lines that may be written now; as many as those of a second gather while nothing is written.
    allowance: f64,
    filled: Instant,
    left_out: u64,
    said: Option<Instant>,
}

impl Rate {
    pub(super) fn new(per_second: NonZeroU32, now: Instant) -> Self {
        let per_second = f64::from(per_second.get());
        Self { per_second, allowance: per_second, filled: now, left_out: 0, said: None }
    }

    /// Whether a line may be written.
    pub(super) fn admits(&mut self, is_failure: bool, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = self.filled.max(now);
        self.allowance = (self.allowance + passed * self.per_second).min(self.per_second);
        let kept = if is_failure || self.per_second < 4.0 { 0.0 } else { self.per_second / 4.0 };
        let admitted = self.allowance - kept >= 1.0;
        if admitted {
            self.allowance -= 1.0;
        } else {
            self.left_out += 1;
        }
        admitted
    }

    /// How many lines were left out since it was said last, if it is time to say so.
    pub(super) fn unsaid(&mut self, now: Instant) -> Option<u64> {
        let is_time = self.said.is_none_or(|said| now.saturating_duration_since(said) >= SAY_EVERY);
        if self.left_out == 0 || !is_time {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }

    /// When it is to be asked again, though nothing happens.
    pub(super) fn say_at(&self) -> Option<Instant> {
        (self.left_out > 0).then_some(())?;
        self.said.map(|said| said + SAY_EVERY)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn admitted(rate: &mut Rate, failures: bool, lines: u32, now: Instant) -> usize {
        (0..lines).filter(|_| rate.admits(failures, now)).count()
    }

    #[test]
    fn a_flood_is_cut_and_failures_are_written_when_nothing_else_is() {
        let start = Instant::now();
        let mut rate = Rate::new(NonZeroU32::new(100).unwrap(), start);
        assert_eq!(admitted(&mut rate, false, 1000, start), 75);
        assert_eq!(admitted(&mut rate, true, 1000, start), 25, "a quarter was kept for them");
        let later = start + Duration::from_millis(500);
        assert_eq!(admitted(&mut rate, false, 1000, later), 25, "half of what a second gives, less what is kept");
        let much_later = start + Duration::from_secs(60);
        assert_eq!(admitted(&mut rate, true, 1000, much_later), 100, "no more than a second's gathers");
    }

    #[test]
    fn even_a_line_a_second_is_a_line() {
        let start = Instant::now();
        let mut rate = Rate::new(NonZeroU32::MIN, start);
        assert_eq!(admitted(&mut rate, false, 10, start), 1);
        assert_eq!(admitted(&mut rate, false, 10, start + Duration::from_secs(1)), 1);
    }

    #[test]
    fn what_was_left_out_is_said_once_in_a_while() {
        let start = Instant::now();
        let mut rate = Rate::new(NonZeroU32::MIN, start);
        assert_eq!((rate.unsaid(start), rate.say_at()), (None, None));
        assert_eq!(admitted(&mut rate, false, 4, start), 1);
        assert_eq!(rate.unsaid(start), Some(3));
        assert_eq!(admitted(&mut rate, false, 2, start), 0);
        assert_eq!(rate.unsaid(start), None);
        let again = start + SAY_EVERY;
        assert_eq!(rate.say_at(), Some(again));
        assert_eq!((rate.unsaid(again), rate.say_at()), (Some(2), None));
    }
}
