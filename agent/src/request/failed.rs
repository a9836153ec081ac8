//! Why a request gets an answer of the mesh, and which: the one map from the steps' errors to status, gRPC status and flag.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::{
    authorize::{Denied, limits::Limited, token::Refusal},
    balance::{NoEndpoint, breaker::Overflow},
    connect::{
        ApplicationError, ConnectError,
        http::{
            BrokenBody, PoolError, SendError,
            answer::{self, from_grpc_status},
            head::BadHead,
        },
    },
    failure::connect_flag,
    observe::{Failure, FallbackReason, ResponseFlag},
    route::{self, NoRoute, timeouts::BadGrpcTimeout},
    rules::{fault_injection::AbortStatus, gateway::ExtensionKind},
    shares::Overloaded,
    target::BadTarget,
};

/// Why a request was not answered by a server: one variant for each reason that clients or operators can tell apart.
#[derive(Debug, thiserror::Error)]
pub enum RequestFailed {
    /// The agent takes nothing new on.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// Its head is none that could be sent on.
    #[error(transparent)]
    Head(#[from] BadHead),
    /// Its body did not come whole.
    #[error("{0}")]
    Body(BrokenBody),
    /// Route: its target can be read in two ways.
    #[error(transparent)]
    Target(#[from] BadTarget),
    /// Route: its deadline cannot be read.
    #[error(transparent)]
    GrpcTimeout(BadGrpcTimeout),
    /// Route: the port that was dialled is not there any more.
    #[error(transparent)]
    Port(#[from] NoRoute),
    /// Route: no rule, or nobody behind it.
    #[error(transparent)]
    Rule(#[from] route::http::Failure),
    /// Route: its rule refers to a document that is not in force.
    #[error("there is no {} {name} in force for a filter of the rule; make it, or remove the filter", kind_name(*.kind))]
    Extension {
        /// The kind.
        kind: ExtensionKind,
        /// Its name.
        name: String,
    },
    /// Route: it fails on purpose.
    #[error("{document} has requests fail")]
    Fault {
        /// How.
        status: AbortStatus,
        /// The document, by the name that logs give it.
        document: String,
    },
    /// Authorize: too many.
    #[error("RateLimit {} allows {} requests in {:?}", .0.document, .0.requests, .0.interval)]
    Limited(Limited),
    /// Authorize: the token that it carries is not believed.
    #[error("the token is not accepted: {0}")]
    Token(Refusal),
    /// Authorize.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Balance.
    #[error(transparent)]
    Balance(#[from] NoEndpoint),
    /// Balance: as many are under way as may be.
    #[error(transparent)]
    Overflow(#[from] Overflow),
    /// Connect.
    #[error(transparent)]
    Connect(#[from] Arc<PoolError>),
    /// Connect, by the server's agent to the application.
    #[error(
        "the agent of the server's node could not pass the request to the application; the reason is in its access log"
    )]
    Undelivered,
    /// The server did not answer.
    #[error(transparent)]
    Send(#[from] SendError),
    /// Not in time.
    #[error("no answer within {0:?}, which is what the route or the call allows")]
    Late(Duration),
    /// It failed, and as much was tried again lately as may be.
    #[error("it failed, and the retry budget of the service is spent: look at why its requests fail")]
    OverBudget,
}

impl From<Limited> for RequestFailed {
    fn from(limited: Limited) -> Self {
        Self::Limited(limited)
    }
}

fn kind_name(kind: ExtensionKind) -> &'static str {
    match kind {
        ExtensionKind::FaultInjection => "FaultInjection",
        ExtensionKind::RateLimit => "RateLimit",
    }
}

/// What a client is told whose request finds no connection that may be opened.
const TOO_MANY: &str = "too many requests are under way; try again later";

/// gRPC's codes, for what does not follow from the HTTP status.
const INTERNAL: u8 = 13;
const DEADLINE_EXCEEDED: u8 = 4;
const RESOURCE_EXHAUSTED: u8 = 8;

impl RequestFailed {
    /// What an HTTP client is answered.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Body(BrokenBody::Silent) => StatusCode::REQUEST_TIMEOUT,
            Self::Head(_) | Self::Body(_) | Self::Target(_) | Self::GrpcTimeout(_) => StatusCode::BAD_REQUEST,
            Self::Rule(failure) => failure.status(),
            Self::Extension { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Fault { status: AbortStatus::Http(status), .. } => {
                StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }
            Self::Fault { status: AbortStatus::Grpc(status), .. } => from_grpc_status(status.code().into()),
            Self::Limited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Token(refusal) => refusal.status(),
            Self::Denied(_) => StatusCode::FORBIDDEN,
            Self::Overloaded(_)
            | Self::Port(_)
            | Self::Balance(_)
            | Self::Overflow(_)
            | Self::Connect(_)
            | Self::Undelivered
            | Self::Send(_)
            | Self::OverBudget => StatusCode::SERVICE_UNAVAILABLE,
            Self::Late(_) => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// What a gRPC client is answered.
    pub fn grpc_status(&self) -> u8 {
        match self {
            Self::Rule(failure) => failure.grpc_status().code(),
            Self::Fault { status: AbortStatus::Grpc(status), .. } => status.code(),
            Self::Late(_) => DEADLINE_EXCEEDED,
            Self::Limited(_) => RESOURCE_EXHAUSTED,
            Self::Extension { .. } => INTERNAL,
            _ => u8::try_from(answer::grpc_status(self.status())).unwrap_or(INTERNAL),
        }
    }

    /// The response flag.
    pub fn flag(&self) -> ResponseFlag {
        use ResponseFlag as Flag;
        match self {
            Self::Head(_) | Self::Body(_) | Self::Target(_) | Self::GrpcTimeout(_) => Flag::DownstreamProtocolError,
            Self::Overloaded(_) => Flag::Overloaded,
            Self::Port(_) | Self::Rule(_) | Self::Extension { .. } => Flag::NoRoute,
            Self::Fault { .. } => Flag::FaultInjected,
            Self::Limited(_) => Flag::RateLimited,
            Self::Token(_) | Self::Denied(_) => Flag::RequestDenied,
            Self::Balance(_) => Flag::NoHealthyUpstream,
            Self::Overflow(_) => Flag::Overflow,
            Self::Connect(error) => match error.as_ref() {
                PoolError::Connect(error) => connect_flag(error),
                PoolError::Application(ApplicationError::Connect { .. }) | PoolError::Http { .. } => {
                    Flag::ConnectFailure
                }
                PoolError::Application(ApplicationError::Timeout { .. }) => Flag::ConnectTimeout,
                PoolError::Full(_) | PoolError::PodIsFull(_) => Flag::Overflow,
            },
            Self::Undelivered => Flag::ConnectFailure,
            Self::Send(_) => Flag::UpstreamReset,
            Self::Late(_) => Flag::ConnectTimeout,
            Self::OverBudget => Flag::RetriesExhausted,
        }
    }

    /// What the client is told: what it can do, and nothing that it does not know of the mesh. Names of policies and addresses
    /// are in the access log.
    pub fn advice(&self) -> String {
        let text = match self {
            Self::Head(_) | Self::Body(_) | Self::Target(_) | Self::GrpcTimeout(_) => return self.to_string(),
            Self::Rule(route::http::Failure::NoRule) => "no route matches this request",
            Self::Rule(_) | Self::Port(_) | Self::Extension { .. } => {
                "the route leads nowhere; its owner finds the reason in the access log"
            }
            Self::Fault { .. } => "a fault was injected on purpose",
            Self::Limited(_) => "too many requests; try again later",
            Self::Token(_) => "the token is not accepted",
            Self::Denied(_) => "access denied by policy",
            Self::Balance(_) => "no endpoint is ready",
            Self::Overloaded(_) => "the mesh is overloaded; try again later",
            Self::Overflow(_) => TOO_MANY,
            Self::Connect(error) if error.is_full() => TOO_MANY,
            Self::Connect(_) | Self::Undelivered => "the server cannot be reached",
            Self::Send(_) => "the server broke the connection off before it answered",
            Self::Late(_) => "the server did not answer in time",
            Self::OverBudget => "the server fails, and too much was tried again lately",
        };
        text.to_owned()
    }

    /// Whether the client's request is none that could be understood.
    pub fn is_of_client(&self) -> bool {
        matches!(self, Self::Head(_) | Self::Body(_) | Self::Target(_))
    }

    /// Headers that the answer has beside those of its status.
    pub fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        match self {
            Self::Limited(limited) => limited.headers().to_vec(),
            Self::Token(refusal) => vec![(header::WWW_AUTHENTICATE, refusal.challenge())],
            _ => Vec::new(),
        }
    }

    /// The failure as metrics and logs have it.
    pub fn failure(&self) -> Failure {
        let denied_by = match self {
            Self::Denied(denied) => Some(denied.decided_by()),
            Self::Token(refusal) => refusal.rule().map(|(document, _)| format!("RequestAuthentication {document}")),
            Self::Limited(limited) => Some(format!("RateLimit {}", limited.document)),
            Self::Fault { document, .. } => Some(document.clone()),
            _ => None,
        };
        Failure { flag: self.flag(), error: self.to_string(), denied_by }
    }

    /// Why a fallback takes over, where it does.
    pub(super) fn fallback_reason(&self) -> FallbackReason {
        match self {
            Self::Balance(_) => FallbackReason::NoEndpoint,
            Self::Overflow(_) => FallbackReason::Overflow,
            Self::Connect(error) if error.is_full() => FallbackReason::Overflow,
            _ => FallbackReason::NotReached,
        }
    }

    /// Whether the application, which a server's agent was to pass the request to, has seen nothing of it.
    pub(super) fn is_undelivered(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Send(SendError::NotSent(..) | SendError::Refused(_)))
    }

    /// Whether the endpoint's agent refuses the client's connections, by a policy.
    pub(super) fn is_denied_connection(&self) -> bool {
        matches!(self, Self::Connect(error)
            if matches!(error.as_ref(), PoolError::Connect(error) if error.is_denied()))
    }

    /// Whether no agent answers at the endpoint's node.
    pub(super) fn is_absent_agent(&self) -> bool {
        matches!(self, Self::Connect(error)
            if matches!(error.as_ref(), PoolError::Connect(error) if ConnectError::is_absent_agent(error)))
    }
}
