//! How one try at an endpoint ended, as health and balancing see it.

use std::time::Duration;

use http::StatusCode;

/// What became of one try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// From sending the request to the head of the response, or to the failure.
    pub latency: Duration,
    /// How it ended.
    pub result: TryResult,
}

/// How a try ended. A gRPC call that failed is told by the HTTP status that its own status stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryResult {
    /// With an answer, and how long it asks to be left alone (`Retry-After`).
    Status(StatusCode, Option<Duration>),
    /// No connection could be opened.
    ConnectFailed,
    /// The connection broke before the head of the answer.
    Reset,
    /// No answer in time.
    Timeout,
}
