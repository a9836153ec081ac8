//! Why an export failed, and whether it may be tried again (OTLP 1.x, "Failures" of gRPC and of HTTP).

use std::{io, time::Duration};

use http::StatusCode;

use crate::observe::metrics::SpanExportResult;

/// Why a collector did not take spans.
#[derive(Debug, thiserror::Error)]
pub(in crate::observe::spans) enum ExportError {
    /// The node does not know the name.
    #[error("resolve {host}: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// No connection.
    #[error("connect to {address}: {source}")]
    Connect {
        /// Where.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// There is nothing to check the collector by, or it did not prove who it is.
    #[error("TLS: {0}; if the collector's root is one of your own, give it as tracing.otlp.roots of agent.yaml")]
    Tls(String),
    /// The connection ended in the middle, or the collector speaks something else.
    #[error("the connection broke: {problem}")]
    Broken {
        /// How.
        problem: String,
        /// Whether it was open before this export.
        was_kept: bool,
    },
    /// It refuses, over HTTP.
    #[error("the collector answers {status}")]
    Status {
        /// The status.
        status: StatusCode,
        /// When to ask again, as it says.
        after: Option<Duration>,
    },
    /// It refuses, over gRPC.
    #[error("the collector answers {code:?}: {message}")]
    Grpc {
        /// The status.
        code: tonic::Code,
        /// In words.
        message: String,
        /// When to ask again, as it says.
        after: Option<Duration>,
    },
    /// It answers with something else.
    #[error("the collector's answer is not OTLP: {0}; check that tracing.otlp.protocol is what its port speaks")]
    Answer(String),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The agent ended first.
    #[error("the agent ended before the collector answered")]
    Ended,
}

/// When to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::observe::spans) enum Again {
    /// It would fail again.
    Never,
    /// With a new connection.
    Now,
    /// After a pause.
    Later,
    /// After the pause that the collector asks for.
    After(Duration),
}

impl ExportError {
    /// When to try again.
    pub(in crate::observe::spans) fn again(&self) -> Again {
        match self {
            Self::Resolve { .. } | Self::Connect { .. } | Self::TimedOut(_) | Self::Ended => Again::Later,
            // A certificate may be renewed, and roots are read for each connection.
            Self::Tls(_) => Again::Later,
            Self::Broken { was_kept: true, .. } => Again::Now,
            Self::Broken { was_kept: false, .. } => Again::Later,
            Self::Status { status, after } => match status.as_u16() {
                429 | 502 | 503 | 504 => after.map_or(Again::Later, Again::After),
                _ => Again::Never,
            },
            Self::Grpc { code, after, .. } => of_code(*code, *after),
            Self::Answer(_) => Again::Never,
        }
    }

    /// Whether the collector has answered, so that the connection is good.
    pub(super) fn is_answer(&self) -> bool {
        match self {
            Self::Status { .. } | Self::Grpc { .. } => true,
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::Tls(_)
            | Self::Broken { .. }
            | Self::Answer(_)
            | Self::TimedOut(_)
            | Self::Ended => false,
        }
    }

    /// Whether it says anything of the collector.
    pub(in crate::observe::spans) fn is_news(&self) -> bool {
        !matches!(self, Self::Ended | Self::Broken { was_kept: true, .. })
    }

    /// The label of its kind.
    pub(in crate::observe::spans) fn result(&self) -> SpanExportResult {
        match self {
            Self::Resolve { .. } | Self::Connect { .. } | Self::Broken { .. } => SpanExportResult::Unreachable,
            Self::Tls(_) => SpanExportResult::Tls,
            Self::Status { .. } | Self::Grpc { .. } | Self::Answer(_) => match self.again() {
                Again::Never => SpanExportResult::Refused,
                Again::Now | Again::Later | Again::After(_) => SpanExportResult::Busy,
            },
            Self::TimedOut(_) | Self::Ended => SpanExportResult::Timeout,
        }
    }
}

fn of_code(code: tonic::Code, after: Option<Duration>) -> Again {
    use tonic::Code;
    match (code, after) {
        // Only where the collector says that it will recover.
        (Code::ResourceExhausted, None) => Again::Never,
        (Code::ResourceExhausted, Some(after)) => Again::After(after),
        (
            Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss,
            after,
        ) => after.map_or(Again::Later, Again::After),
        _ => Again::Never,
    }
}
