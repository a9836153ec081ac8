//! Why a request gets an answer of the mesh, and which: the one map from the steps' errors to status, gRPC status and flag.

use std::{sync::Arc, time::Duration};

use http::StatusCode;

use crate::{
    authorize::{Denied, token::Refusal},
    balance::NoEndpoint,
    connect::{
        ApplicationError, ConnectError,
        http::{PoolError, SendError, head::BadHead},
    },
    failure::connect_flag,
    observe::{Failure, ResponseFlag},
    route::{self, NoRoute},
    target::BadTarget,
};

/// Why a request was not answered by a server: one variant for each step.
#[derive(Debug, thiserror::Error)]
pub enum RequestFailed {
    /// Its head is none that could be sent on.
    #[error(transparent)]
    Head(#[from] BadHead),
    /// Route: its target can be read in two ways.
    #[error(transparent)]
    Target(#[from] BadTarget),
    /// Route: the port that was dialled is not there any more.
    #[error(transparent)]
    Port(#[from] NoRoute),
    /// Route: no rule, or nobody behind it.
    #[error(transparent)]
    Rule(#[from] route::http::Failure),
    /// Authorize: the token that it carries is not believed.
    #[error("the token is not accepted: {0}")]
    Token(Refusal),
    /// Authorize.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Balance.
    #[error(transparent)]
    Balance(#[from] NoEndpoint),
    /// Connect.
    #[error(transparent)]
    Connect(#[from] Arc<PoolError>),
    /// The server did not answer.
    #[error(transparent)]
    Send(#[from] SendError),
    /// Not in time.
    #[error("no answer within {0:?}, which is what the route allows")]
    Late(Duration),
}

impl RequestFailed {
    /// What an HTTP client is answered.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Head(_) | Self::Target(_) => StatusCode::BAD_REQUEST,
            Self::Rule(failure) => failure.status(),
            Self::Token(refusal) => refusal.status(),
            Self::Denied(_) => StatusCode::FORBIDDEN,
            Self::Port(_) | Self::Balance(_) | Self::Connect(_) | Self::Send(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Late(_) => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The response flag.
    pub fn flag(&self) -> ResponseFlag {
        use ResponseFlag as Flag;
        match self {
            Self::Head(_) | Self::Target(_) => Flag::DownstreamProtocolError,
            Self::Port(_) | Self::Rule(_) => Flag::NoRoute,
            Self::Token(_) | Self::Denied(_) => Flag::RequestDenied,
            Self::Balance(_) => Flag::NoHealthyUpstream,
            Self::Connect(error) => match error.as_ref() {
                PoolError::Connect(error) => connect_flag(error),
                PoolError::Application(ApplicationError::Connect { .. }) | PoolError::Http { .. } => {
                    Flag::ConnectFailure
                }
                PoolError::Application(ApplicationError::Timeout { .. }) => Flag::ConnectTimeout,
            },
            Self::Send(_) => Flag::UpstreamReset,
            Self::Late(_) => Flag::ConnectTimeout,
        }
    }

    /// What the client is told: what it can do, and nothing that it does not know of the mesh. Names of policies and addresses
    /// are in the access log.
    pub fn advice(&self) -> String {
        match self {
            Self::Head(_) | Self::Target(_) => self.to_string(),
            Self::Rule(route::http::Failure::NoRule) => "no route matches this request".to_owned(),
            Self::Rule(_) | Self::Port(_) => {
                "the route leads nowhere; its owner finds the reason in the access log".to_owned()
            }
            Self::Token(_) => "the token is not accepted".to_owned(),
            Self::Denied(_) => "access denied by policy".to_owned(),
            Self::Balance(_) => "no endpoint is ready".to_owned(),
            Self::Connect(_) => "the server cannot be reached".to_owned(),
            Self::Send(_) => "the server broke the connection off before it answered".to_owned(),
            Self::Late(_) => "the server did not answer in time".to_owned(),
        }
    }

    /// The failure as metrics and logs have it.
    pub fn failure(&self) -> Failure {
        let denied_by = match self {
            Self::Denied(denied) => Some(denied.decided_by()),
            Self::Token(refusal) => refusal.rule().map(|(document, _)| format!("RequestAuthentication {document}")),
            _ => None,
        };
        Failure { flag: self.flag(), error: self.to_string(), denied_by }
    }

    /// Whether no agent answers at the endpoint's node.
    pub(super) fn is_absent_agent(&self) -> bool {
        matches!(self, Self::Connect(error)
            if matches!(error.as_ref(), PoolError::Connect(error) if ConnectError::is_absent_agent(error)))
    }
}
