//! `heddle-peer grpc-serve` and `grpc`: the service `heddle.test.Echo` and a client of it, by tonic.
//!
//! The service has a method of each kind; `tests/python/echo.py` has the same service and client by grpcio.

mod client;
mod message;
mod serve;

use serde::{Deserialize, Serialize};

pub(super) use client::{Grpc, run};
pub(super) use serve::{GrpcServe, run as serve};

/// What `grpc` found, and what `echo.py call` prints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GrpcReport {
    /// One for each call.
    pub calls: Vec<GrpcCall>,
}

/// What came of a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GrpcCall {
    /// The status in capital letters, as the specification names it.
    pub code: String,
    /// `grpc-message`
    pub message: String,
    /// The text of each message that came.
    pub replies: Vec<String>,
    /// The name of the server that answered, from the metadata that it sends first.
    pub server: String,
    /// How long it took.
    pub ms: f64,
}
