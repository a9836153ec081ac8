//! Which of the requests that nobody has decided over are recorded: a share of them, the same at every agent.
//!
//! What decides is a number that follows from the trace or from the request id. An agent with a larger share takes all that
//! one with a smaller takes. Agents of different versions must agree: the numbers may never be made in another way.

use super::{Decision, TraceId};
use crate::rules::value::Percentage;

/// A share of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::observe) struct Draw(pub(in crate::observe) Percentage);

impl Draw {
    /// Everything.
    pub(in crate::observe) const ALL: Self = Self(Percentage::ALL);

    /// Of a trace whose beginner has left it open. Its id is random, as Trace Context asks, and OpenTelemetry's samplers read
    /// the same half of it.
    pub(super) fn of_trace(self, trace: TraceId) -> Decision {
        self.decide(trace.low())
    }

    /// Of a request without a trace.
    pub(super) fn of_request(self, request_id: &str) -> Decision {
        self.decide(number(request_id))
    }

    /// Whether a request with this id is among the share.
    pub(in crate::observe) fn takes(self, request_id: &str) -> bool {
        // Nearly always, and then nothing needs to be worked out.
        self == Self::ALL || self.of_request(request_id) == Decision::Record
    }

    /// Whether this one of many things without a name is.
    pub(in crate::observe) fn takes_at_random(self) -> bool {
        self.decide(fastrand::u64(..)) == Decision::Record
    }

    fn decide(self, number: u64) -> Decision {
        // The number's place among a million, rounded down.
        let place = (u128::from(number) * u128::from(Percentage::ALL.parts_per_million())) >> 64;
        match place < u128::from(self.0.parts_per_million()) {
            true => Decision::Record,
            false => Decision::Leave,
        }
    }
}

/// FNV-1a of 64 bits, whose high bits alone are bad for short texts, and then the last step of MurmurHash3, which spreads
/// every bit over all.
fn number(text: &str) -> u64 {
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let mut hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, fnv);
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn draw(parts: u32) -> Draw {
        Draw(Percentage::from_parts_per_million(parts).unwrap())
    }

    #[test]
    fn numbers_are_made_as_ever() {
        // Written down when it was made: agents of all versions have these.
        assert_eq!(number("7"), 0xcf48_ffa9_f52b_a797);
        assert_eq!(number("9b4a3b5e-63a4-4f8e-8b8a-0d2b1f6a7c11"), 0x9dd8_c972_fc6f_a0c0);
    }

    #[test]
    fn nothing_all_and_a_tenth() {
        let ids: Vec<String> = (0..100_000).map(|number| format!("request-{number}")).collect();
        let count = |parts| ids.iter().filter(|id| draw(parts).takes(id)).count();
        assert_eq!((count(0), count(1_000_000)), (0, 100_000));
        // Five standard deviations of 95.
        assert!(count(100_000).abs_diff(10_000) < 475, "{}", count(100_000));
        let random = (0..100_000).filter(|_| draw(100_000).takes_at_random()).count();
        assert!(random.abs_diff(10_000) < 475, "{random}");
    }

    proptest! {
        #[test]
        fn who_takes_a_larger_share_takes_all_of_a_smaller(id in ".{1,40}", a in 0..=1_000_000_u32, b in 0..=1_000_000_u32) {
            let (small, large) = (draw(a.min(b)), draw(a.max(b)));
            prop_assert!(!small.takes(&id) || large.takes(&id));
            prop_assert_eq!(small.takes(&id), small.takes(&id));
        }

        #[test]
        fn the_bounds_hold_for_every_number(number: u64) {
            prop_assert_eq!(draw(0).decide(number), Decision::Leave);
            prop_assert_eq!(draw(1_000_000).decide(number), Decision::Record);
        }
    }
}
