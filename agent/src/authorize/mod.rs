//! Step 3: may they? Evaluated at the server's node, on proven identities only.
//!
//! A [`Permitted`] can only be made here, and the application is dialled only with one: a path that forgets to
//! authorize does not compile. Today the mesh-wide mode decides over plaintext and every proven identity is let in;
//! AuthorizationPolicy and PeerAuthentication come next.

pub mod policy;

pub mod token;

use crate::{config::MtlsMode, identify::VerifiedPeer};

/// Leave to connect to the application.
#[derive(Debug)]
pub struct Permitted(());

/// Why a connection may not reach the application.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It came without a tunnel and the mode is STRICT.
    #[error("plaintext from outside the mesh, and mtls.mode is STRICT: enrol the client's pod, or set PERMISSIVE")]
    Plaintext,
}

/// Decides over a connection by a tunnel, whose client has proved who it is.
pub fn tunnel(_client: &VerifiedPeer) -> Result<Permitted, Denied> {
    Ok(Permitted(()))
}

/// Decides over a connection without a tunnel.
pub fn plaintext(mode: MtlsMode) -> Result<Permitted, Denied> {
    match mode {
        MtlsMode::Permissive => Ok(Permitted(())),
        MtlsMode::Strict => Err(Denied::Plaintext),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn plaintext_is_denied_only_when_strict() {
        assert!(plaintext(MtlsMode::Permissive).is_ok());
        assert_eq!(plaintext(MtlsMode::Strict).unwrap_err(), Denied::Plaintext);
    }
}
