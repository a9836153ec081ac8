//! What the mesh itself answers, in the place of an application: as HTTP, or as gRPC to who speaks gRPC.
//!
//! It says what happened and what to do; never which policy decided, which only the log tells.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// gRPC's protocol over HTTP/2: `grpc-message` has space to `~` but `%` as they are.
const IN_MESSAGE: AsciiSet = CONTROLS.add(b'%');

/// An answer of the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    status: StatusCode,
    text: String,
    retry_after: Option<Duration>,
}

impl Answer {
    /// With this status, and what it usually means here.
    pub fn new(status: StatusCode) -> Self {
        Self { status, text: usual_text(status).to_owned(), retry_after: None }
    }

    /// Says this instead: what happened and what to do, in one line.
    #[must_use]
    pub fn saying(self, text: String) -> Self {
        Self { text, ..self }
    }

    /// When to try again; whole seconds, rounded up.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    /// As who asked understands it.
    pub fn for_request(&self, is_grpc: bool) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::default());
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if is_grpc {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert("grpc-status", grpc_status(self.status).into());
            let message = utf8_percent_encode(&self.text, &IN_MESSAGE).to_string();
            if let Ok(message) = HeaderValue::try_from(message) {
                headers.insert("grpc-message", message);
            }
            return response;
        }
        let text = Bytes::from(format!("{}\n", self.text));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(header::CONTENT_LENGTH, text.len().into());
        *response.status_mut() = self.status;
        *response.body_mut() = Full::new(text);
        response
    }
}

/// gRPC's "HTTP to gRPC status code mapping", for an answer that no gRPC server gave.
pub fn grpc_status(status: StatusCode) -> u16 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// The HTTP status that a gRPC status is counted as, by google.rpc.Code.
pub fn from_grpc_status(status: u16) -> StatusCode {
    match status {
        0 => StatusCode::OK,
        1 => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        3 | 9 | 11 => StatusCode::BAD_REQUEST,
        4 => StatusCode::GATEWAY_TIMEOUT,
        5 => StatusCode::NOT_FOUND,
        6 | 10 => StatusCode::CONFLICT,
        7 => StatusCode::FORBIDDEN,
        8 => StatusCode::TOO_MANY_REQUESTS,
        12 => StatusCode::NOT_IMPLEMENTED,
        14 => StatusCode::SERVICE_UNAVAILABLE,
        16 => StatusCode::UNAUTHORIZED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn usual_text(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "the request is malformed; nothing was sent on",
        401 => "the request's token is missing or not accepted; send a valid one",
        403 => "access denied by the mesh; ask who runs the service for access",
        404 => "no route of the service matches the request",
        429 => "too many requests; try again later",
        500 => "the route has no usable backend; its status says which",
        502 => "the backend's answer was not understood",
        503 => "no backend could take the request; try again later",
        504 => "the backend did not answer in time",
        _ => status.canonical_reason().unwrap_or("the mesh answered in the service's place"),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn http_is_told_by_status_length_and_text() {
        let response = Answer::new(StatusCode::FORBIDDEN).for_request(false);
        assert_eq!(response.status(), 403);
        let length: usize = response.headers()["content-length"].to_str().unwrap().parse().unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!((body.len(), &body[..13]), (length, &b"access denied"[..]));
    }

    #[tokio::test]
    async fn grpc_is_told_by_headers_alone() {
        let answer = Answer::new(StatusCode::TOO_MANY_REQUESTS).saying("100% of é\n".to_owned());
        let response = answer.retry_after(Duration::from_millis(1001)).for_request(true);
        assert_eq!(response.status(), 200);
        let headers = response.headers();
        assert_eq!((&headers["grpc-status"], &headers["retry-after"]), (&"14".parse().unwrap(), &"2".parse().unwrap()));
        assert_eq!(headers["grpc-message"], "100%25 of %C3%A9%0A");
        assert_eq!(headers["content-type"], "application/grpc");
        assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
    }

    #[test]
    fn statuses_are_mapped_as_grpc_documents_them() {
        let mapped = [400, 401, 403, 404, 429, 500, 502, 503, 504, 418]
            .map(|status| grpc_status(StatusCode::from_u16(status).unwrap()));
        assert_eq!(mapped, [13, 16, 7, 12, 14, 2, 14, 14, 14, 2]);
        let back: Vec<u16> = (0..18).map(|status| from_grpc_status(status).as_u16()).collect();
        let expected = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401, 500];
        assert_eq!(back, expected);
    }
}
