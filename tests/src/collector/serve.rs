//! The two forms of OTLP: gRPC by the service that opentelemetry-proto generates, HTTP by hand.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tonic::body::Body;
use tonic::{Request as Call, Response as Answer, Status};
use tower_service::Service;

use super::{Mood, Seen, Shared};

const PROTOBUF: &str = "application/x-protobuf";

/// Accepts for ever.
pub(super) async fn accept(listener: std::net::TcpListener, shared: Arc<Shared>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            match shared.tls.clone() {
                None => serve(stream, shared).await,
                // A client that does not believe the certificate is no concern of the collector.
                Some(tls) => {
                    if let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await {
                        serve(stream, shared).await;
                    }
                }
            }
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, shared: Arc<Shared>) {
    let answer = service_fn(move |request| answer(request, Arc::clone(&shared)));
    // How a connection ends says nothing that a test asks for.
    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await;
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Body>, Infallible> {
    let kind = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if kind.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
        let mut service = TraceServiceServer::new(Grpc(shared));
        return service.call(request.map(Body::new)).await;
    }
    let (status, message) = over_http(request, &shared).await;
    let mut response = Response::new(Body::new(Full::new(message)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
    Ok(response)
}

async fn over_http(request: Request<Incoming>, shared: &Shared) -> (StatusCode, Bytes) {
    let (parts, body) = request.into_parts();
    let is_export = parts.method == Method::POST && parts.uri.path() == "/v1/traces";
    if !is_export {
        return (StatusCode::NOT_FOUND, Bytes::new());
    }
    if parts.headers.get(CONTENT_TYPE).is_none_or(|kind| kind != PROTOBUF) {
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, Bytes::new());
    }
    let Ok(body) = body.collect().await else { return (StatusCode::BAD_REQUEST, Bytes::new()) };
    let Ok(message) = ExportTraceServiceRequest::decode(body.to_bytes()) else {
        return (StatusCode::BAD_REQUEST, Bytes::new());
    };
    let status = match shared.take(&parts.headers, message).await {
        Mood::Takes | Mood::Silent => StatusCode::OK,
        Mood::Busy => StatusCode::SERVICE_UNAVAILABLE,
        Mood::Refuses => StatusCode::BAD_REQUEST,
    };
    (status, ExportTraceServiceResponse::default().encode_to_vec().into())
}

struct Grpc(Arc<Shared>);

#[tonic::async_trait]
impl TraceService for Grpc {
    async fn export(
        &self,
        call: Call<ExportTraceServiceRequest>,
    ) -> Result<Answer<ExportTraceServiceResponse>, Status> {
        let (metadata, _, message) = call.into_parts();
        match self.0.take(&metadata.into_headers(), message).await {
            Mood::Takes | Mood::Silent => Ok(Answer::new(ExportTraceServiceResponse::default())),
            Mood::Busy => Err(Status::unavailable("later")),
            Mood::Refuses => Err(Status::invalid_argument("never")),
        }
    }
}

impl Shared {
    /// Takes the spans of an export, or not; a silent collector never comes back from here.
    async fn take(&self, headers: &HeaderMap, message: ExportTraceServiceRequest) -> Mood {
        let key = headers.get("authorization").and_then(|key| key.to_str().ok()).map(ToOwned::to_owned);
        self.keys.lock().push(key);
        let mood = *self.mood.lock();
        match mood {
            Mood::Takes => self.spans.lock().extend(Seen::all(message)),
            Mood::Silent => std::future::pending().await,
            Mood::Busy | Mood::Refuses => {}
        }
        mood
    }
}
