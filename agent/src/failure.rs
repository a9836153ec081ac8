//! The one map from the steps' errors to what operators see. What the peer sees follows from where the error occurred:
//! a captured application and a client without a tunnel get a reset, a tunnel's client gets [`Failed::status`].

use http::StatusCode;
use rustls::AlertDescription;

use crate::{
    authorize::{Denied, Withdrawn},
    balance::{NoEndpoint, breaker::Overflow},
    connect::{
        ApplicationError, ConnectError, RelayError, Side,
        tunnel::{AuthorityError, TunnelError},
    },
    identify::HandshakeError,
    observe::{Failure, Observer, PolicyEffect, ResponseFlag},
    route::{NoRoute, backend::Unresolved, streams::StreamFailure},
    shares::Overloaded,
};

/// Why a connection did not come to a good end: one variant for each step.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// Capture: the agent takes nothing new on.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// Authorize.
    #[error(transparent)]
    Authorize(#[from] Denied),
    /// Authorize, again, while it was open.
    #[error(transparent)]
    Withdrawn(#[from] Withdrawn),
    /// Route: what a tunnel's client asked for is not here.
    #[error("{0}")]
    Request(BadRequest),
    /// Route.
    #[error(transparent)]
    Route(#[from] NoRoute),
    /// Route, by TLSRoutes and TCPRoutes.
    #[error(transparent)]
    Streams(#[from] StreamFailure),
    /// Balance.
    #[error(transparent)]
    Balance(#[from] NoEndpoint),
    /// Balance: as many connections as may be.
    #[error(transparent)]
    Overflow(#[from] Overflow),
    /// Connect, to another node or outside.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Connect, to the application.
    #[error(transparent)]
    Application(#[from] ApplicationError),
    /// Relay.
    #[error(transparent)]
    Relay(#[from] RelayError),
}

/// Why a request for a stream in a tunnel cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum BadRequest {
    /// Another method.
    #[error("the tunnel's client sent a request that is not CONNECT")]
    Method,
    /// No such authority.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The authority's address is not the pod that the tunnel was opened to.
    #[error("the tunnel's client asked for {asked}, but the tunnel was opened to {here}")]
    OtherAddress {
        /// Asked for.
        asked: String,
        /// The tunnel's own address.
        here: std::net::IpAddr,
    },
    /// The authority's port is one of the agent's own.
    #[error("port {0} belongs to the agent and is not reached by tunnels")]
    AgentPort(u16),
    /// The tunnel broke before it could be answered.
    #[error("answer the tunnel's client: {0}")]
    Answer(h2::Error),
}

impl Failed {
    /// The response flag.
    pub fn flag(&self) -> ResponseFlag {
        use ResponseFlag as Flag;
        match self {
            Self::Overloaded(_) => Flag::Overloaded,
            Self::Authorize(_) | Self::Withdrawn(_) => Flag::Denied,
            Self::Request(BadRequest::Answer(_)) => Flag::DownstreamClosed,
            Self::Request(
                BadRequest::Method
                | BadRequest::Authority(_)
                | BadRequest::OtherAddress { .. }
                | BadRequest::AgentPort(_),
            )
            | Self::Route(_) => Flag::NoRoute,
            Self::Balance(_) | Self::Streams(StreamFailure::Unresolved(Unresolved::NoEndpoint { .. })) => {
                Flag::NoHealthyUpstream
            }
            Self::Streams(_) => Flag::NoRoute,
            Self::Overflow(_) => Flag::Overflow,
            Self::Connect(error) => connect_flag(error),
            Self::Application(ApplicationError::Connect { .. }) => Flag::ConnectFailure,
            Self::Application(ApplicationError::Timeout { .. }) => Flag::ConnectTimeout,
            Self::Relay(RelayError::Broken { side: Side::Client, .. }) => Flag::DownstreamClosed,
            Self::Relay(RelayError::Broken { side: Side::Server, .. }) => Flag::UpstreamReset,
            Self::Relay(RelayError::Revoked(_)) => Flag::CertRevoked,
        }
    }

    /// The answer that a tunnel's client gets (Istio's meanings: 401 policy, 400 bad request, 503 application).
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Authorize(_) | Self::Withdrawn(_) => StatusCode::UNAUTHORIZED,
            Self::Request(BadRequest::AgentPort(_)) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Request(_) | Self::Route(_) | Self::Streams(_) => StatusCode::BAD_REQUEST,
            Self::Overloaded(_)
            | Self::Balance(_)
            | Self::Overflow(_)
            | Self::Connect(_)
            | Self::Application(_)
            | Self::Relay(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl Failed {
    /// Counts a connection that was denied. Others are counted by their flags alone.
    pub fn count(&self, observer: &Observer) {
        match self {
            Self::Authorize(denied) => denied.count(observer),
            Self::Withdrawn(Withdrawn(denied)) => {
                observer.metrics().withdrawn(denied.reason());
                observer.policy_hit(&denied.decided_by(), PolicyEffect::Withdrawn);
            }
            Self::Overloaded(_)
            | Self::Request(_)
            | Self::Route(_)
            | Self::Streams(_)
            | Self::Balance(_)
            | Self::Overflow(_)
            | Self::Connect(_)
            | Self::Application(_)
            | Self::Relay(_) => {}
        }
    }

    /// What denied the connection, by the name of a document where it is one.
    fn denied_by(&self) -> Option<String> {
        match self {
            Self::Authorize(denied) | Self::Withdrawn(Withdrawn(denied)) => Some(denied.decided_by()),
            Self::Overloaded(_)
            | Self::Request(_)
            | Self::Route(_)
            | Self::Streams(_)
            | Self::Balance(_)
            | Self::Overflow(_)
            | Self::Connect(_)
            | Self::Application(_)
            | Self::Relay(_) => None,
        }
    }
}

/// The flag of a way that could not be opened.
pub(crate) fn connect_flag(error: &ConnectError) -> ResponseFlag {
    match error {
        ConnectError::Identity { .. } => ResponseFlag::IdentityError,
        ConnectError::Plain { .. } => ResponseFlag::ConnectFailure,
        ConnectError::Timeout { .. } => ResponseFlag::ConnectTimeout,
        ConnectError::Tunnel(error) => tunnel_flag(error),
    }
}

fn tunnel_flag(error: &TunnelError) -> ResponseFlag {
    match error {
        TunnelError::Connect { .. } => ResponseFlag::ConnectFailure,
        TunnelError::Timeout { .. } => ResponseFlag::ConnectTimeout,
        TunnelError::Tls { source, .. } => match source.as_ref() {
            HandshakeError::Identity(_) | HandshakeError::NoCertificate => ResponseFlag::IdentityError,
            HandshakeError::Revoked | HandshakeError::PeerAlert(AlertDescription::CertificateRevoked) => {
                ResponseFlag::CertRevoked
            }
            HandshakeError::TimedOut(_)
            | HandshakeError::NotValidNow(_)
            | HandshakeError::UnknownIssuer
            | HandshakeError::Certificate(_)
            | HandshakeError::PeerAlert(_)
            | HandshakeError::Protocol(_)
            | HandshakeError::Io(_) => ResponseFlag::TlsFailure,
        },
        TunnelError::Revoked { .. } => ResponseFlag::CertRevoked,
        TunnelError::Refused { status, .. } if *status == StatusCode::UNAUTHORIZED => ResponseFlag::Denied,
        TunnelError::Refused { .. } | TunnelError::Request { .. } => ResponseFlag::ConnectRefused,
        TunnelError::Http { .. } => ResponseFlag::UpstreamReset,
        TunnelError::Abandoned { .. } => ResponseFlag::Aborted,
    }
}

impl From<&Failed> for Failure {
    fn from(failed: &Failed) -> Self {
        Self { flag: failed.flag(), error: failed.to_string(), denied_by: failed.denied_by() }
    }
}
