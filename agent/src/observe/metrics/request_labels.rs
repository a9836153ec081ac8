//! Istio's standard labels for requests: those of the two parties, and how the request ended.

use http::StatusCode;

use super::{
    label_sets::Labels,
    traffic_labels::{LabelSet, TCP_LABELS},
};
use crate::observe::{NO_FLAG, ResponseFlag};

/// Label names in the order of [`RequestLabels::values`]: those of TCP, and the flag last as there.
pub(super) const REQUEST_LABELS: &[&str] = &request_labels();

const fn request_labels() -> [&'static str; TCP_LABELS.len() + 2] {
    let mut labels = [""; TCP_LABELS.len() + 2];
    let flag = TCP_LABELS.len() - 1;
    labels.split_at_mut(flag).0.copy_from_slice(TCP_LABELS.split_at(flag).0);
    labels[flag] = "response_code";
    labels[flag + 1] = "grpc_response_status";
    labels[flag + 2] = TCP_LABELS[flag];
    labels
}

const OTHER: &str = "other";

/// The highest status that gRPC defines, UNAUTHENTICATED.
const LAST_GRPC_STATUS: u32 = 16;

/// What tells one series of requests from another. Cheap to make, as [`LabelSet`] is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::observe) struct RequestLabels {
    parties: LabelSet,
    end: RequestEnd,
}

/// How a request ended, as far as labels tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::observe) struct RequestEnd {
    is_grpc: bool,
    code: ResponseCode,
    grpc: GrpcStatus,
    flag: Option<ResponseFlag>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum ResponseCode {
    /// There was no response.
    None,
    Code(u16),
    /// All codes of a class: in the fold of what is beyond the cap.
    Class(u16),
    /// Servers may make up numbers. Those that no class has are one.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum GrpcStatus {
    /// Not gRPC, or the stream ended before its status. Prometheus takes an empty value for a missing label.
    None,
    Status(u32),
    Other,
}

impl RequestEnd {
    pub(in crate::observe) fn new(
        is_grpc: bool,
        code: Option<StatusCode>,
        grpc: Option<u32>,
        flag: Option<ResponseFlag>,
    ) -> Self {
        let code = match code.map(|code| code.as_u16()) {
            None => ResponseCode::None,
            Some(code @ 100..=599) => ResponseCode::Code(code),
            Some(_) => ResponseCode::Other,
        };
        let grpc = match grpc.filter(|_| is_grpc) {
            None => GrpcStatus::None,
            Some(status @ 0..=LAST_GRPC_STATUS) => GrpcStatus::Status(status),
            Some(_) => GrpcStatus::Other,
        };
        Self { is_grpc, code, grpc, flag }
    }

    fn protocol(self) -> &'static str {
        if self.is_grpc { "grpc" } else { "http" }
    }
}

impl Labels for RequestLabels {
    /// The set that stands for all sets beyond the cap that ended in the same way, by the class of their code: the share of
    /// errors stays right, and a server that makes up codes cannot make many series.
    fn folded(self) -> Self {
        let code = match self.end.code {
            ResponseCode::Code(code) => ResponseCode::Class(code / 100),
            code => code,
        };
        Self { parties: self.parties.folded(), end: RequestEnd { code, ..self.end } }
    }
}

impl RequestLabels {
    pub(in crate::observe) fn new(parties: LabelSet, end: RequestEnd) -> Self {
        Self { parties, end }
    }

    /// The values of all labels.
    pub(super) fn values(&self, cluster: &str) -> Vec<String> {
        let mut values = self.parties.values(cluster, self.end.protocol()).into_vec();
        values.push(match self.end.code {
            ResponseCode::None => "0".to_owned(),
            ResponseCode::Code(code) => code.to_string(),
            ResponseCode::Class(class) => format!("{class}xx"),
            ResponseCode::Other => OTHER.to_owned(),
        });
        values.push(match self.end.grpc {
            GrpcStatus::None => String::new(),
            GrpcStatus::Status(status) => status.to_string(),
            GrpcStatus::Other => OTHER.to_owned(),
        });
        values.push(self.end.flag.map_or(NO_FLAG, ResponseFlag::as_str).to_owned());
        values
    }
}
