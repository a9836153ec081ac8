//! The handshake, and what it proves.
//!
//! In: a byte stream and an [`Identity`]. Out: a TLS stream with the [`VerifiedPeer`] and the [`TlsFacts`], or a
//! [`HandshakeError`] out of a closed list. A `VerifiedPeer` comes from nowhere else, so a decision that takes one
//! cannot be made on a header or an address.
//!
//! In TLS 1.3 a client has finished before the server has judged its certificate: [`connect`] can succeed and the first
//! read then fail with the server's alert. [`refusal_by_peer`] recognises that.

use std::{io, net::Ipv4Addr, sync::Arc, time::Duration};

use rustls::{AlertDescription, CertificateError, CommonState, pki_types::ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::{
    chain::VerifiedChain,
    identity::Identity,
    verify::{Proof, Refusal, named_identity},
};
use crate::{
    mesh::SpiffeId,
    observe::{HandshakeResult, RootName},
};

/// Who is at the other end, proven by a certificate that was valid when the connection was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedPeer {
    id: SpiffeId,
    chain: Arc<VerifiedChain>,
}

impl VerifiedPeer {
    /// The peer's identity.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// What proved it.
    pub fn chain(&self) -> &Arc<VerifiedChain> {
        &self.chain
    }

    /// Private: only the handshakes below call it, whose configurations verify the certificate and keep the proof.
    fn of(connection: &CommonState, proof: &Proof) -> Result<Self, HandshakeError> {
        let leaf =
            connection.peer_certificates().and_then(|chain| chain.first()).ok_or(HandshakeError::NoCertificate)?;
        let chain = proof.get().cloned().ok_or(HandshakeError::NoCertificate)?;
        Ok(Self { id: named_identity(leaf)?, chain })
    }
}

/// What was negotiated, as the labels of metrics and logs name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1.3`.
    pub version: &'static str,
    /// `X25519MLKEM768`, `X25519` or `secp256r1`.
    pub group: &'static str,
    /// The root that vouches for the peer.
    pub root: RootName,
}

impl TlsFacts {
    fn of(connection: &CommonState, peer: &VerifiedPeer) -> Self {
        let version = connection.protocol_version().and_then(|version| version.as_str());
        let group = connection.negotiated_key_exchange_group().and_then(|group| group.name().as_str());
        Self {
            version: match version {
                Some("TLSv1_3") => "TLSv1.3",
                _ => "unknown",
            },
            group: group.unwrap_or("unknown"),
            root: peer.chain.root(),
        }
    }
}

/// Serves one connection as `identity`. The stream is dropped when the handshake fails or takes longer than `within`.
pub async fn accept<S>(
    identity: &Identity,
    stream: S,
    within: Duration,
) -> Result<(server::TlsStream<S>, VerifiedPeer, TlsFacts), HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let proof = Proof::default();
    let accepting = TlsAcceptor::from(identity.server_config(proof.clone())?).accept(stream);
    let stream = tokio::time::timeout(within, accepting).await.map_err(|_| HandshakeError::TimedOut(within))??;
    let peer = VerifiedPeer::of(stream.get_ref().1, &proof)?;
    let facts = TlsFacts::of(stream.get_ref().1, &peer);
    Ok((stream, peer, facts))
}

/// Dials as `identity` whoever has one of the `expected` identities. See the file's note: the server may refuse later.
pub async fn connect<S>(
    identity: &Identity,
    expected: &[SpiffeId],
    stream: S,
    within: Duration,
) -> Result<(client::TlsStream<S>, VerifiedPeer, TlsFacts), HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // rustls wants a name; it is not sent, and no part of the verification.
    let name = ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into());
    let proof = Proof::default();
    let connecting = TlsConnector::from(identity.client_config(expected, proof.clone())).connect(name, stream);
    let stream = tokio::time::timeout(within, connecting).await.map_err(|_| HandshakeError::TimedOut(within))??;
    let peer = VerifiedPeer::of(stream.get_ref().1, &proof)?;
    let facts = TlsFacts::of(stream.get_ref().1, &peer);
    Ok((stream, peer, facts))
}

/// Why there is no TLS connection.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// Silence, or a slow trickle.
    #[error("the TLS handshake was not complete after {0:?}")]
    TimedOut(Duration),
    /// The peer did not say who it is.
    #[error("the peer presented no certificate")]
    NoCertificate,
    /// The certificate's time has passed, or has not come.
    #[error("the peer's certificate is not valid now: {0}; compare the clocks of both nodes")]
    NotValidNow(CertificateError),
    /// Another authority signed it.
    #[error("the peer's certificate is not signed by a trusted root; compare the roots of both agents")]
    UnknownIssuer,
    /// The issuer took the certificate back, or that of an intermediate.
    #[error("the peer's certificate, or that of an intermediate, is in a revocation list; see tls.crl in agent.yaml")]
    Revoked,
    /// The chain is bad otherwise.
    #[error("the peer's certificate is refused: {}", in_words(.0))]
    Certificate(CertificateError),
    /// The certificate is good, but its bearer is not accepted.
    #[error("the peer's certificate is refused: {0}")]
    Identity(Refusal),
    /// The peer gave up and said why.
    #[error("the peer refused the TLS handshake: alert {0:?}; its log says more")]
    PeerAlert(AlertDescription),
    /// What the peer sent is not the TLS that we speak.
    #[error("the peer does not speak TLS 1.3 as this mesh does: {0}")]
    Protocol(rustls::Error),
    /// The connection broke.
    #[error("the connection broke during the TLS handshake: {0}")]
    Io(io::Error),
}

impl HandshakeError {
    /// The label of `heddle_handshakes_total{result}`.
    pub fn result(&self) -> HandshakeResult {
        match self {
            Self::TimedOut(_) => HandshakeResult::Timeout,
            Self::NoCertificate => HandshakeResult::NoCertificate,
            Self::NotValidNow(_) | Self::UnknownIssuer | Self::Certificate(_) => HandshakeResult::UntrustedCertificate,
            Self::Revoked => HandshakeResult::RevokedCertificate,
            Self::Identity(_) => HandshakeResult::WrongIdentity,
            Self::PeerAlert(_) => HandshakeResult::PeerAlert,
            Self::Protocol(_) => HandshakeResult::Protocol,
            Self::Io(_) => HandshakeResult::Closed,
        }
    }
}

impl From<rustls::Error> for HandshakeError {
    fn from(error: rustls::Error) -> Self {
        match error {
            rustls::Error::NoCertificatesPresented => Self::NoCertificate,
            rustls::Error::AlertReceived(alert) => Self::PeerAlert(alert),
            rustls::Error::InvalidCertificate(problem) => Self::from(problem),
            other => Self::Protocol(other),
        }
    }
}

impl From<CertificateError> for HandshakeError {
    fn from(problem: CertificateError) -> Self {
        use CertificateError as C;
        match &problem {
            C::Expired | C::ExpiredContext { .. } | C::NotValidYet | C::NotValidYetContext { .. } => {
                Self::NotValidNow(problem)
            }
            C::UnknownIssuer => Self::UnknownIssuer,
            C::Revoked => Self::Revoked,
            _ => match Refusal::within(&problem) {
                Some(refusal) => Self::Identity(refusal.clone()),
                None => Self::Certificate(problem),
            },
        }
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        match tls_error(&error) {
            Some(tls) => tls.clone().into(),
            None => Self::Io(error),
        }
    }
}

/// The alert with which the peer ended a TLS connection, if that is what `error` says: how a client learns that a
/// server refused its certificate.
pub fn refusal_by_peer(error: &io::Error) -> Option<AlertDescription> {
    match tls_error(error) {
        Some(rustls::Error::AlertReceived(alert)) => Some(*alert),
        _ => None,
    }
}

/// rustls shows the cause of a problem that is not its own only in debug form.
fn in_words(problem: &CertificateError) -> String {
    match problem {
        CertificateError::Other(other) => match other.0.downcast_ref::<webpki::Error>() {
            Some(webpki::Error::CaUsedAsEndEntity) => "it is an authority's, and not a workload's".to_owned(),
            Some(webpki::Error::NameConstraintViolation) => "an authority on its way may not sign this name".to_owned(),
            Some(other) => other.to_string(),
            None => problem.to_string(),
        },
        _ => problem.to_string(),
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}
