//! What both sides of a request do alike: telling what it is, and answering it.

use std::sync::Arc;

use http::{HeaderValue, Response, StatusCode, Version, header, request::Parts};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use tokio::time::Instant;

use super::{
    body::{AnswerBody, AnswerError, BodyEnd, Ending},
    failed::RequestFailed,
    upgrade,
};
use crate::{
    observe::{ByteCounts, Failure, RequestProtocol, RequestRecord, ResponseFlag},
    rules::fault_injection::GrpcStatus,
};

/// Whether the head is of a gRPC call.
pub(super) fn is_grpc(parts: &Parts) -> bool {
    let content_type = parts.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let Some((name, rest)) = content_type.split_at_checked(b"application/grpc".len()) else { return false };
    name.eq_ignore_ascii_case(b"application/grpc") && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

pub(super) fn protocol(parts: &Parts, is_grpc: bool) -> RequestProtocol {
    match parts.version {
        _ if is_grpc => RequestProtocol::Grpc,
        Version::HTTP_2 => RequestProtocol::Http2,
        _ => RequestProtocol::Http1,
    }
}

/// The answer to a request that failed, which is also its end.
pub(super) fn refuse(failed: &RequestFailed, is_grpc: bool, mut record: RequestRecord) -> Response<AnswerBody> {
    let grpc = is_grpc.then(|| grpc_status(failed));
    let response = own_answer(failed.status(), &failed.advice(), grpc);
    record.responded(response.status());
    if let Some(grpc) = grpc {
        record.grpc_status(grpc.code().into());
    }
    record.finish(Err(failed.failure()));
    response
}

/// An answer of the mesh's own. A gRPC client reads its status in headers, since there is no body (gRPC over HTTP/2,
/// "Trailers-Only").
pub(super) fn own_answer(status: StatusCode, text: &str, grpc: Option<GrpcStatus>) -> Response<AnswerBody> {
    let body = match grpc {
        Some(_) => AnswerBody::own(""),
        None => AnswerBody::own(format!("{text}\n")),
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    match grpc {
        Some(grpc) => {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert("grpc-status", HeaderValue::from(u16::from(grpc.code())));
            if let Ok(message) = HeaderValue::from_str(text) {
                headers.insert("grpc-message", message);
            }
        }
        None => {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
            *response.status_mut() = status;
        }
    }
    response
}

fn grpc_status(failed: &RequestFailed) -> GrpcStatus {
    match failed {
        RequestFailed::Rule(failure) => failure.grpc_status(),
        RequestFailed::Denied(_) => GrpcStatus::PermissionDenied,
        RequestFailed::Token(_) => GrpcStatus::Unauthenticated,
        RequestFailed::Late(_) => GrpcStatus::DeadlineExceeded,
        RequestFailed::Head(_) | RequestFailed::Target(_) => GrpcStatus::Internal,
        RequestFailed::Port(_) | RequestFailed::Balance(_) | RequestFailed::Connect(_) | RequestFailed::Send(_) => {
            GrpcStatus::Unavailable
        }
    }
}

/// The end of an answer that a server gave: the record is told how it went, and `then` whether it was whole.
pub(super) fn ending(mut record: RequestRecord, then: impl FnOnce(bool) + Send + 'static) -> Ending {
    Box::new(move |end| {
        let is_whole = matches!(end, BodyEnd::Whole(_));
        let result = match end {
            BodyEnd::Whole(trailers) => {
                if let Some(status) = trailers.as_ref().and_then(grpc_status_in) {
                    record.grpc_status(status);
                }
                Ok(())
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
        then(is_whole);
    })
}

/// `grpc-status` in headers or trailers.
pub(super) fn grpc_status_in(headers: &http::HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// A server's answer, with its body on its way to the client.
pub(super) fn passed_on(
    response: Response<Incoming>,
    bytes: Arc<ByteCounts>,
    deadline: Option<Instant>,
    ending: Ending,
) -> Response<AnswerBody> {
    let (parts, body) = response.into_parts();
    Response::from_parts(parts, AnswerBody::streamed(body, bytes, deadline, ending))
}

/// A server's agreement to speak something else from now on. What is `held` is dropped at the end of it.
pub(super) fn switched(
    mut response: Response<Incoming>,
    client_half: OnUpgrade,
    mut record: RequestRecord,
    held: impl Send + 'static,
) -> Response<AnswerBody> {
    let server_half = hyper::upgrade::on(&mut response);
    record.responded(response.status());
    let bytes = record.bytes();
    tokio::spawn(async move {
        let result = upgrade::pass(client_half, server_half, &bytes).await;
        record.finish(result.map_err(|error| error.failure()));
        drop(held);
    });
    let (parts, _) = response.into_parts();
    Response::from_parts(parts, AnswerBody::own(""))
}

/// hyper writes an answer in the version of its connection, and takes none of another.
pub(super) fn with_version(mut response: Response<AnswerBody>, version: Version) -> Response<AnswerBody> {
    *response.version_mut() = version;
    response
}

/// The host that a request is for, as it says.
pub(super) fn host(parts: &Parts) -> &str {
    let of_header = || parts.headers.get(header::HOST)?.to_str().ok();
    let host = parts.uri.authority().map(http::uri::Authority::as_str).or_else(of_header);
    host.unwrap_or_default()
}
