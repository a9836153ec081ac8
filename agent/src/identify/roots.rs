//! The roots that one identity trusts, each with the name by which metrics and logs tell them apart.
//!
//! In: certificates as an issuer hands them out. Out: anchors for verifying chains, and what operators ask of a root. Several
//! are trusted at once while one replaces another; which of them vouches for a peer is known after each verification.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::pki_types::{CertificateDer, TrustAnchor};
use webpki::anchor_from_trusted_cert;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::chain::{Signer, unreadable};
use crate::observe::RootName;

/// Trusted roots; at least one.
#[derive(Debug)]
pub struct Roots {
    roots: Box<[Root]>,
    /// The same, in the same order, as verification wants them.
    anchors: Box<[TrustAnchor<'static>]>,
}

/// One trusted root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Its short name.
    pub name: RootName,
    /// Its subject, for people.
    pub subject: Arc<str>,
    /// When it ends.
    pub not_after: SystemTime,
    /// As the certificates and the revocation lists that it signs name it.
    pub(super) issuer: Signer,
}

impl Roots {
    /// Fails on a certificate that cannot be read, and when there is none. One that is given twice counts once.
    pub fn new(certificates: &[CertificateDer<'static>]) -> Result<Self, rustls::Error> {
        let (mut roots, mut anchors) = (Vec::<Root>::new(), Vec::new());
        for certificate in certificates {
            let root = Root::read(certificate)?;
            if roots.iter().all(|known| known.name != root.name) {
                roots.push(root);
                anchors.push(anchor_from_trusted_cert(certificate).map_err(|_| unreadable())?.to_owned());
            }
        }
        if roots.is_empty() {
            return Err(rustls::Error::General("the issuer named no root to trust".to_owned()));
        }
        Ok(Self { roots: roots.into(), anchors: anchors.into() })
    }

    /// Every root.
    pub fn iter(&self) -> impl Iterator<Item = &Root> {
        self.roots.iter()
    }

    /// Whether one of this name is trusted.
    pub fn trusts(&self, name: RootName) -> bool {
        self.roots.iter().any(|root| root.name == name)
    }

    pub(super) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// The root behind one of [`Self::anchors`].
    pub(super) fn behind(&self, anchor: &TrustAnchor<'_>) -> Option<&Root> {
        // Compared as a whole: two roots of one subject differ in their keys, and two of one key in nothing that matters.
        let index = self.anchors.iter().position(|known| known == anchor)?;
        self.roots.get(index)
    }
}

impl Root {
    fn read(certificate: &CertificateDer<'_>) -> Result<Self, rustls::Error> {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| unreadable())?;
        let anchor = anchor_from_trusted_cert(certificate).map_err(|_| unreadable())?;
        Ok(Self {
            name: RootName::of(certificate),
            subject: parsed.subject().to_string().into(),
            not_after: time(parsed.validity().not_after.timestamp()),
            issuer: Signer { subject: anchor.subject.as_ref().into(), key: parsed.public_key().raw.into() },
        })
    }
}

/// Seconds since 1970, as certificates count time. What is before 1970 has passed all the same.
pub(super) fn time(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}
