//! `connectionPool` and `outlierDetection`: how many connections and requests, and when an endpoint is left out.

use std::{num::NonZeroU32, time::Duration};

use serde::Serialize;

use crate::{
    config::yaml::MapReader,
    rules::value::{WholePercentage, count, duration, duration_or_zero, serialize_some_duration, whole_percentage},
};

/// Bounds for each node and destination. Absent fields have the mesh's defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConnectionPool {
    /// Of connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpSettings>,
    /// Of requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpSettings>,
}

/// Bounds of connections. `tcpKeepalive`, `maxConnectionDuration` and `idleTimeout` are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TcpSettings {
    /// Open at one time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<NonZeroU32>,
    /// How long opening one may take.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_some_duration")]
    pub connect_timeout: Option<Duration>,
    /// Without a byte either way, after which one is closed; 0 for never.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_some_duration")]
    pub idle_timeout: Option<Duration>,
}

/// Bounds of requests. `h2UpgradePolicy`, `useClientProtocol`, `maxConcurrentStreams` and `http2KeepAlive` are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpSettings {
    /// That wait for a connection, of any HTTP version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http1_max_pending_requests: Option<NonZeroU32>,
    /// Under way, of any HTTP version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http2_max_requests: Option<NonZeroU32>,
    /// Over one connection; 1 turns keep-alive off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_requests_per_connection: Option<NonZeroU32>,
    /// Retries under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<NonZeroU32>,
    /// Without a request, after which a connection is closed; 0 for never.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_some_duration")]
    pub idle_timeout: Option<Duration>,
}

/// When an endpoint is left out for a while. That it is there at all turns ejection on. The deprecated
/// `consecutiveErrors` is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutlierDetection {
    /// Whether failures before the server answered count apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_external_local_origin_errors: Option<bool>,
    /// Failures in a row before the server answered, where they count apart; 0 for no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consecutive_local_origin_failures: Option<u32>,
    /// Answers 502, 503 or 504 in a row; 0 for no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consecutive_gateway_errors: Option<u32>,
    /// Answers 5xx in a row, failed connections among them; 0 for no bound.
    #[serde(rename = "consecutive5xxErrors", skip_serializing_if = "Option::is_none")]
    pub consecutive_5xx_errors: Option<u32>,
    /// How often ejections are looked over.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_some_duration")]
    pub interval: Option<Duration>,
    /// How long the first ejection lasts.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_some_duration")]
    pub base_ejection_time: Option<Duration>,
    /// How many endpoints may be out at one time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ejection_percent: Option<WholePercentage>,
    /// With fewer healthy endpoints than this, nothing is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_health_percent: Option<WholePercentage>,
}

/// Reads `connectionPool`.
pub(super) fn read_pool(map: MapReader<'_>) -> ConnectionPool {
    let pool = ConnectionPool { tcp: map.map("tcp").map(tcp), http: map.map("http").map(http) };
    map.finish();
    pool
}

fn tcp(map: MapReader<'_>) -> TcpSettings {
    let settings = TcpSettings {
        max_connections: count(&map, "maxConnections"),
        connect_timeout: duration(&map, "connectTimeout"),
        idle_timeout: duration_or_zero(&map, "idleTimeout"),
    };
    // Connections that are not HTTP last as long as both ends want.
    map.not_enforced(&["tcpKeepalive", "maxConnectionDuration", "idleTimeout"]);
    map.finish();
    settings
}

fn http(map: MapReader<'_>) -> HttpSettings {
    let settings = HttpSettings {
        http1_max_pending_requests: count(&map, "http1MaxPendingRequests"),
        http2_max_requests: count(&map, "http2MaxRequests"),
        max_requests_per_connection: count(&map, "maxRequestsPerConnection"),
        max_retries: count(&map, "maxRetries"),
        idle_timeout: duration_or_zero(&map, "idleTimeout"),
    };
    map.not_enforced(&["h2UpgradePolicy", "useClientProtocol", "maxConcurrentStreams", "http2KeepAlive"]);
    map.finish();
    settings
}

/// Reads `outlierDetection`.
pub(super) fn read_outliers(map: MapReader<'_>) -> OutlierDetection {
    let errors = |key| map.integer(key, "a number from 0 to 4294967295", |_: &u32| true);
    let detection = OutlierDetection {
        split_external_local_origin_errors: map.boolean("splitExternalLocalOriginErrors"),
        consecutive_local_origin_failures: errors("consecutiveLocalOriginFailures"),
        consecutive_gateway_errors: errors("consecutiveGatewayErrors"),
        consecutive_5xx_errors: errors("consecutive5xxErrors"),
        interval: duration(&map, "interval"),
        base_ejection_time: duration(&map, "baseEjectionTime"),
        max_ejection_percent: whole_percentage(&map, "maxEjectionPercent"),
        min_health_percent: whole_percentage(&map, "minHealthPercent"),
    };
    if map.has("consecutiveLocalOriginFailures") && detection.split_external_local_origin_errors != Some(true) {
        map.complain("consecutiveLocalOriginFailures", "has an effect only with splitExternalLocalOriginErrors: true");
    }
    map.not_enforced(&["consecutiveErrors"]);
    map.finish();
    detection
}
