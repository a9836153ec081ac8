//! Tests of what is tried again, as tables, and of budgets against a list of all times.

#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;

fn configured(codes: &[u16], attempts: Option<u32>) -> RetryPolicy {
    let codes = codes.iter().map(|code| StatusCode::from_u16(*code).unwrap()).collect();
    RetryPolicy::new(Some(&Retry { codes, attempts, backoff: None }))
}

fn reason(next: Next) -> Option<GiveUp> {
    match next {
        Next::Again { .. } => None,
        Next::GiveUp(reason) => Some(reason),
    }
}

fn answered(code: u16) -> TryEnd {
    TryEnd::Answered(StatusCode::from_u16(code).unwrap(), None)
}

#[test]
fn what_is_tried_again() {
    let (default, asked) = (RetryPolicy::default(), configured(&[503], None));
    let cases = [
        (&default, TryEnd::ConnectFailed, Method::POST, None),
        (&default, TryEnd::Denied, Method::POST, None),
        (&default, TryEnd::Refused, Method::POST, None),
        (&default, TryEnd::StaleConnection, Method::GET, None),
        (&default, TryEnd::StaleConnection, Method::POST, Some(GiveUp::NotIdempotent)),
        (&default, TryEnd::Reset, Method::GET, Some(GiveUp::NotRetried)),
        (&default, TryEnd::Timeout, Method::GET, Some(GiveUp::NotRetried)),
        (&default, answered(503), Method::GET, Some(GiveUp::NotRetried)),
        (&asked, answered(503), Method::POST, None),
        (&asked, answered(502), Method::GET, Some(GiveUp::NotRetried)),
        (&asked, answered(200), Method::GET, Some(GiveUp::NotRetried)),
        (&asked, TryEnd::Reset, Method::GET, None),
        (&asked, TryEnd::Reset, Method::PUT, None),
        (&asked, TryEnd::Reset, Method::POST, Some(GiveUp::NotIdempotent)),
        (&asked, TryEnd::StaleConnection, Method::PATCH, Some(GiveUp::NotIdempotent)),
        (&asked, TryEnd::ConnectFailed, Method::POST, None),
        (&asked, TryEnd::Timeout, Method::GET, None),
        (&asked, TryEnd::Timeout, Method::POST, None),
        (&asked, TryEnd::Overflow, Method::GET, Some(GiveUp::NotRetried)),
        (&default, TryEnd::Overflow, Method::GET, Some(GiveUp::NotRetried)),
    ];
    for (policy, end, method, expected) in cases {
        assert_eq!(reason(decide(policy, 1, end, &method, BodyState::Untouched, None)), expected, "{end:?} {method}");
    }
}

#[test]
fn tries_end_and_zero_attempts_are_none() {
    for (attempts, tries) in [(None, 2), (Some(0), 1), (Some(3), 4)] {
        let policy = configured(&[], attempts);
        let again = |number: &u32| {
            reason(decide(&policy, *number, TryEnd::Refused, &Method::GET, BodyState::Untouched, None)).is_none()
        };
        assert_eq!(u32::try_from((1..10).filter(again).count()).unwrap() + 1, tries);
        let last = decide(&policy, tries, TryEnd::Refused, &Method::GET, BodyState::Untouched, None);
        assert_eq!(reason(last), Some(GiveUp::AttemptsEnded));
    }
}

#[test]
fn a_body_that_is_gone_is_not_sent_again() {
    let cases =
        [(BodyState::Untouched, None), (BodyState::Kept, None), (BodyState::TooLong, Some(GiveUp::BodyTooLong))];
    for (body, expected) in cases {
        let next = decide(&RetryPolicy::default(), 1, TryEnd::ConnectFailed, &Method::PUT, body, None);
        assert_eq!(reason(next), expected);
    }
}

#[test]
fn a_short_retry_after_is_waited_for_and_a_long_one_is_the_clients() {
    let policy = configured(&[503], None);
    let decide = |wait| {
        let end = TryEnd::Answered(StatusCode::SERVICE_UNAVAILABLE, Some(wait));
        decide(&policy, 1, end, &Method::GET, BodyState::Untouched, None)
    };
    assert_eq!(decide(LONGEST_RETRY_AFTER), Next::Again { after: LONGEST_RETRY_AFTER });
    let longer = LONGEST_RETRY_AFTER + Duration::from_secs(1);
    assert_eq!(decide(longer), Next::GiveUp(GiveUp::RetryAfterTooLong));
    assert!(matches!(decide(Duration::ZERO), Next::Again { after } if after >= BACKOFF));
}

#[test]
fn no_try_that_the_request_has_no_time_for() {
    let policy = configured(&[], None);
    let decide = |left| decide(&policy, 1, TryEnd::Refused, &Method::GET, BodyState::Untouched, Some(left));
    assert_eq!(decide(Duration::from_millis(24)), Next::GiveUp(GiveUp::NoTimeLeft));
    assert!(matches!(decide(Duration::from_millis(51)), Next::Again { .. }));
}

#[test]
fn pauses_are_never_shorter_than_asked_and_grow_up_to_ten_times() {
    for (number, least) in [(1, 25), (2, 50), (3, 100), (4, 125), (40, 125), (u32::MAX, 125)] {
        let least = Duration::from_millis(least);
        for _ in 0..200 {
            let pause = backoff(BACKOFF, number);
            assert!((least..=least * 2).contains(&pause), "{number}: {pause:?}");
        }
    }
    assert_eq!(backoff(Duration::ZERO, 3), Duration::ZERO);
}
