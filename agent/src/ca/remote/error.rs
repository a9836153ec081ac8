//! What goes wrong between this agent and a remote authority, and what to do about it.

use std::{io, path::PathBuf, sync::Arc, time::Duration, time::SystemTime};

use rustls::CertificateError;
use tonic::{Code, Status};

use super::{super::protocol::SERVICE, files::Token};

/// Failures of one request. Those of opening a connection are shared by all who waited for it.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum RemoteError {
    /// The token or the roots cannot be read.
    #[error("{key}: {} {problem}", path.display())]
    File {
        /// In agent.yaml.
        key: &'static str,
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    #[error("the name {host:?} of the authority was not found: {source}; check ca.remote.address and this node's DNS")]
    Resolve { host: String, source: Arc<io::Error> },
    #[error("connect to the authority {address}: {source}")]
    Connect { address: String, source: Arc<io::Error> },
    #[error("TLS with the authority {address}: {problem}")]
    Tls { address: String, problem: String },
    /// The connection ended, or what came over it was not HTTP/2.
    #[error("the connection to the authority {address} broke: {problem}")]
    Broken { address: String, problem: String },
    #[error("no {what} from the authority {address} within {within:?}")]
    Timeout { what: &'static str, address: String, within: Duration },
    /// The authority does not know the token.
    #[error("the authority {address} does not accept the token of this agent: {message}; {token}")]
    TokenRefused { address: String, message: String, token: String },
    /// It answered with another failure.
    #[error("the authority {address} answered {code:?}: {message}")]
    Answered { address: String, code: Code, message: String, is_refusal: bool },
    #[error("what the authority {address} answered: {problem}")]
    BadAnswer { address: String, problem: String },
    /// The agent is ending.
    #[error("the connection to the authority {address} was abandoned")]
    Abandoned { address: String },
}

impl RemoteError {
    /// An answer of the authority, or the failure of the connection that was to bring it.
    pub(super) fn of_status(address: String, status: &Status, token: &Token, now: SystemTime) -> Self {
        let message = bounded(status.message());
        if std::error::Error::source(status).is_some() {
            return Self::Broken { address, problem: message };
        }
        let code = status.code();
        if code == Code::Unauthenticated {
            return Self::TokenRefused { address, message, token: token.describe(now) };
        }
        let (is_refusal, advice) = judge(code);
        Self::Answered { address, code, message: message + &advice, is_refusal }
    }

    /// Whether the connection failed, so that another one may do better.
    pub(super) fn is_broken(&self) -> bool {
        matches!(self, Self::Broken { .. })
    }

    /// Whether the authority did answer, so that the connection is good.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self, Self::TokenRefused { .. } | Self::Answered { .. } | Self::BadAnswer { .. })
    }
}

/// Whether the authority will say the same again, and what there is to do.
fn judge(code: Code) -> (bool, String) {
    let advice = match code {
        Code::PermissionDenied => {
            "; it signs for those that it sees running on this node, if it trusts this agent's service account"
                .to_owned()
        }
        Code::Unimplemented => format!("; check that ca.remote.address serves {SERVICE}"),
        _ => String::new(),
    };
    (is_refusal(code), advice)
}

fn is_refusal(code: Code) -> bool {
    match code {
        Code::PermissionDenied
        | Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::NotFound
        | Code::AlreadyExists
        | Code::Unimplemented => true,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => false,
    }
}

/// What others sent goes into logs: short, and without line breaks.
fn bounded(message: &str) -> String {
    let clean = message.chars().map(|c| if c.is_control() { ' ' } else { c });
    let short: String = clean.take(LONGEST_MESSAGE).collect();
    if short.is_empty() { "no reason given".to_owned() } else { short }
}

/// A failed TLS handshake in words, with what to do.
pub(super) fn tls_problem(error: &io::Error, server_name: &str) -> String {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(problem)) = tls else { return error.to_string() };
    use CertificateError as C;
    match problem {
        C::UnknownIssuer | C::BadSignature => {
            "no root in the file of ca.remote.roots vouches for its certificate; compare the two".to_owned()
        }
        C::NotValidForName | C::NotValidForNameContext { .. } => {
            format!("its certificate is not for {server_name}; set ca.remote.serverName to a name that it has")
        }
        C::Expired | C::ExpiredContext { .. } | C::NotValidYet | C::NotValidYetContext { .. } => {
            format!("its certificate is not valid now: {problem}; renew it, or compare the clocks")
        }
        other => format!("its certificate is refused: {other}"),
    }
}

const LONGEST_MESSAGE: usize = 300;
