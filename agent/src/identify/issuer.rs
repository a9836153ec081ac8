//! What the agent asks of a certificate authority, whichever it is.
//!
//! The key is made in the agent and stays there: only a signing request goes to the issuer, and a chain with the roots
//! to trust comes back. The embedded authority of `ca` is one issuer; a client of a remote one is another.

use std::{error::Error, time::Duration};

use futures_util::future::BoxFuture;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};

use crate::mesh::{SpiffeId, TrustDomain};

/// Signs certificates of service accounts.
pub trait Issuer: Send + Sync {
    /// Signs the key in `request` (PKCS#10: empty subject, one critical URI name) as `id`.
    ///
    /// An issuer decides by the request, which must name `id`, and refuses an identity outside its trust domain.
    fn sign<'a>(
        &'a self,
        id: &'a SpiffeId,
        request: &'a CertificateSigningRequestDer<'static>,
    ) -> BoxFuture<'a, Result<SignedChain, IssueError>>;
}

/// An issuer's answer. It is checked before it is used: see [`super::issue`].
#[derive(Clone, Debug)]
pub struct SignedChain {
    /// The leaf first, then intermediates; no root.
    pub chain: Vec<CertificateDer<'static>>,
    /// Every root to trust, at least one: more than one while a root is being replaced.
    pub roots: Vec<CertificateDer<'static>>,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The key or the signing request could not be made.
    #[error("making a key and a signing request for {id} failed: {source}")]
    Request {
        /// Whose.
        id: SpiffeId,
        /// From the cryptography library.
        source: rcgen::Error,
    },
    /// The issuer vouches for another trust domain.
    #[error(
        "{id} is not of trust domain {issuer:?}, the only one this issuer signs for; check trustDomain in agent.yaml"
    )]
    TrustDomain {
        /// Asked for.
        id: SpiffeId,
        /// Signed for.
        issuer: TrustDomain,
    },
    /// The issuer will not sign this request.
    #[error("the signing request for {id} is refused: {problem}")]
    Refused {
        /// Asked for.
        id: SpiffeId,
        /// What is wrong with the request.
        problem: String,
    },
    /// The issuer failed while signing.
    #[error("signing a certificate for {id} failed: {source}")]
    Signing {
        /// Asked for.
        id: SpiffeId,
        /// What happened.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The issuer could not be asked, or gave no answer; the source says why, and what to do.
    #[error("no certificate for {id}: {source}")]
    Unreachable {
        /// Asked for.
        id: SpiffeId,
        /// What happened.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The issuer took too long.
    #[error("no certificate for {id}: the certificate authority did not answer within {within:?}")]
    TimedOut {
        /// Asked for.
        id: SpiffeId,
        /// The limit.
        within: Duration,
    },
    /// Peers would refuse what the issuer answered.
    #[error("the certificate that the authority answered for {id} is unusable: {problem}")]
    Unusable {
        /// Asked for.
        id: SpiffeId,
        /// What is wrong with it.
        problem: String,
    },
}

impl IssueError {
    /// Whether the issuer said no. It is asked again all the same, since what it knows of this node's pods may be a little
    /// behind, but less and less often.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::TrustDomain { .. } | Self::Refused { .. } => true,
            Self::Request { .. }
            | Self::Signing { .. }
            | Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::Unusable { .. } => false,
        }
    }
}
