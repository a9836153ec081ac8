//! Step 2, who talks to whom: certificates of this node's identities, and proof of the peer's.
//!
//! [`Certificates`] holds an [`Identity`] per service account that runs on this node. [`accept`] and [`connect`] make
//! TLS connections with one, and hand back the peer as a [`VerifiedPeer`], which nothing else can make.

mod certificates;
mod chain;
mod clock;
pub(crate) mod fuzz;
mod handshake;
mod identity;
mod issuer;
mod renewal;
mod revocation;
mod roots;
#[cfg(test)]
pub(crate) mod tests;
mod tls;
mod verify;

pub use certificates::{CertificateState, CertificateStatus, Certificates};
pub use chain::VerifiedChain;
pub use clock::Clock;
pub use handshake::{HandshakeError, TlsFacts, VerifiedPeer, accept, connect, refusal_by_peer};
pub use identity::{Identity, issue};
pub use issuer::{IssueError, Issuer, SignedChain};
pub use renewal::Renewal;
pub use revocation::{CrlError, CrlFile, RevocationStatus, Revocations, Revoked};
pub use roots::{Root, Roots};
pub use tls::TlsSettings;
pub use verify::{Refusal, TrustDomains};
