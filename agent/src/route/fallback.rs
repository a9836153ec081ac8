//! When a fallback takes over from a Service port that was tried: pure. Only from one that has seen nothing of the request:
//! what may have been processed is answered as it was, or fails as it did.
//!
//! Who takes over, and that one takes over at once from a port without endpoints, is in [`backend`](super::backend).

use std::time::Duration;

use super::retry::{BodyState, TryEnd};

/// What all tries of a request came to so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    count: u32,
    was_heard: bool,
}

impl Tried {
    /// How many there were.
    pub fn count(self) -> u32 {
        self.count
    }

    /// Adds one.
    pub fn add(&mut self, end: TryEnd) {
        self.count += 1;
        self.was_heard |= was_heard(end);
    }
}

/// Whether the fallback gets the request, now that there is no other try. `left` is what the request still has of its time.
pub fn takes_over(tried: Tried, body: BodyState, left: Option<Duration>) -> bool {
    !tried.was_heard && body != BodyState::TooLong && left.is_none_or(|left| !left.is_zero())
}

/// Whether a server has, or may have, looked at the request; its agent's refusal by a policy is a decision too.
fn was_heard(end: TryEnd) -> bool {
    match end {
        TryEnd::Answered(..) | TryEnd::StaleConnection | TryEnd::Reset | TryEnd::Timeout | TryEnd::Denied => true,
        TryEnd::ConnectFailed | TryEnd::Overflow | TryEnd::Refused => false,
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    const UNHEARD: [TryEnd; 3] = [TryEnd::ConnectFailed, TryEnd::Overflow, TryEnd::Refused];
    const HEARD: [TryEnd; 6] = [
        TryEnd::Answered(StatusCode::SERVICE_UNAVAILABLE, None),
        TryEnd::Answered(StatusCode::OK, Some(Duration::ZERO)),
        TryEnd::StaleConnection,
        TryEnd::Reset,
        TryEnd::Timeout,
        TryEnd::Denied,
    ];

    fn tried(ends: &[TryEnd]) -> Tried {
        let mut tried = Tried::default();
        ends.iter().for_each(|end| tried.add(*end));
        tried
    }

    #[test]
    fn what_was_not_heard_is_taken_over_while_there_is_a_body_and_time() {
        let second = Some(Duration::from_secs(1));
        for (body, left, expected) in [
            (BodyState::Untouched, None, true),
            (BodyState::Kept, second, true),
            (BodyState::TooLong, None, false),
            (BodyState::Untouched, Some(Duration::ZERO), false),
        ] {
            for ends in [&[][..], &UNHEARD] {
                assert_eq!(takes_over(tried(ends), body, left), expected, "{ends:?} {body:?} {left:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn one_try_that_may_have_been_heard_is_enough(
            before in vec(select(&UNHEARD[..]), 0..4),
            heard in select(&HEARD[..]),
            after in vec(select(&UNHEARD[..]), 0..4),
        ) {
            let unheard = [before.as_slice(), &after].concat();
            prop_assert!(takes_over(tried(&unheard), BodyState::Kept, None));
            let ends = [before.as_slice(), &[heard], &after].concat();
            prop_assert_eq!(tried(&ends).count() as usize, ends.len());
            prop_assert!(!takes_over(tried(&ends), BodyState::Kept, None));
        }
    }
}
