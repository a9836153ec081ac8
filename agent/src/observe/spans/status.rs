//! Which ends of a request are failures, to a span of either side and to the sampling of access log lines.

use http::StatusCode;

use crate::observe::{Reporter, ResponseFlag, access_log::Story};

/// Why a request failed, in a word out of a closed list or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The mesh's own.
    Flag(ResponseFlag),
    /// The answer's.
    Status(StatusCode),
    /// The call's.
    Grpc(u32),
}

/// Whether a request failed at the server or in the mesh: it is logged and not left to sampling.
pub(in crate::observe) fn is_failure(
    flag: Option<ResponseFlag>,
    status: Option<StatusCode>,
    grpc_status: Option<u32>,
) -> bool {
    fault(Reporter::Destination, flag, status, grpc_status).is_some()
}

/// Why the span of a request has an error, by OpenTelemetry's conventions for HTTP and RPC: to a client every status from 400 on and
/// every gRPC status but OK, to a server what is its own fault.
pub(super) fn of(story: &Story) -> Option<Fault> {
    let flag = story.failure.as_ref().map(|failure| failure.flag);
    let request = story.request.as_deref();
    let (status, grpc_status) = (request.and_then(|r| r.status), request.and_then(|r| r.grpc_status));
    fault(story.start.reporter, flag, status, grpc_status)
}

fn fault(
    reporter: Reporter,
    flag: Option<ResponseFlag>,
    status: Option<StatusCode>,
    grpc_status: Option<u32>,
) -> Option<Fault> {
    let status_is_fault = |status: &StatusCode| match reporter {
        Reporter::Source => status.as_u16() >= 400,
        Reporter::Destination => status.as_u16() >= 500,
    };
    let grpc_is_fault = |status: &u32| match reporter {
        Reporter::Source => *status != 0,
        Reporter::Destination => is_servers_fault(*status),
    };
    let of_flag = flag.map(Fault::Flag);
    let of_grpc = || grpc_status.filter(grpc_is_fault).map(Fault::Grpc);
    of_flag.or_else(of_grpc).or_else(|| status.filter(status_is_fault).map(Fault::Status))
}

/// Whether a gRPC status is the server's fault by OpenTelemetry's conventions: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED,
/// INTERNAL, UNAVAILABLE, DATA_LOSS.
pub fn is_servers_fault(grpc_status: u32) -> bool {
    matches!(grpc_status, 2 | 4 | 12 | 13 | 14 | 15)
}

/// The name of a gRPC status, as conventions want it; those that nobody defines have their number.
pub(super) fn grpc_name(status: u32) -> String {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let name = usize::try_from(status).ok().and_then(|status| NAMES.get(status));
    name.map_or_else(|| status.to_string(), |name| (*name).to_owned())
}
