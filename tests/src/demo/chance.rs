//! How far a random share may be off before it is no chance any more.

use std::ops::RangeInclusive;

/// An expectation about chance may fail without a reason once in so many runs.
pub(super) const FALSE_ALARM: f64 = 1e-7;

/// The counts within which that of `tries` with the chance `p` each stays, but for once in `1 / rarer_than` times. Exact, by
/// the binomial distribution: half of what is left over is below the range, half above it.
pub(super) fn likely(tries: usize, p: f64, rarer_than: f64) -> RangeInclusive<usize> {
    let (below, above) = (tail(tries, p, rarer_than / 2.0), tail(tries, 1.0 - p, rarer_than / 2.0));
    below..=tries - above
}

/// The largest count with fewer than which the chance is at most `most`.
fn tail(tries: usize, p: f64, most: f64) -> usize {
    let mut sum = 0.0;
    (0..tries)
        .take_while(|count| {
            sum += exactly(*count, tries, p);
            sum <= most
        })
        .count()
}

/// The chance of exactly so many.
fn exactly(count: usize, tries: usize, p: f64) -> f64 {
    // By logarithms: the factors alone are too large and too small for a number.
    let ways: f64 = (0..count).map(|k| ((tries - k) as f64 / (k + 1) as f64).ln()).sum();
    (ways + count as f64 * p.ln() + (tries - count) as f64 * (1.0 - p).ln()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_the_binomial_distribution() {
        // Of ten coins: none or one 11 in 1024 times, none 1 in 1024 times.
        assert_eq!(likely(10, 0.5, 0.01), 1..=9);
        assert_eq!(likely(10, 0.5, 0.03), 2..=8);
        assert_eq!(likely(10, 0.5, 0.001), 0..=10);
        let sum: f64 = (0..=500).map(|count| exactly(count, 500, 0.1)).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{sum}");
    }

    #[test]
    fn a_rarer_alarm_needs_wider_bounds_around_the_mean() {
        let (often, rare) = (likely(500, 0.1, 0.01), likely(500, 0.1, FALSE_ALARM));
        assert!(rare.start() < often.start() && often.end() < rare.end(), "{often:?} {rare:?}");
        assert!(often.contains(&50) && !rare.contains(&0) && !rare.contains(&150), "{often:?} {rare:?}");
    }
}
