//! FaultInjection: delays and errors on purpose, for the routes whose filters name the document.

mod grpc_status;
#[cfg(test)]
mod tests;

use std::time::Duration;

use http::HeaderName;
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::value::{
    Percentage, duration, header_name, not_both, percentage, required, serialize_duration, serialize_header, word,
};
use crate::config::yaml::MapReader;

pub use grpc_status::GrpcStatus;

/// `heddle.io/v1alpha1` FaultInjection. Both faults may strike one request, the delay first. At least one of them is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FaultInjection {
    /// Requests that have all of these headers; every request where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<FaultHeader>,
    /// Requests that wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,
    /// Requests that fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort: Option<Abort>,
}

/// A header with exactly this value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FaultHeader {
    /// Its name.
    #[serde(serialize_with = "serialize_header")]
    pub name: HeaderName,
    /// Its value.
    pub value: String,
}

/// Requests that wait before they are forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Delay {
    /// How many; all where it is absent.
    pub percentage: Percentage,
    /// How long.
    #[serde(serialize_with = "serialize_duration")]
    pub fixed_delay: Duration,
}

/// Requests that are answered with an error and not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Abort {
    /// How many; all where it is absent.
    pub percentage: Percentage,
    /// With what.
    #[serde(flatten)]
    pub status: AbortStatus,
}

/// What a request is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbortStatus {
    /// `httpStatus`, 200 to 599.
    Http(u16),
    /// `grpcStatus`, by its name.
    Grpc(GrpcStatus),
}

/// Reads the spec.
pub(super) fn read(spec: MapReader<'_>) -> Option<FaultInjection> {
    let headers = spec.maps("headers").into_iter().filter_map(header).collect();
    let delay = spec.map("delay").and_then(delay);
    let abort = spec.map("abort").and_then(abort);
    if !spec.has("delay") && !spec.has("abort") {
        spec.complain_here("has neither delay nor abort, and needs one of them");
    }
    spec.finish();
    Some(FaultInjection { headers, delay, abort })
}

fn header(map: MapReader<'_>) -> Option<FaultHeader> {
    let name = required(&map, "name", "a header's name", header_name(&map, "name"));
    let value = required(&map, "value", "text", map.text("value"));
    map.finish();
    Some(FaultHeader { name: name?, value: value?.to_owned() })
}

fn delay(map: MapReader<'_>) -> Option<Delay> {
    let percentage = percentage(&map, "percentage").unwrap_or(Percentage::ALL);
    let fixed_delay = required(&map, "fixedDelay", "a duration such as 5s", duration(&map, "fixedDelay"));
    map.finish();
    Some(Delay { percentage, fixed_delay: fixed_delay? })
}

fn abort(map: MapReader<'_>) -> Option<Abort> {
    let percentage = percentage(&map, "percentage").unwrap_or(Percentage::ALL);
    not_both(&map, "httpStatus", "grpcStatus");
    let http = map.integer("httpStatus", "a status from 200 to 599", |status: &u16| (200..=599).contains(status));
    let grpc = word(&map, "grpcStatus", &[]);
    if !map.has("httpStatus") && !map.has("grpcStatus") {
        map.complain_here("has neither httpStatus nor grpcStatus, and needs one of them");
    }
    map.finish();
    let status = http.map(AbortStatus::Http).or(grpc.map(AbortStatus::Grpc))?;
    Some(Abort { percentage, status })
}

impl Serialize for AbortStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Self::Http(status) => map.serialize_entry("httpStatus", status)?,
            Self::Grpc(status) => map.serialize_entry("grpcStatus", status)?,
        }
        map.end()
    }
}
