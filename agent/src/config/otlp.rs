//! Reads `tracing` of `agent.yaml`: whether spans of requests are exported, where to, and of how many.

use std::{fmt, path::PathBuf, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use rustls::pki_types::ServerName;
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{
    resolve::{duration, path_or_none, required},
    resolved::{as_duration, as_path_or_empty, as_text},
    source::map_even_if_empty,
    yaml::MapReader,
};
use crate::rules::value::{Percentage, percentage};

/// Spans of requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TracingConfig {
    /// Where they go; `None` records none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp: Option<OtlpConfig>,
    /// Of how many requests, among those that come without a decision and that no Telemetry is about.
    pub sampling_percentage: Percentage,
}

/// A collector that speaks OTLP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OtlpConfig {
    /// Where it is.
    #[serde(serialize_with = "as_text")]
    pub endpoint: OtlpEndpoint,
    /// What it is spoken to in.
    pub protocol: OtlpProtocol,
    /// For one export, connecting included.
    #[serde(serialize_with = "as_duration")]
    pub timeout: Duration,
    /// What it is sent with each export beside OTLP's own headers.
    pub headers: OtlpHeaders,
    /// Certificates that its own must lead to; `None` is those of the machine, and is `""` in the file.
    #[serde(serialize_with = "as_path_or_empty")]
    pub roots: Option<PathBuf>,
}

/// `http://HOST:PORT` or `https://HOST:PORT`, over HTTP also with a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpEndpoint {
    /// Whether it is spoken to over TLS.
    pub is_tls: bool,
    /// A DNS name, or an IP address without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Empty where none is written.
    pub path: String,
}

/// The two forms of OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OtlpProtocol {
    /// gRPC.
    Grpc,
    /// HTTP/1.1 with protobuf.
    Http,
}

/// Headers, of which nothing shows the values: they may be keys.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct OtlpHeaders(HeaderMap);

const ENDPOINT: &str = "the collector's address such as http://otel-collector.observability.svc:4317, with its port";
const TIMEOUT: &str = "a duration above zero and up to 1m, such as 10s";
const HEADER: &str = "a map of header names to texts, without headers that OTLP itself sets";

/// What OpenTelemetry's exporters have.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// A collector that needs longer holds up all spans after these.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);
/// As Istio: every request is too many for most meshes, and none shows nothing.
const DEFAULT_PERCENTAGE: u32 = 10_000;

/// Reads it; `None` where a problem left nothing, which has been reported then.
pub(super) fn tracing(root: &MapReader<'_>) -> Option<TracingConfig> {
    let tracing = root.map_or_empty("tracing")?;
    let has_otlp = tracing.names("otlp");
    let otlp = map_even_if_empty(&tracing, "otlp").map(otlp);
    let share = percentage(&tracing, "samplingPercentage");
    tracing.finish();
    let otlp = match (has_otlp, otlp) {
        (true, Some(Some(otlp))) => Some(otlp),
        (true, _) => return None,
        (false, _) => None,
    };
    let default = Percentage::from_parts_per_million(DEFAULT_PERCENTAGE);
    Some(TracingConfig { otlp, sampling_percentage: share.or(default)? })
}

fn otlp(otlp: MapReader<'_>) -> Option<OtlpConfig> {
    let endpoint = required(&otlp, "endpoint", ENDPOINT, OtlpEndpoint::parse);
    let protocol = otlp.parsed("protocol", "grpc or http", |text| match text {
        "grpc" => Some(OtlpProtocol::Grpc),
        "http" => Some(OtlpProtocol::Http),
        _ => None,
    });
    let protocol = protocol.unwrap_or(OtlpProtocol::Grpc);
    let timeout = otlp.parsed("timeout", TIMEOUT, |text| duration(text).filter(|timeout| *timeout <= LONGEST_TIMEOUT));
    let headers = otlp.secret_map("headers").map(|map| headers(&map));
    let roots = otlp.parsed("roots", "an absolute path, or \"\" for the machine's certificates", path_or_none);
    if protocol == OtlpProtocol::Grpc && endpoint.as_ref().is_some_and(|endpoint| !endpoint.path.is_empty()) {
        otlp.complain("endpoint", "has a path, which OTLP over gRPC has no use for; remove it, or set protocol: http");
    }
    if endpoint.as_ref().is_some_and(|endpoint| !endpoint.is_tls) && matches!(roots, Some(Some(_))) {
        otlp.complain("roots", "has no effect with an endpoint of http://; remove it, or write https://");
    }
    otlp.finish();
    Some(OtlpConfig {
        endpoint: endpoint?,
        protocol,
        timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
        headers: headers.unwrap_or_default(),
        roots: roots.unwrap_or_default(),
    })
}

fn headers(map: &MapReader<'_>) -> OtlpHeaders {
    let mut headers = HeaderMap::new();
    for (name, value) in map.secret_texts() {
        let parsed = HeaderName::try_from(name).ok().filter(|name| !is_reserved(name));
        // The value stays out of the message: it may be a key.
        match (parsed, HeaderValue::from_str(value)) {
            (Some(known), Ok(_)) if headers.contains_key(&known) => {
                map.complain(name, "is there twice: names of headers have no upper and lower case");
            }
            (Some(name), Ok(mut value)) => {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
            (None, _) => map.complain(name, format!("is no header that may be set, allowed: {HEADER}")),
            (_, Err(_)) => map.complain(name, "has a value with characters that no header may have"),
        }
    }
    OtlpHeaders(headers)
}

/// What OTLP, HTTP and gRPC set themselves.
fn is_reserved(name: &HeaderName) -> bool {
    let own = [
        header::CONNECTION,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::HOST,
        header::TE,
        header::TRANSFER_ENCODING,
    ];
    own.contains(name) || name.as_str().starts_with("grpc-")
}

impl OtlpEndpoint {
    /// Its port is always written: two are usual, one for each protocol, and a third for services on the internet.
    fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let is_tls = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().filter(|port| *port > 0)?;
        let bare = uri.query().is_none() && !text.contains(['@', '#']);
        let path = if uri.path() == "/" { String::new() } else { uri.path().to_owned() };
        (bare && ServerName::try_from(host.as_str()).is_ok()).then_some(Self { is_tls, host, port, path })
    }

    /// `HOST:PORT`.
    pub fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl fmt::Display for OtlpEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

impl OtlpHeaders {
    /// Adds them to a request, in place of what is there under their names.
    pub fn write(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.0 {
            headers.insert(name, value.clone());
        }
    }
}

const HIDDEN: &str = "(hidden)";

impl fmt::Debug for OtlpHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.keys().map(|name| (name, HIDDEN))).finish()
    }
}

impl Serialize for OtlpHeaders {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for name in self.0.keys() {
            map.serialize_entry(name.as_str(), HIDDEN)?;
        }
        map.end()
    }
}

#[cfg(test)]
impl OtlpConfig {
    /// A collector at this endpoint, and else the defaults.
    pub(crate) fn for_tests(endpoint: &str) -> Self {
        Self {
            endpoint: OtlpEndpoint::parse(endpoint).unwrap_or_else(|| panic!("{endpoint}")),
            protocol: OtlpProtocol::Grpc,
            timeout: DEFAULT_TIMEOUT,
            headers: OtlpHeaders::default(),
            roots: None,
        }
    }
}
