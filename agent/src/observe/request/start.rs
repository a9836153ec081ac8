//! What is known of a request when its head was read.

use std::net::SocketAddr;

use http::{Method, Version};

use crate::{
    mesh::WorkloadTelemetry,
    observe::{Party, Reporter, RequestIds},
};

/// What a request is, as its client sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestProtocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// A gRPC call, over HTTP/2.
    Grpc,
}

impl RequestProtocol {
    /// The access log's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http/1",
            Self::Http2 => "http/2",
            Self::Grpc => "grpc",
        }
    }

    pub(super) fn is_grpc(self) -> bool {
        matches!(self, Self::Grpc)
    }
}

/// What is known of a request when its head was read. Texts are borrowed: they are kept only for an access log line or a span.
#[derive(Clone, Debug)]
pub struct RequestStart<'a> {
    /// The side that reports.
    pub reporter: Reporter,
    /// Who asks.
    pub client: Party,
    /// What the client dialled, before any choice of an endpoint.
    pub original_dst: SocketAddr,
    /// What the request is.
    pub protocol: RequestProtocol,
    /// The version that its client speaks.
    pub version: Version,
    /// Its method.
    pub method: Method,
    /// Its path, without the query: that may hold secrets.
    pub path: &'a str,
    /// Its Host or `:authority`; empty where it has none.
    pub host: &'a str,
    /// By what it is known; see [`identify`](crate::observe::Observer::identify).
    pub ids: RequestIds,
    /// What documents say of the requests of the pod of this node.
    pub telemetry: WorkloadTelemetry,
    /// Generation of the snapshot that decides.
    pub generation: u64,
}
