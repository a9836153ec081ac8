//! Why a certificate is not signed: the one map from a reason to what the caller is told, the gRPC code and the label.
//!
//! No message holds a token.

use std::time::Duration;

use tonic::{Code, Status};

use super::roots::RootError;
use crate::{config::authority::AccountName, identify::IssueError, mesh::SpiffeId, observe::SigningResult};

/// A reason.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// No way to know the caller.
    #[error("the request has {0} bearer tokens in authorization, and must have one")]
    NoToken(usize),
    /// The API server's word.
    #[error("the token is not accepted: {0}; it must be projected for audience {1:?}, and its pod must exist")]
    BadToken(String, String),
    /// A user, not a service account.
    #[error("the token is of {0:?}, and only service accounts have identities")]
    NotServiceAccount(String),
    /// It asked in the name of others.
    #[error(
        "service account {0} may not ask in the name of others; add it to tokens.trustedServiceAccounts in ca.yaml"
    )]
    UntrustedAccount(AccountName),
    /// Its node is not known.
    #[error(
        "the token of {0} is not bound to a pod on a node; use a token that the kubelet projects into the agent's pod"
    )]
    UnboundToken(AccountName),
    /// The node restriction.
    #[error("no pod of service account {account} runs on node {node}, which the token is bound to")]
    NotOnNode {
        /// Whose identity.
        account: AccountName,
        /// The caller's.
        node: String,
    },
    /// Another mesh's identity.
    #[error("{id} is not of trust domain {domain}, the only one this authority signs for")]
    WrongTrustDomain {
        /// Asked for.
        id: SpiffeId,
        /// Signed for.
        domain: String,
    },
    /// A message that says nothing.
    #[error("the request is not understood: {0}")]
    BadRequest(String),
    /// The message did not reach the service: what tonic answered.
    #[error("the message is not understood: {}", .0.message())]
    BadMessage(Status),
    /// Bounds.
    #[error("too many {0} at once; try again later")]
    Busy(&'static str),
    /// Nothing is decided without it.
    #[error("the Kubernetes API could not be asked: {0}; try again later")]
    ApiUnavailable(String),
    /// Nothing to sign with.
    #[error("{0}; try again later")]
    NoRoot(#[from] RootError),
    /// A slow client, or a slow API server.
    #[error("the request took longer than {0:?}")]
    TimedOut(Duration),
    /// The request names somebody else, or is broken; or the library failed.
    #[error(transparent)]
    Signing(#[from] IssueError),
}

impl Refusal {
    /// The label of `heddle_ca_requests_total`, and the reason in the audit.
    pub(super) fn result(&self) -> SigningResult {
        match self {
            Self::NoToken(_) => SigningResult::NoToken,
            Self::BadToken(..) => SigningResult::BadToken,
            Self::NotServiceAccount(_) => SigningResult::NotServiceAccount,
            Self::UntrustedAccount(_) => SigningResult::UntrustedAccount,
            Self::UnboundToken(_) => SigningResult::UnboundToken,
            Self::NotOnNode { .. } => SigningResult::NotOnNode,
            Self::WrongTrustDomain { .. } => SigningResult::WrongTrustDomain,
            Self::BadRequest(_) | Self::BadMessage(_) | Self::Signing(IssueError::Refused { .. }) => {
                SigningResult::BadRequest
            }
            Self::Busy(_) => SigningResult::Busy,
            Self::ApiUnavailable(_) => SigningResult::ApiUnavailable,
            Self::NoRoot(_) => SigningResult::NoRoot,
            Self::TimedOut(_) => SigningResult::TimedOut,
            Self::Signing(_) => SigningResult::Failed,
        }
    }

    /// What the caller gets.
    pub(super) fn status(&self) -> Status {
        let code = match self.result() {
            SigningResult::NoToken | SigningResult::BadToken => Code::Unauthenticated,
            SigningResult::NotServiceAccount
            | SigningResult::UntrustedAccount
            | SigningResult::UnboundToken
            | SigningResult::NotOnNode
            | SigningResult::WrongTrustDomain => Code::PermissionDenied,
            SigningResult::BadRequest => match self {
                Self::BadMessage(status) => status.code(),
                _ => Code::InvalidArgument,
            },
            SigningResult::Busy => Code::ResourceExhausted,
            SigningResult::ApiUnavailable | SigningResult::NoRoot => Code::Unavailable,
            SigningResult::TimedOut => Code::DeadlineExceeded,
            SigningResult::Failed => Code::Internal,
            SigningResult::Ok => Code::Ok,
        };
        Status::new(code, self.to_string())
    }
}
