//! What is promised of those who read certificates and revocation lists, with one root that is trusted.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

use http::HeaderMap;
use rustls::{
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime},
};
use webpki::EndEntityCert;
use x509_parser::{prelude::FromDer, revocation_list::CertificateRevocationList};

use super::{
    chain::{Usage, VerifiedChain},
    revocation::fuzz::Lists,
    roots::Roots,
    verify::named_identity,
};
use crate::{
    connect::http::forwarded::{Proven, write_client_cert},
    fuzz::Reading,
    mesh::SpiffeId,
};

/// An authority's root, what else it has signed, and the time of that.
#[derive(Debug)]
pub(crate) struct Trust {
    roots: Roots,
    leaf: CertificateDer<'static>,
    chain: VerifiedChain,
    list: &'static [u8],
}

/// A minute after the authority's leaf begins.
const NOW: Duration = Duration::from_secs(1_800_000_000);

impl Trust {
    /// Of a root, a leaf below it, and a list that takes the leaf back, each in DER.
    pub(crate) fn new(root: &'static [u8], leaf: &'static [u8], list: &'static [u8]) -> Self {
        let roots = Roots::new(&[CertificateDer::from(root)]);
        let roots = roots.unwrap_or_else(|error| panic!("the root that is kept is none: {error}"));
        let leaf = CertificateDer::from(leaf);
        let chain = verify(&leaf, &roots).unwrap_or_else(|error| panic!("the leaf that is kept is not of it: {error}"));
        Self { roots, leaf, chain, list }
    }

    /// A certificate: who is named in it, and whether it is believed.
    pub(crate) fn certificate(&self, der: &CertificateDer<'_>) -> Result<Reading, String> {
        let named = named_identity(der);
        if let Ok(id) = &named {
            named_once(der, id)?;
        }
        match verify(der, &self.roots) {
            // Certificates with no or several names were signed, too; they name nobody.
            Ok(_) if named.as_ref().is_ok_and(|id| named_identity(&self.leaf).as_ref() != Ok(id)) => {
                Err(format!("{named:?} is believed, which nobody has signed"))
            }
            Ok(_) => Ok(Ok("believed".to_owned())),
            Err(error) => Ok(named.map(|_| "named".to_owned()).map_err(|name| format!("{name:?}, {error:?}"))),
        }
    }

    /// Revocation lists, in PEM or one in DER.
    pub(crate) fn lists(&self, bytes: &[u8]) -> Result<Reading, String> {
        let lists = match Lists::in_der(bytes) {
            Ok(list) => list,
            Err(problem) => match Lists::in_pem(bytes) {
                Ok(lists) => return self.takes_back(&lists, bytes, false).map(|()| Ok("lists".to_owned())),
                Err(_) => return Ok(Err(problem)),
            },
        };
        let der = CertificateRevocationListDer::from(bytes);
        let Ok((_, other)) = CertificateRevocationList::from_der(&der) else {
            return Err("a list is read that another reader cannot".to_owned());
        };
        let significant = |serial: &[u8]| serial.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<_>>();
        let serials: HashSet<_> =
            other.iter_revoked_certificates().map(|entry| significant(entry.raw_serial())).collect();
        if serials.len() != lists.entries() {
            return Err(format!(
                "{} certificates are taken back, {} for another reader",
                lists.entries(),
                serials.len()
            ));
        }
        self.takes_back(&lists, bytes, true)?;
        Ok(Ok(format!("a list of {}", lists.entries().min(3))))
    }

    /// The leaf is revoked by its authority's list only.
    fn takes_back(&self, lists: &Lists, bytes: &[u8], is_der: bool) -> Result<(), String> {
        let signed = |bytes: &[u8]| {
            CertificateRevocationList::from_der(bytes).ok().map(|(_, list)| list.tbs_cert_list.as_ref().to_vec())
        };
        let is_ours = !is_der || signed(bytes) == signed(self.list);
        match lists.revoked(&self.chain) {
            true if !is_ours => Err("a list takes a certificate back that its issuer has not signed".to_owned()),
            _ => Ok(()),
        }
    }
}

fn verify(leaf: &CertificateDer<'_>, roots: &Roots) -> Result<VerifiedChain, rustls::Error> {
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
    VerifiedChain::verify(leaf, &[], roots, algorithms, UnixTime::since_unix_epoch(NOW), Usage::Client)
}

/// The library that checks chains sees the same single name, which is one for people, policies and applications, too.
fn named_once(der: &CertificateDer<'_>, id: &SpiffeId) -> Result<(), String> {
    let text = id.to_string();
    if text.parse().as_ref() != Ok(id) {
        return Err(format!("{id:?} is not what {text} is"));
    }
    if let Ok(other) = EndEntityCert::try_from(der) {
        let names: Vec<_> = other.valid_uri_names().collect();
        if names != [text.as_str()] {
            return Err(format!("{text} is named, and {names:?} for the library that checks chains"));
        }
    }
    let mut headers = HeaderMap::new();
    write_client_cert(&mut headers, Some(Proven { client: id, server: id }));
    let written = headers.values().next().and_then(|value| value.to_str().ok()).unwrap_or_default();
    match written.split([';', ',']).count() == 3 && written.ends_with(&format!("URI={text}")) {
        true => Ok(()),
        false => Err(format!("{text:?} is told to applications as {written:?}")),
    }
}

/// Of what is kept: after its begin.
pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + NOW
}
