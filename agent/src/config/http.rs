//! `http` of `agent.yaml`: bounds of what is parsed as HTTP.

use std::{ops::RangeInclusive, time::Duration};

use serde::Serialize;

use super::{
    resolve::{DURATION, duration},
    resolved::as_duration,
    yaml::MapReader,
};

/// Bounds of what is parsed as HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpLimits {
    /// For the head of a request, once it has begun.
    #[serde(serialize_with = "as_duration")]
    pub request_header_timeout: Duration,
    /// Of silence within the body of a request, where it is wanted.
    #[serde(serialize_with = "as_duration")]
    pub request_body_timeout: Duration,
    /// For connections on which no request is under way.
    #[serde(serialize_with = "as_duration")]
    pub idle_timeout: Duration,
    /// Of the head of a request or response, in bytes.
    pub max_header_bytes: u32,
    /// Requests at once on one HTTP/2 connection of a client.
    #[serde(rename = "maxConcurrentStreams")]
    pub max_streams: u32,
    /// Of a request's body, kept to send it again, in bytes; 0 keeps none.
    pub replay_bytes: usize,
    /// Of silence at the beginning of a connection, after which it is no HTTP.
    #[serde(serialize_with = "as_duration")]
    pub detection_timeout: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            // A head is one or two packets; the rest is room for lost ones, and an end for those who send it byte by byte.
            request_header_timeout: Duration::from_secs(10),
            // What nginx gives a client between two reads of a body.
            request_body_timeout: Duration::from_secs(60),
            // Longer than the minute after which most clients and load balancers close by themselves.
            idle_timeout: Duration::from_secs(90),
            // Envoy's bound is 60 KiB, and nginx' sum of buffers 32 KiB.
            max_header_bytes: 64 << 10,
            // What RFC 9113, 6.5.2 recommends as the least, and enough for one client pod.
            max_streams: 100,
            // Most requests that are worth a second try are small; this much is held for each that is under way.
            replay_bytes: 64 << 10,
            // Long for a client that has something to say, short for a person who waits for the server to speak.
            detection_timeout: Duration::from_millis(100),
        }
    }
}

/// HTTP/1 needs a buffer of 8 KiB for a head; beyond a megabyte nobody sends heads but to exhaust memory.
const HEADER_BYTES: RangeInclusive<u32> = 8 << 10..=1 << 20;
const STREAMS: RangeInclusive<u32> = 1..=10_000;
/// Of each request under way.
const LARGEST_REPLAY: usize = 16 << 20;
/// Whoever waits longer has declared the port, or should.
const LONGEST_DETECTION: Duration = Duration::from_secs(10);

/// Reads `http`.
pub(super) fn http(root: &MapReader<'_>) -> Option<HttpLimits> {
    let http = root.map_or_empty("http")?;
    let default = HttpLimits::default();
    let request_header_timeout = http.parsed("requestHeaderTimeout", DURATION, duration);
    let request_body_timeout = http.parsed("requestBodyTimeout", DURATION, duration);
    let idle_timeout = http.parsed("idleTimeout", DURATION, duration);
    let max_header_bytes =
        http.integer("maxHeaderBytes", "a number of bytes from 8192 to 1048576", |bytes| HEADER_BYTES.contains(bytes));
    let max_streams =
        http.integer("maxConcurrentStreams", "a whole number from 1 to 10000", |streams| STREAMS.contains(streams));
    let replay_bytes =
        http.integer("replayBytes", "a number of bytes from 0 to 16777216", |bytes| *bytes <= LARGEST_REPLAY);
    let detection_timeout =
        http.parsed("detectionTimeout", "a duration above zero and up to 10s, such as 100ms", |text| {
            duration(text).filter(|timeout| *timeout <= LONGEST_DETECTION)
        });
    let limits = HttpLimits {
        request_header_timeout: request_header_timeout.unwrap_or(default.request_header_timeout),
        request_body_timeout: request_body_timeout.unwrap_or(default.request_body_timeout),
        idle_timeout: idle_timeout.unwrap_or(default.idle_timeout),
        max_header_bytes: max_header_bytes.unwrap_or(default.max_header_bytes),
        max_streams: max_streams.unwrap_or(default.max_streams),
        replay_bytes: replay_bytes.unwrap_or(default.replay_bytes),
        detection_timeout: detection_timeout.unwrap_or(default.detection_timeout),
    };
    conflicts(&http, &limits);
    http.finish();
    Some(limits)
}

/// A client that is silent for so long would be cut off before anybody knows what it speaks.
fn conflicts(http: &MapReader<'_>, limits: &HttpLimits) {
    for (key, timeout) in
        [("requestHeaderTimeout", limits.request_header_timeout), ("idleTimeout", limits.idle_timeout)]
    {
        if timeout < limits.detection_timeout {
            let key = if http.has(key) { key } else { "detectionTimeout" };
            http.complain(
                key,
                "makes detectionTimeout longer than requestHeaderTimeout or idleTimeout; make it the shortest",
            );
        }
    }
}
