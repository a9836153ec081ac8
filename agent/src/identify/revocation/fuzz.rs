//! Lists, for whoever gives any bytes to their readers.

use rustls::pki_types::CertificateRevocationListDer;

use super::list::{self, List};
use crate::identify::VerifiedChain;

/// What a file of lists is read to.
#[derive(Debug)]
pub(in crate::identify) struct Lists(list::Lists);

impl Lists {
    /// One list.
    pub(in crate::identify) fn in_der(der: &[u8]) -> Result<Self, String> {
        List::read(CertificateRevocationListDer::from(der.to_vec())).map(|list| Self(list.into()))
    }

    /// As `tls.crl` has them.
    pub(in crate::identify) fn in_pem(pem: &[u8]) -> Result<Self, Vec<String>> {
        list::Lists::parse(pem).map(Self)
    }

    pub(in crate::identify) fn entries(&self) -> usize {
        self.0.entries()
    }

    pub(in crate::identify) fn revoked(&self, chain: &VerifiedChain) -> bool {
        self.0.revoked(chain).is_some()
    }
}
