//! OTLP over HTTP/1.1: a POST of the message, as protobuf.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;

use super::{
    super::protocol::{ExportTraceServiceResponse, TRACES},
    ExportError, LONGEST_ANSWER, answer,
    dial::Stream,
};
use crate::{config::OtlpConfig, outside::in_full};

const PROTOBUF: &str = "application/x-protobuf";
/// What the agent calls itself, as OTLP asks exporters to.
pub(super) const USER_AGENT: &str = concat!("OTel-OTLP-Exporter-heddle/", env!("CARGO_PKG_VERSION"));

/// A connection.
pub(super) struct Link {
    requests: http1::SendRequest<Full<Bytes>>,
    /// Ends the connection's task when it is dropped.
    _driver: JoinSet<()>,
}

impl Link {
    pub(super) async fn new(stream: Stream) -> Result<Self, ExportError> {
        let (requests, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the collector ended");
            }
        });
        Ok(Self { requests, _driver: driver })
    }

    pub(super) fn is_open(&self) -> bool {
        !self.requests.is_closed()
    }

    pub(super) async fn export(
        &mut self,
        config: &OtlpConfig,
        message: Bytes,
    ) -> Result<ExportTraceServiceResponse, ExportError> {
        let endpoint = &config.endpoint;
        let path = if endpoint.path.is_empty() { TRACES } else { &endpoint.path };
        let mut request = Request::post(path)
            .header(header::HOST, endpoint.authority())
            .header(header::CONTENT_TYPE, PROTOBUF)
            .header(header::USER_AGENT, USER_AGENT)
            .body(Full::new(message))
            .map_err(|error| ExportError::Answer(error.to_string()))?;
        config.headers.write(request.headers_mut());
        self.requests.ready().await.map_err(|error| broken(&error))?;
        read(self.requests.send_request(request).await.map_err(|error| broken(&error))?).await
    }
}

async fn read(response: Response<Incoming>) -> Result<ExportTraceServiceResponse, ExportError> {
    let (parts, body) = response.into_parts();
    // Read in any case: the connection is good for the next request only after that.
    let body = Limited::new(body, LONGEST_ANSWER).collect().await;
    let body = body.map_err(|error| ExportError::Broken { problem: error.to_string(), was_kept: false })?.to_bytes();
    match parts.status {
        StatusCode::OK => answer(&body),
        // What a collector says that takes everything and tells nothing.
        StatusCode::ACCEPTED | StatusCode::NO_CONTENT => Ok(ExportTraceServiceResponse::default()),
        status => Err(ExportError::Status { status, after: retry_after(&parts.headers, SystemTime::now()) }),
    }
}

/// RFC 9110, 10.2.3: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(now).ok(),
    }
}

fn broken(error: &hyper::Error) -> ExportError {
    ExportError::Broken { problem: in_full(error), was_kept: false }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_collector_says_when_to_ask_again() {
        for (value, expected) in [
            ("7", Some(7)),
            ("Thu, 01 Jan 1970 00:01:30 GMT", Some(30)),
            ("Thu, 01 Jan 1970 00:00:30 GMT", None),
            ("soon", None),
        ] {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, value.parse().unwrap())]);
            let found = retry_after(&headers, UNIX_EPOCH + Duration::from_secs(60));
            assert_eq!(found, expected.map(Duration::from_secs), "{value}");
        }
    }
}
