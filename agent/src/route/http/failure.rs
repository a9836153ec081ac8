//! Why a request gets an answer of the mesh instead of a backend's, and which.

use http::StatusCode;

use crate::{route::backend::Unresolved, rules::fault_injection::GrpcStatus};

/// Why there is no backend to ask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No rule of the port's routes matches.
    #[error(
        "no rule of the routes of this port matches: look at the routes of the Service, and those of the client's namespace for it"
    )]
    NoRule,
    /// The rule has no backends.
    #[error("the rule has neither backendRefs nor a filter that answers; give it one of them")]
    NoBackends,
    /// The weights of all its backends are 0.
    #[error("all backendRefs of the rule have weight 0; give one of them a weight")]
    NoWeight,
    /// The backend whose turn it was does not stand for anything.
    #[error(transparent)]
    Unresolved(#[from] Unresolved),
}

impl Failure {
    /// What an HTTP client is answered.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoRule => StatusCode::NOT_FOUND,
            Self::NoBackends
            | Self::NoWeight
            | Self::Unresolved(
                Unresolved::NoService { .. } | Unresolved::ExternalName { .. } | Unresolved::NoPort { .. },
            ) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unresolved(Unresolved::NoEndpoint { .. }) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What a gRPC client is answered, in trailers.
    pub fn grpc_status(&self) -> GrpcStatus {
        match self {
            Self::NoRule => GrpcStatus::Unimplemented,
            Self::NoBackends | Self::NoWeight | Self::Unresolved(_) => GrpcStatus::Unavailable,
        }
    }
}
