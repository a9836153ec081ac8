//! Which fault strikes a request: pure, with chance passed in.

use std::time::Duration;

use http::HeaderMap;

use crate::rules::{
    fault_injection::{AbortStatus, FaultInjection},
    value::Percentage,
};

/// What becomes of a request, the delay first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planned {
    /// It waits.
    pub delay: Option<Duration>,
    /// It is answered with this and not forwarded.
    pub abort: Option<AbortStatus>,
}

/// Chance, in parts of a million from 0 to 999,999; one for each fault, since they strike independently.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// For the delay.
    pub delay: u32,
    /// For the abort.
    pub abort: u32,
}

impl Draw {
    /// By chance.
    pub fn random() -> Self {
        let parts = 0..Percentage::ALL.parts_per_million();
        Self { delay: fastrand::u32(parts.clone()), abort: fastrand::u32(parts) }
    }
}

/// What a FaultInjection means for a request with these headers.
pub fn plan(fault: &FaultInjection, headers: &HeaderMap, draw: Draw) -> Planned {
    if !concerns(fault, headers) {
        return Planned::default();
    }
    let delay = fault.delay.filter(|delay| draw.delay < delay.percentage.parts_per_million());
    let abort = fault.abort.filter(|abort| draw.abort < abort.percentage.parts_per_million());
    Planned { delay: delay.map(|delay| delay.fixed_delay), abort: abort.map(|abort| abort.status) }
}

/// Whether it is about requests with these headers.
pub fn concerns(fault: &FaultInjection, headers: &HeaderMap) -> bool {
    fault
        .headers
        .iter()
        .all(|wanted| headers.get_all(&wanted.name).iter().any(|line| line.as_bytes() == wanted.value.as_bytes()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use http::{HeaderName, HeaderValue};

    use super::*;
    use crate::rules::fault_injection::{Abort, Delay, FaultHeader};

    const SECOND: Duration = Duration::from_secs(1);

    fn fault(delay: u32, abort: u32, header: Option<&str>) -> FaultInjection {
        let share = |parts| Percentage::from_parts_per_million(parts).unwrap();
        let name = HeaderName::from_static("x-user");
        FaultInjection {
            headers: header.map(|value| FaultHeader { name, value: value.to_owned() }).into_iter().collect(),
            delay: Some(Delay { percentage: share(delay), fixed_delay: SECOND }),
            abort: Some(Abort { percentage: share(abort), status: AbortStatus::Http(418) }),
        }
    }

    #[test]
    fn each_fault_strikes_below_its_share_and_not_at_it() {
        let (delay, abort) = (Some(SECOND), Some(AbortStatus::Http(418)));
        let cases = [
            (0, 0, Planned { delay, abort }),
            (9, 19, Planned { delay, abort }),
            (10, 19, Planned { delay: None, abort }),
            (9, 20, Planned { delay, abort: None }),
            (999_999, 999_999, Planned::default()),
        ];
        for (delay, abort, expected) in cases {
            assert_eq!(plan(&fault(10, 20, None), &HeaderMap::new(), Draw { delay, abort }), expected);
        }
    }

    #[test]
    fn all_strikes_always_and_nothing_never() {
        for _ in 0..1_000 {
            let planned = plan(&fault(1_000_000, 0, None), &HeaderMap::new(), Draw::random());
            assert_eq!(planned, Planned { delay: Some(SECOND), abort: None });
        }
    }

    #[test]
    fn only_requests_with_exactly_the_header_are_struck() {
        for (value, struck) in [(Some("eve"), true), (Some("Eve"), false), (Some("eve2"), false), (None, false)] {
            let headers = value
                .map(|value| (HeaderName::from_static("x-user"), HeaderValue::from_static(value)))
                .into_iter()
                .collect();
            let planned = plan(&fault(1_000_000, 0, Some("eve")), &headers, Draw { delay: 0, abort: 0 });
            assert_eq!(planned.delay.is_some(), struck, "{value:?}");
        }
    }
}
