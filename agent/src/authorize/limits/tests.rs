//! Tests of the limits: tables, and laws against a bucket that is written another way.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::slice;

use proptest::prelude::*;

use super::*;

fn limit(requests: u32, seconds: u64, burst: Option<u32>, per: Option<LimitPer>) -> Limit {
    let burst = burst.and_then(NonZeroU32::new);
    Limit { requests: NonZeroU32::new(requests).unwrap(), interval: Duration::from_secs(seconds), burst, per }
}

fn name(name: &str) -> ObjectName {
    ObjectName { namespace: "shop".into(), name: name.into() }
}

fn from(last: u8) -> LimitSource<'static> {
    LimitSource::Address(IpAddr::from([10, 0, 0, last]))
}

/// How many of many requests pass at one time.
fn passed(limiter: &RateLimiter, limits: &[Limit], source: LimitSource<'_>, now: Instant) -> usize {
    let check = || limiter.check(&name("a"), limits, source, &HeaderMap::new(), now);
    (0..100).filter(|_| check().is_ok()).count()
}

#[test]
fn as_many_at_once_as_the_burst_and_then_evenly() {
    let now = Instant::now();
    for (burst, at_once) in [(None, 10), (Some(1), 1), (Some(30), 30)] {
        let (limiter, limits) = (RateLimiter::default(), [limit(10, 10, burst, None)]);
        assert_eq!(passed(&limiter, &limits, from(1), now), at_once);
        assert_eq!(passed(&limiter, &limits, from(1), now + Duration::from_millis(999)), 0);
        assert_eq!(passed(&limiter, &limits, from(2), now + Duration::from_secs(1)), 1);
        assert_eq!(passed(&limiter, &limits, from(1), now + Duration::from_secs(1_000)), at_once);
    }
}

#[test]
fn sources_and_header_values_are_counted_apart() {
    let now = Instant::now();
    let (limiter, limits) = (RateLimiter::default(), [limit(2, 60, None, Some(LimitPer::Source))]);
    let (one, two): (SpiffeId, SpiffeId) =
        ("spiffe://td/ns/a/sa/one".parse().unwrap(), "spiffe://td/ns/a/sa/two".parse().unwrap());
    for source in [from(1), from(2), LimitSource::Identity(&one), LimitSource::Identity(&two)] {
        assert_eq!(passed(&limiter, &limits, source, now), 2, "{source:?}");
        assert_eq!(passed(&limiter, &limits, source, now), 0, "{source:?}");
    }
    let header = HeaderName::from_static("x-user");
    let limits = [limit(1, 60, None, Some(LimitPer::Header(header.clone())))];
    let check = |value: Option<&'static str>| {
        let headers = value.map(|value| (header.clone(), HeaderValue::from_static(value))).into_iter().collect();
        limiter.check(&name("b"), &limits, from(1), &headers, now).is_ok()
    };
    for value in [Some("eve"), Some("Eve"), Some(""), None] {
        assert!(check(value) && !check(value), "{value:?}");
    }
}

#[test]
fn a_refused_request_is_charged_to_no_limit() {
    let (limiter, now) = (RateLimiter::default(), Instant::now());
    let limits = [limit(10, 1_000, None, None), limit(1, 1_000, None, Some(LimitPer::Source))];
    assert_eq!(passed(&limiter, &limits, from(1), now), 1, "99 are refused by the second limit");
    let others = (2..100).filter(|last| passed(&limiter, &limits, from(*last), now) == 1).count();
    assert_eq!(others, 9);
}

#[test]
fn the_refusal_says_which_limit_and_when_to_come_again() {
    let (limiter, now) = (RateLimiter::default(), Instant::now());
    let limits = [limit(100, 1, None, None), limit(2, 3, None, None)];
    assert_eq!(passed(&limiter, &limits, from(1), now), 2);
    let refused = limiter.check(&name("a"), &limits, from(1), &HeaderMap::new(), now).unwrap_err();
    assert_eq!((refused.limit, refused.retry_after), (1, Duration::from_millis(1_500)));
    let headers = refused.headers().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
    let expected = ["retry-after: 2", "x-ratelimit-limit: 2", "x-ratelimit-remaining: 0", "x-ratelimit-reset: 2"];
    assert_eq!(headers, expected);
    assert_eq!(passed(&limiter, &limits, from(1), now + refused.retry_after), 1);
}

#[test]
fn a_kept_limit_keeps_its_count_and_a_gone_document_does_not() {
    let (limiter, now) = (RateLimiter::default(), Instant::now());
    let (kept, other) = (limit(2, 60, None, None), limit(50, 60, None, None));
    assert_eq!(passed(&limiter, slice::from_ref(&kept), from(1), now), 2);
    assert_eq!(passed(&limiter, &[other, kept.clone()], from(1), now), 0);
    assert_eq!(passed(&limiter, &[limit(3, 60, None, None)], from(1), now), 3, "a changed limit begins anew");
    limiter.retain(|document| *document != name("a"));
    assert_eq!(passed(&limiter, &[kept], from(1), now), 2);
}

#[test]
fn a_look_is_what_the_next_request_meets_and_charges_nothing() {
    let now = Instant::now();
    let (kept, other) = (limit(2, 60, None, None), limit(1, 30, None, Some(LimitPer::Source)));
    for after in [
        vec![kept.clone()],
        vec![],
        vec![limit(3, 60, None, None)],
        vec![other.clone(), kept.clone()],
        vec![kept.clone(), kept.clone()],
    ] {
        let (limiter, headers) = (RateLimiter::default(), HeaderMap::new());
        let look = || limiter.look(&name("a"), &after, from(1), &headers, now);
        assert_eq!(look(), Ok(()), "nobody has asked yet");
        assert_eq!(passed(&limiter, &[kept.clone(), other.clone()], from(2), now), 1);
        assert_eq!(passed(&limiter, &[kept.clone(), other.clone()], from(3), now), 1);
        let looks = [look(), look()];
        let met = limiter.check(&name("a"), &after, from(1), &headers, now);
        assert_eq!(looks, [met.clone(), met], "{after:?}");
    }
}

#[test]
fn never_more_keys_than_the_bound_and_those_in_use_stay() {
    let (mut store, now) = (Store::new(100), Instant::now());
    let mut forgotten = 0;
    for number in 0..10_000 {
        forgotten += store.set((1, number), now) + store.set((0, 0), now);
        assert!(store.len() <= 100 && store.get(&(0, 0)).is_some() && store.get(&(1, number)).is_some());
    }
    assert_eq!(forgotten + store.len(), 10_001, "each is there or counted");
}

#[test]
fn keys_that_are_forgotten_for_want_of_room_are_counted_and_others_are_not() {
    let (limiter, now) = (RateLimiter::default(), Instant::now());
    let limits = [limit(2, 60, None, Some(LimitPer::Source))];
    let made_up = 0..u32::try_from(store::MAX_KEYS).unwrap() + 5_000;
    for address in made_up.clone() {
        let source = LimitSource::Address(IpAddr::from(address.to_be_bytes()));
        limiter.check(&name("a"), &limits, source, &HeaderMap::new(), now).unwrap();
    }
    let (kept, forgotten) = limiter.size();
    assert!(kept <= store::MAX_KEYS && forgotten > 0 && kept as u64 + forgotten == made_up.len() as u64);
    limiter.retain(|_| false);
    assert_eq!(limiter.size(), (0, forgotten), "documents that are gone are not");
}

proptest! {
    /// A bucket that holds `burst`, and gets one in each interval / requests.
    #[test]
    fn as_a_naive_bucket(
        requests in 1_u32..20,
        burst in 1_u32..20,
        waits in prop::collection::vec(0_u64..800, 1..200),
    ) {
        // One request costs a whole number of milliseconds.
        let limits = [limit(requests, u64::from(requests), Some(burst), None)];
        let (limiter, began) = (RateLimiter::default(), Instant::now());
        let full = u64::from(burst) * 1_000;
        let (mut level, mut time) = (full, 0_u64);
        for wait in waits {
            time += wait;
            level = (level + wait).min(full);
            let now = began + Duration::from_millis(time);
            let passes = limiter.check(&name("a"), &limits, from(1), &HeaderMap::new(), now).is_ok();
            prop_assert_eq!(passes, level >= 1_000);
            if passes { level -= 1_000; }
        }
    }
}
