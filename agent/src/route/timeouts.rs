//! How long a request and each of its tries may take: what the route says, bounded by what a gRPC client says.
//!
//! Headers such as `x-envoy-upstream-rq-timeout-ms` are not read: a client does not set the mesh's limits.

use std::time::Duration;

use http::HeaderValue;

use super::http::Request;
use crate::rules::http_route::Timeouts;

/// The limits of one request. `None` for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Of the request with all its tries.
    pub request: Option<Duration>,
    /// Of one try.
    pub backend_request: Option<Duration>,
}

/// A `grpc-timeout` that gRPC's specification does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("grpc-timeout is not one to eight digits followed by H, M, S, m, u or n; the client must send such a value")]
pub struct BadGrpcTimeout;

impl Limits {
    /// What applies to a request. Zero in a route disables the limit; zero from a client is a deadline that has passed.
    pub fn of(route: Option<&Timeouts>, grpc_timeout: Option<Duration>) -> Self {
        let set = |limit: Option<Duration>| limit.filter(|limit| !limit.is_zero());
        let request = set(route.and_then(|timeouts| timeouts.request));
        let request = request.into_iter().chain(grpc_timeout).min();
        Self { request, backend_request: set(route.and_then(|timeouts| timeouts.backend_request)) }
    }

    /// The same for a request, whose `grpc-timeout` counts where it is a call.
    ///
    /// # Errors
    /// The header cannot be read.
    pub fn of_request(route: Option<&Timeouts>, request: &Request<'_>) -> Result<Self, BadGrpcTimeout> {
        let asked = request.headers.get("grpc-timeout").filter(|_| request.is_grpc());
        Ok(Self::of(route, asked.map(grpc_timeout).transpose()?))
    }

    /// How long the next try may take, so long after the request began.
    pub fn next_try(self, passed: Duration) -> Option<Duration> {
        let left = self.request.map(|request| request.saturating_sub(passed));
        self.backend_request.into_iter().chain(left).min()
    }
}

/// Reads `grpc-timeout`, as gRPC over HTTP/2 defines it.
pub fn grpc_timeout(value: &HeaderValue) -> Result<Duration, BadGrpcTimeout> {
    let (unit, digits) = value.as_bytes().split_last().ok_or(BadGrpcTimeout)?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return Err(BadGrpcTimeout);
    }
    let count = digits.iter().fold(0_u64, |count, digit| count * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Ok(Duration::from_secs(count * 3_600)),
        b'M' => Ok(Duration::from_secs(count * 60)),
        b'S' => Ok(Duration::from_secs(count)),
        b'm' => Ok(Duration::from_millis(count)),
        b'u' => Ok(Duration::from_micros(count)),
        b'n' => Ok(Duration::from_nanos(count)),
        _ => Err(BadGrpcTimeout),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(count: u64) -> Option<Duration> {
        Some(Duration::from_secs(count))
    }

    #[test]
    fn the_shortest_applies_and_zero_of_a_route_disables() {
        let cases = [
            (None, None, None, None),
            (seconds(3), None, None, seconds(3)),
            (seconds(0), None, None, None),
            (seconds(0), None, seconds(5), seconds(5)),
            (seconds(3), None, seconds(5), seconds(3)),
            (seconds(3), None, seconds(0), seconds(0)),
            (seconds(3), seconds(1), None, seconds(1)),
            (seconds(3), seconds(0), None, seconds(3)),
        ];
        for (request, backend_request, grpc, first_try) in cases {
            let limits = Limits::of(Some(&Timeouts { request, backend_request }), grpc);
            assert_eq!(limits.next_try(Duration::ZERO), first_try, "{request:?} {backend_request:?} {grpc:?}");
        }
        assert_eq!(Limits::of(None, None), Limits::default());
    }

    #[test]
    fn a_try_ends_with_the_request() {
        let limits = Limits { request: seconds(5), backend_request: seconds(2) };
        for (passed, expected) in [(0, 2), (3, 2), (4, 1), (5, 0), (9, 0)] {
            assert_eq!(limits.next_try(Duration::from_secs(passed)), seconds(expected));
        }
    }

    #[test]
    fn grpc_timeouts_in_all_units_and_nothing_else() {
        let cases = [
            ("1H", Ok(Duration::from_secs(3_600))),
            ("2M", Ok(Duration::from_secs(120))),
            ("0S", Ok(Duration::ZERO)),
            ("100m", Ok(Duration::from_millis(100))),
            ("7u", Ok(Duration::from_micros(7))),
            ("99999999n", Ok(Duration::from_nanos(99_999_999))),
            ("99999999H", Ok(Duration::from_secs(99_999_999 * 3_600))),
            ("100000000n", Err(BadGrpcTimeout)),
            ("", Err(BadGrpcTimeout)),
            ("S", Err(BadGrpcTimeout)),
            ("5", Err(BadGrpcTimeout)),
            ("-1S", Err(BadGrpcTimeout)),
            ("1.5S", Err(BadGrpcTimeout)),
            ("1 S", Err(BadGrpcTimeout)),
            ("1h", Err(BadGrpcTimeout)),
        ];
        for (text, expected) in cases {
            assert_eq!(grpc_timeout(&HeaderValue::from_static(text)), expected, "{text}");
        }
    }
}
