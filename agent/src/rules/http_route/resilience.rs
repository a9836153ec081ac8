//! Timeouts and retries of a rule.

use std::time::Duration;

use http::StatusCode;
use serde::{Serialize, Serializer, ser::SerializeSeq};

use super::super::gateway::{DURATION, as_optional_duration, parse_duration};
use crate::config::yaml::{MapReader, Value};

/// HTTPRouteTimeouts. Zero means that there is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// Of a request with all its tries.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_optional_duration")]
    pub request: Option<Duration>,
    /// Of one try; not longer than `request`.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_optional_duration")]
    pub backend_request: Option<Duration>,
}

/// HTTPRouteRetry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Retry {
    /// Which answers are no answer, from 400 to 599.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "as_codes")]
    pub codes: Vec<StatusCode>,
    /// How many tries follow the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// How long to wait before the next try, at least.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_optional_duration")]
    pub backoff: Option<Duration>,
}

/// Reads `timeouts` of a rule.
pub(super) fn timeouts(rule: &MapReader<'_>) -> Option<Timeouts> {
    let map = rule.map("timeouts")?;
    let request = map.parsed("request", DURATION, parse_duration);
    let backend_request = map.parsed("backendRequest", DURATION, parse_duration);
    if let (Some(request), Some(backend_request)) = (request, backend_request)
        && !request.is_zero()
        && backend_request > request
    {
        map.complain("backendRequest", "is longer than request, which includes it; make it at most as long");
    }
    map.finish();
    Some(Timeouts { request, backend_request })
}

/// Reads `retry` of a rule.
pub(super) fn retry(rule: &MapReader<'_>) -> Option<Retry> {
    let map = rule.map("retry")?;
    let codes = map.scalars("codes", "a status code from 400 to 599", |node| match node.value {
        Value::Integer(code @ 400..=599) => StatusCode::from_u16(u16::try_from(code).ok()?).ok(),
        _ => None,
    });
    let attempts = map.integer("attempts", "a whole number from 0", |_: &u32| true);
    let backoff = map.parsed("backoff", DURATION, parse_duration);
    map.finish();
    Some(Retry { codes, attempts, backoff })
}

fn as_codes<S: Serializer>(codes: &[StatusCode], serializer: S) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(Some(codes.len()))?;
    codes.iter().try_for_each(|code| list.serialize_element(&code.as_u16()))?;
    list.end()
}
