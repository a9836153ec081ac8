//! Tests of endpoints' health: sequences of answers, and laws over random ones.

#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::{group::allowed, *};
use crate::rules::value::WholePercentage;

fn status(code: u16, retry_after: Option<u64>) -> TryResult {
    TryResult::Status(StatusCode::from_u16(code).unwrap(), retry_after.map(Duration::from_secs))
}

fn at_once(result: TryResult) -> Answered {
    Answered { latency: Duration::ZERO, result }
}

fn group(size: usize) -> GroupHealth {
    let group = GroupHealth::default();
    group.set_size(size);
    group
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

const SETTINGS: OutlierDetection = OutlierDetection {
    split_external_local_origin_errors: None,
    consecutive_local_origin_failures: None,
    consecutive_gateway_errors: None,
    consecutive_5xx_errors: None,
    interval: None,
    base_ejection_time: None,
    max_ejection_percent: None,
    min_health_percent: None,
};

/// Records one result so often; the last event.
fn repeat(
    health: &EndpointHealth,
    settings: &OutlierDetection,
    group: &GroupHealth,
    result: TryResult,
    times: u32,
) -> Option<HealthEvent> {
    let now = Instant::now();
    (0..times).map(|_| health.record(&at_once(result), Some(settings), group, now)).last().flatten()
}

#[test]
fn ejected_at_the_bound_of_each_kind_and_not_before() {
    let gateway = OutlierDetection { consecutive_gateway_errors: Some(2), ..SETTINGS };
    let split = OutlierDetection { split_external_local_origin_errors: Some(true), ..SETTINGS };
    let three = OutlierDetection { consecutive_5xx_errors: Some(3), ..SETTINGS };
    let cases = [
        (SETTINGS, status(500, None), 5, EjectionReason::Consecutive5xx),
        (SETTINGS, TryResult::ConnectFailed, 5, EjectionReason::Consecutive5xx),
        (SETTINGS, TryResult::Timeout, 5, EjectionReason::Consecutive5xx),
        (three, status(503, None), 3, EjectionReason::Consecutive5xx),
        (gateway, status(502, None), 2, EjectionReason::GatewayErrors),
        (gateway, TryResult::Reset, 2, EjectionReason::GatewayErrors),
        (gateway, status(500, None), 5, EjectionReason::Consecutive5xx),
        (split, TryResult::Reset, 5, EjectionReason::LocalOriginFailures),
    ];
    for (settings, result, bound, reason) in cases {
        let (health, group) = (EndpointHealth::default(), group(3));
        assert_eq!(repeat(&health, &settings, &group, result, bound - 1), None, "{result:?}");
        assert_eq!(health.may_use(Instant::now()), Use::Yes, "{result:?}");
        assert_eq!(repeat(&health, &settings, &group, result, 1), Some(HealthEvent::Ejected(reason)), "{result:?}");
        assert_eq!((health.may_use(Instant::now()), group.ejected()), (Use::No, 1), "{result:?}");
    }
}

#[test]
fn never_ejected_by_what_is_no_failure_or_has_no_bound() {
    let off = OutlierDetection { consecutive_5xx_errors: Some(0), ..SETTINGS };
    let cases = [
        (SETTINGS, status(200, None)),
        (SETTINGS, status(404, None)),
        (SETTINGS, status(429, None)),
        (off, status(500, None)),
    ];
    for (settings, result) in cases {
        let (health, group) = (EndpointHealth::default(), group(3));
        assert_eq!(repeat(&health, &settings, &group, result, 50), None, "{result:?}");
        assert_eq!(group.ejected(), 0);
    }
}

#[test]
fn a_success_begins_the_count_anew() {
    let (health, group) = (EndpointHealth::default(), group(3));
    for _ in 0..5 {
        assert_eq!(repeat(&health, &SETTINGS, &group, status(500, None), 4), None);
        assert_eq!(repeat(&health, &SETTINGS, &group, status(204, None), 1), None);
    }
}

#[test]
fn failures_that_count_apart_do_not_add_to_server_errors() {
    let split = OutlierDetection { split_external_local_origin_errors: Some(true), ..SETTINGS };
    let (health, group) = (EndpointHealth::default(), group(3));
    assert_eq!(repeat(&health, &split, &group, status(500, None), 4), None);
    assert_eq!(repeat(&health, &split, &group, TryResult::ConnectFailed, 4), None);
}

#[test]
fn exactly_one_probe_until_its_result() {
    let (health, group, now) = (EndpointHealth::default(), group(3), Instant::now());
    repeat(&health, &SETTINGS, &group, status(500, None), 5);
    let later = now + seconds(40);
    assert_eq!(health.may_use(later), Use::Probe);
    for wait in 0..30 {
        assert_eq!(health.may_use(later + seconds(wait)), Use::No, "{wait}");
    }
    let event = health.record(&at_once(status(200, None)), Some(&SETTINGS), &group, later + seconds(1));
    assert_eq!((event, group.ejected()), (Some(HealthEvent::Restored), 0));
    assert_eq!(health.may_use(later + seconds(1)), Use::Yes);
}

#[test]
fn another_probe_when_the_first_is_lost_or_given_back() {
    let (health, group, now) = (EndpointHealth::default(), group(3), Instant::now());
    repeat(&health, &SETTINGS, &group, status(500, None), 5);
    let later = now + seconds(40);
    assert_eq!(health.may_use(later), Use::Probe);
    assert_eq!(health.may_use(later + PROBE_LOST), Use::Probe);
    assert_eq!(health.may_use(later + PROBE_LOST), Use::No);
    health.give_back_probe();
    assert_eq!(health.may_use(later + PROBE_LOST), Use::Probe);
}

#[test]
fn requests_from_before_the_probe_decide_nothing() {
    let (health, group, now) = (EndpointHealth::default(), group(3), Instant::now());
    repeat(&health, &SETTINGS, &group, status(500, None), 5);
    let later = now + seconds(40);
    assert_eq!(health.may_use(later), Use::Probe);
    for result in [status(200, None), TryResult::Timeout] {
        let old = Answered { latency: seconds(50), result };
        assert_eq!(health.record(&old, Some(&SETTINGS), &group, later + seconds(1)), None);
    }
    assert!(health.ejected());
}

#[test]
fn each_failed_probe_ejects_for_longer_up_to_the_bound() {
    let (health, group) = (EndpointHealth::default(), group(3));
    let mut now = Instant::now();
    repeat(&health, &SETTINGS, &group, status(500, None), 5);
    for number in 1..15 {
        let least = seconds(30 * number).min(LONGEST_EJECTION);
        // `repeat` has a clock of its own, a little later than the first `now`.
        assert_eq!(health.may_use(now + least - seconds(1)), Use::No, "{number}");
        now += least.mul_f64(1.0 + JITTER) + seconds(1);
        assert_eq!(health.may_use(now), Use::Probe, "{number}");
        let event = health.record(&at_once(TryResult::Reset), Some(&SETTINGS), &group, now);
        assert_eq!(event, Some(HealthEvent::Ejected(EjectionReason::ProbeFailed)));
        assert_eq!(group.ejected(), 1);
    }
}

#[test]
fn time_without_failures_forgives_ejections() {
    let mut state = State { ejections: 4, restored: Some(Instant::now()), ..State::default() };
    let restored = state.restored.unwrap();
    for (after, left) in [(0, 4), (9, 4), (10, 3), (39, 1), (40, 0), (4_000, 0)] {
        assert_eq!(state.ejections_left(INTERVAL, restored + seconds(after)), left, "{after}");
    }
    state.forget();
    assert_eq!(state.ejections, 0);
}

#[test]
fn left_alone_as_long_as_asked_and_at_most_a_minute_without_any_settings() {
    for (code, asked, left) in [(429, 7, 7), (503, 7, 7), (429, 3_600, 60)] {
        let (health, group, now) = (EndpointHealth::default(), group(3), Instant::now());
        let event = health.record(&at_once(status(code, Some(asked))), None, &group, now);
        assert_eq!(event, Some(HealthEvent::LeftAlone));
        assert_eq!(health.may_use(now + seconds(left - 1)), Use::No);
        assert_eq!((health.may_use(now + seconds(left)), group.ejected()), (Use::Yes, 0));
    }
    let (health, group, now) = (EndpointHealth::default(), group(3), Instant::now());
    assert_eq!(health.record(&at_once(status(500, Some(7))), None, &group, now), None);
    assert_eq!(health.may_use(now), Use::Yes);
}

#[test]
fn how_many_may_be_ejected() {
    let cases = [(0, 10, 0), (1, 100, 0), (2, 10, 1), (3, 10, 1), (20, 10, 2), (29, 10, 2), (10, 100, 9), (10, 0, 0)];
    for (size, percent, expected) in cases {
        assert_eq!(allowed(size, percent), expected, "{percent} % of {size}");
    }
}

#[test]
fn nothing_is_left_out_when_too_few_are_healthy() {
    let settings = OutlierDetection {
        max_ejection_percent: WholePercentage::new(100),
        min_health_percent: WholePercentage::new(50),
        ..SETTINGS
    };
    let (group, healths) = (group(4), [(); 3].map(|()| EndpointHealth::default()));
    let reason = EjectionReason::Consecutive5xx;
    for (health, expected) in healths.iter().zip([Use::No, Use::No, Use::Yes]) {
        assert_eq!(repeat(health, &settings, &group, status(500, None), 5), Some(HealthEvent::Ejected(reason)));
        assert_eq!(healths[0].may_use(Instant::now()), expected, "with {} of 4 out", group.ejected());
    }
    assert!(healths.iter().all(|health| health.may_use(Instant::now()) == Use::Yes), "one of four is less than half");
    // They are probed all the same, and with the first that works again half of them are well.
    let later = Instant::now() + seconds(40);
    assert_eq!(healths[0].may_use(later), Use::Probe);
    assert_eq!(healths[0].may_use(later), Use::Yes, "beside the probe");
    let event = healths[0].record(&at_once(status(200, None)), Some(&settings), &group, later);
    assert_eq!((event, group.ejected()), (Some(HealthEvent::Restored), 2));
    assert_eq!(healths[1].may_use(Instant::now()), Use::No);
}

#[test]
fn an_endpoint_that_goes_takes_its_ejection_with_it() {
    let (health, group) = (EndpointHealth::default(), group(3));
    repeat(&health, &SETTINGS, &group, status(500, None), 5);
    assert_eq!(group.ejected(), 1);
    drop(health);
    assert_eq!(group.ejected(), 0);
}

#[test]
fn what_is_ejected_returns_when_its_settings_go() {
    let (health, group, now) = (EndpointHealth::default(), group(3), Instant::now());
    repeat(&health, &SETTINGS, &group, status(500, None), 5);
    assert_eq!(health.record(&at_once(status(500, None)), None, &group, now), Some(HealthEvent::Restored));
    assert_eq!((health.may_use(now), group.ejected()), (Use::Yes, 0));
}

proptest! {
    #[test]
    fn never_more_ejected_than_allowed_and_never_two_probes(
        size in 1_usize..12,
        percent in 0_u8..=100,
        steps in prop::collection::vec((0_usize..12, 0_u8..4, 0_u64..20), 1..300),
    ) {
        let settings = OutlierDetection {
            max_ejection_percent: WholePercentage::new(percent),
            consecutive_5xx_errors: Some(2),
            ..SETTINGS
        };
        let group = group(size);
        let healths: Vec<_> = (0..size).map(|_| EndpointHealth::default()).collect();
        let mut probes: Vec<Option<Instant>> = vec![None; size];
        let mut now = Instant::now();
        for (which, action, wait) in steps {
            let which = which % size;
            now += seconds(wait);
            match action {
                0 => if healths[which].may_use(now) == Use::Probe {
                    prop_assert!(probes[which].is_none_or(|since| now - since >= PROBE_LOST));
                    probes[which] = Some(now);
                },
                action => {
                    let result = if action == 1 { status(200, None) } else { status(500, None) };
                    let before = healths[which].ejected();
                    let event = healths[which].record(&at_once(result), Some(&settings), &group, now);
                    prop_assert!(!before || event.is_none() || probes[which].is_some(), "only a probe changes an ejection");
                    if event.is_some() { probes[which] = None; }
                }
            }
            prop_assert_eq!(group.ejected(), healths.iter().filter(|health| health.ejected()).count());
            prop_assert!(group.ejected() <= allowed(size, percent) && group.ejected() < size.max(1));
        }
    }
}
