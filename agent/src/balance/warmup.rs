//! Slow start: a new endpoint gets a part of its share at first, and more and more of it.

use std::time::{Duration, Instant};

use crate::rules::destination_rule::Warmup;

/// What a new endpoint begins with, in parts of a million, where nobody says: Istio's default, 10 %.
const MINIMUM: u32 = 100_000;

/// The part of its share that an endpoint gets now, from 0 to 1, as Envoy defines it: the part of the time that is over,
/// to the power of one over the aggression, and never less than the minimum.
pub(super) fn share(warmup: &Warmup, since: Instant, now: Instant) -> f64 {
    let age = now.saturating_duration_since(since);
    if age >= warmup.duration || warmup.duration == Duration::ZERO {
        return 1.0;
    }
    let minimum = warmup.minimum_percent.map_or(MINIMUM, |percent| percent.parts_per_million());
    let grown = age.div_duration_f64(warmup.duration).powf(1.0 / warmup.aggression.unwrap_or(1.0));
    grown.max(f64::from(minimum) / 1e6)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rules::value::Percentage;

    #[test]
    fn the_share_grows_as_asked() {
        let start = Instant::now();
        let of = |minimum: Option<u32>, aggression| Warmup {
            duration: Duration::from_secs(100),
            minimum_percent: minimum.and_then(|percent| Percentage::from_parts_per_million(percent * 10_000)),
            aggression,
        };
        for (warmup, seconds, expected) in [
            (of(None, None), 0, 0.1),
            (of(None, None), 5, 0.1),
            (of(None, None), 50, 0.5),
            (of(None, None), 100, 1.0),
            (of(Some(0), None), 0, 0.0),
            (of(Some(30), None), 20, 0.3),
            (of(Some(0), Some(2.0)), 25, 0.5),
            (of(Some(100), None), 0, 1.0),
        ] {
            let found = share(&warmup, start, start + Duration::from_secs(seconds));
            assert!((found - expected).abs() < 1e-9, "{warmup:?} after {seconds} s: {found}");
        }
    }

    proptest! {
        #[test]
        fn the_share_never_shrinks(
            duration in 1_u64..1_000, percent in 0_u32..=100, aggression in 1.0..100.0_f64, ages in prop::collection::vec(0_u64..2_000, 2),
        ) {
            let warmup = Warmup {
                duration: Duration::from_secs(duration),
                minimum_percent: Percentage::from_parts_per_million(percent * 10_000),
                aggression: Some(aggression),
            };
            let start = Instant::now();
            let at = |age| share(&warmup, start, start + Duration::from_secs(age));
            let (sooner, later) = (at(ages[0].min(ages[1])), at(ages[0].max(ages[1])));
            prop_assert!((0.0..=1.0).contains(&sooner) && sooner <= later && later <= 1.0);
        }
    }
}
