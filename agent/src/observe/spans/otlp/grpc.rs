//! OTLP over gRPC: one unary call. The message comes encoded, so that a second try costs nothing.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes};
use futures_util::future::BoxFuture;
use http::{Uri, uri::PathAndQuery};
use hyper::{
    body::Incoming,
    client::conn::http2::{Builder, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::task::JoinSet;
use tonic::{
    Code, Request, Status,
    body::Body,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};
use tower_service::Service;

use super::{
    super::protocol::{EXPORT, ExportTraceServiceResponse, RetryInfo, StatusDetails},
    ExportError, LONGEST_ANSWER,
    dial::Stream,
    http1::USER_AGENT,
};
use crate::{config::OtlpConfig, outside::in_full};

/// A connection.
pub(super) struct Link {
    requests: Requests,
    /// Ends the connection's task when it is dropped.
    _driver: JoinSet<()>,
}

#[derive(Clone)]
struct Requests(SendRequest<Body>);

impl Link {
    pub(super) async fn new(stream: Stream) -> Result<Self, ExportError> {
        let handshake = Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await;
        let (requests, connection) =
            handshake.map_err(|error| ExportError::Broken { problem: in_full(&error), was_kept: false })?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the collector ended");
            }
        });
        Ok(Self { requests: Requests(requests), _driver: driver })
    }

    pub(super) fn is_open(&self) -> bool {
        !self.requests.0.is_closed()
    }

    pub(super) async fn export(
        &self,
        config: &OtlpConfig,
        message: Bytes,
    ) -> Result<ExportTraceServiceResponse, ExportError> {
        self.call(config, message).await.map_err(|status| refused(&status))
    }

    async fn call(&self, config: &OtlpConfig, message: Bytes) -> Result<ExportTraceServiceResponse, Status> {
        let origin = config.endpoint.to_string();
        let origin: Uri = origin.parse().map_err(|_| Status::internal(format!("{origin} is no address")))?;
        let mut client = Grpc::with_origin(self.requests.clone(), origin).max_decoding_message_size(LONGEST_ANSWER);
        client.ready().await.map_err(|error| Status::from_error(error.into()))?;
        let mut request = Request::new(message);
        let mut headers = std::mem::take(request.metadata_mut()).into_headers();
        config.headers.write(&mut headers);
        if let Ok(agent) = USER_AGENT.parse() {
            headers.insert(http::header::USER_AGENT, agent);
        }
        *request.metadata_mut() = tonic::metadata::MetadataMap::from_headers(headers);
        Ok(client.unary(request, PathAndQuery::from_static(EXPORT), AsItIs).await?.into_inner())
    }
}

/// A status that a collector sent, or what hyper and tonic make of a connection that broke.
fn refused(status: &Status) -> ExportError {
    match std::error::Error::source(status) {
        Some(source) => ExportError::Broken { problem: in_full(source), was_kept: false },
        None => ExportError::Grpc {
            code: status.code(),
            message: status.message().chars().take(LONGEST_MESSAGE).collect(),
            after: retry_delay(status.details()),
        },
    }
}

/// `google.rpc.RetryInfo` among the details of a status.
fn retry_delay(details: &[u8]) -> Option<Duration> {
    let details = StatusDetails::decode(details).ok()?.details;
    let info = details.iter().find(|any| any.type_url.ends_with("google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(&*info.value).ok()?.retry_delay?;
    // Negative ones are errors.
    Duration::try_from(delay).ok()
}

/// What an operator reads of a collector's words.
const LONGEST_MESSAGE: usize = 256;

impl Service<http::Request<Body>> for Requests {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// Takes messages that are encoded already.
struct AsItIs;

struct Encoded;

struct Answers;

impl Codec for AsItIs {
    type Encode = Bytes;
    type Decode = ExportTraceServiceResponse;
    type Encoder = Encoded;
    type Decoder = Answers;

    fn encoder(&mut self) -> Encoded {
        Encoded
    }

    fn decoder(&mut self) -> Answers {
        Answers
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for Answers {
    type Item = ExportTraceServiceResponse;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        let message = from.copy_to_bytes(from.remaining());
        let read = ExportTraceServiceResponse::decode(message);
        read.map(Some).map_err(|error| Status::new(Code::Internal, format!("its answer is not OTLP: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_says_when_to_ask_again() {
        let any = |name: &str, value| prost_types::Any { type_url: format!("type.googleapis.com/{name}"), value };
        let delay = |seconds| RetryInfo { retry_delay: Some(prost_types::Duration { seconds, nanos: 0 }) };
        let details = |any| StatusDetails { details: vec![any] }.encode_to_vec();
        for (details, expected) in [
            (details(any("google.rpc.RetryInfo", delay(7).encode_to_vec())), Some(Duration::from_secs(7))),
            (details(any("google.rpc.RetryInfo", delay(-7).encode_to_vec())), None),
            (details(any("google.rpc.RetryInfo", vec![0xff; 9])), None),
            (details(any("google.rpc.Help", delay(7).encode_to_vec())), None),
            (vec![0xff; 9], None),
            (Vec::new(), None),
        ] {
            assert_eq!(retry_delay(&details), expected);
        }
    }
}
