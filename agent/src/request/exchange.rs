//! What both sides of a request do alike: telling what it is, and answering it.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderValue, Response, Version, header, request::Parts};
use hyper::{body::Incoming, upgrade::OnUpgrade};

use super::{
    body::{AnswerBody, AnswerError, BodyEnd, Limit},
    failed::RequestFailed,
    upgrade::Upgrades,
};
use crate::{
    config::HttpLimits,
    connect::http::{Lease, Replay, ReplayLimits, answer::Answer, head},
    observe::{Failure, RequestProtocol, RequestRecord, ResponseFlag},
};

pub(super) fn protocol(parts: &Parts, is_grpc: bool) -> RequestProtocol {
    match parts.version {
        _ if is_grpc => RequestProtocol::Grpc,
        Version::HTTP_2 => RequestProtocol::Http2,
        _ => RequestProtocol::Http1,
    }
}

/// What is kept of a request's body, and how long it may be silent. Calls of gRPC are streams, and silent for any time; the
/// guard of HTTP/1 sees silence by itself.
pub(super) fn body_limits(version: Version, is_grpc: bool, keep: usize, http: &HttpLimits) -> ReplayLimits {
    let may_be_silent = is_grpc || version != Version::HTTP_2;
    ReplayLimits { keep, silence: (!may_be_silent).then_some(http.request_body_timeout) }
}

/// The answer to a request that failed, which is also its end.
pub(super) fn refuse(failed: &RequestFailed, is_grpc: bool, mut record: RequestRecord) -> Response<AnswerBody> {
    let own = Answer::new(failed.status()).saying(failed.advice());
    let (mut parts, text) = own.for_request(is_grpc).into_parts();
    parts.headers.extend(failed.headers());
    if is_grpc {
        let grpc = failed.grpc_status();
        parts.headers.insert("grpc-status", u16::from(grpc).into());
        record.grpc_status(grpc.into());
    }
    record.responded(parts.status);
    record.finish(Err(failed.failure()));
    if failed.is_of_client() {
        parts.extensions.insert(LastAnswer);
    }
    Response::from_parts(parts, AnswerBody::whole(text))
}

/// What follows such an answer on an HTTP/1 connection is not read: the client has said something that readers take for
/// different things.
#[derive(Clone)]
struct LastAnswer;

/// A server's answer, with its body on its way to the client. With the end of that the request ends: the record is told how it
/// went, what is `held` is dropped, and the connection given back where request and answer were read to their ends. An answer
/// that was `flagged` before is told so even where it was whole.
pub(super) fn answered(
    response: Response<Incoming>,
    (connection, replay): (Lease, Replay),
    limit: Limit,
    mut record: RequestRecord,
    flagged: Option<Failure>,
    held: impl Send + 'static,
) -> Response<AnswerBody> {
    replay.answered();
    record.responded(response.status());
    if let Some(status) = grpc_status_in(response.headers()) {
        record.grpc_status(status);
    }
    let bytes = record.bytes();
    let ending = Box::new(move |end| {
        let is_whole = matches!(end, BodyEnd::Whole(_));
        let result = match end {
            BodyEnd::Whole(trailers) => {
                if let Some(status) = trailers.as_ref().and_then(grpc_status_in) {
                    record.grpc_status(status);
                }
                flagged.map_or(Ok(()), Err)
            }
            BodyEnd::Broken(error) => {
                let flag = match &error {
                    AnswerError::Server(_) => ResponseFlag::UpstreamReset,
                    AnswerError::Late => ResponseFlag::ConnectTimeout,
                };
                Err(Failure { flag, error: error.to_string(), denied_by: None })
            }
            BodyEnd::Abandoned => {
                let error = "the client gave up before the end of the answer".to_owned();
                Err(Failure { flag: ResponseFlag::DownstreamClosed, error, denied_by: None })
            }
        };
        record.finish(result);
        drop(held);
        if is_whole && replay.has_ended() {
            connection.give_back();
        }
    });
    let (parts, body) = response.into_parts();
    Response::from_parts(parts, AnswerBody::streamed(body, bytes, limit, ending))
}

/// `grpc-status` in headers or trailers.
pub(super) fn grpc_status_in(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// A server's agreement to speak something else from now on. What is `held` is dropped at the end of it.
pub(super) fn switched(
    mut response: Response<Incoming>,
    (client_half, upgrades): (OnUpgrade, &Upgrades),
    mut record: RequestRecord,
    held: impl Send + 'static,
) -> Response<AnswerBody> {
    let server_half = hyper::upgrade::on(&mut response);
    record.responded(response.status());
    let bytes = record.bytes();
    upgrades.pass(client_half, server_half, bytes, move |result| {
        record.finish(result);
        drop(held);
    });
    let (parts, _) = response.into_parts();
    Response::from_parts(parts, AnswerBody::own(""))
}

/// An answer as a client of this version gets it. hyper takes none of another version than its connection's.
pub(super) fn with_version(response: Response<AnswerBody>, version: Version) -> Response<AnswerBody> {
    let (mut parts, body) = response.into_parts();
    head::response_to(version, &mut parts);
    if parts.extensions.remove::<LastAnswer>().is_some() && version != Version::HTTP_2 {
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Response::from_parts(parts, body)
}

/// HTTP/1.0 needs no host; whoever gets the request is spoken to in a version that does.
pub(super) fn with_host(parts: &mut Parts, dialled: SocketAddr) {
    if parts.version == Version::HTTP_10
        && parts.uri.authority().is_none()
        && !parts.headers.contains_key(header::HOST)
        && let Ok(host) = HeaderValue::from_str(&dialled.to_string())
    {
        parts.headers.insert(header::HOST, host);
    }
}

/// The host that a request is for, as it says.
pub(super) fn host(parts: &Parts) -> &str {
    let of_header = || parts.headers.get(header::HOST)?.to_str().ok();
    let host = parts.uri.authority().map(http::uri::Authority::as_str).or_else(of_header);
    host.unwrap_or_default()
}
