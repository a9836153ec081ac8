//! Takes an authority's answer apart: the chain to show, and the roots to trust.
//!
//! In: PEM, the leaf first and the roots last, each entry with one certificate or several. Out: a [`SignedChain`], or what
//! is wrong. Whether the leaf is for our key and name, and leads to a root, `identify` checks as a peer would.

use std::time::{Duration, SystemTime};

use rustls::pki_types::{CertificateDer, pem::PemObject};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::identify::SignedChain;

/// The answer's parts. Roots whose time has passed are left out.
pub(in crate::ca) fn split(entries: &[String], now: SystemTime) -> Result<SignedChain, String> {
    let certificates = read_all(entries)?;
    let mut facts = Vec::with_capacity(certificates.len());
    for (index, certificate) in certificates.iter().enumerate() {
        facts.push(Facts::of(certificate).map_err(|problem| format!("certificate {} {problem}", index + 1))?);
    }
    let places = roots_among(&facts)?;
    let end_of_chain = chain_length(&facts).min(places.first().copied().unwrap_or_default());
    let valid: Vec<usize> = places.into_iter().filter(|place| now < facts[*place].not_after).collect();
    if valid.is_empty() {
        return Err("the time of every root in it has passed; replace the authority's root".to_owned());
    }
    if let Some(place) = valid.iter().find(|place| !facts[**place].may_sign) {
        return Err(format!("certificate {} stands for a root, but may not sign certificates", place + 1));
    }
    let roots = valid.into_iter().map(|place| certificates[place].clone()).collect();
    Ok(SignedChain { chain: certificates[..end_of_chain].to_vec(), roots })
}

fn read_all(entries: &[String]) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut certificates = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let before = certificates.len();
        for certificate in CertificateDer::pem_slice_iter(entry.as_bytes()) {
            certificates.push(certificate.map_err(|error| format!("entry {} is not PEM: {error}", index + 1))?);
            if certificates.len() > MOST_CERTIFICATES {
                return Err(format!("it has more than {MOST_CERTIFICATES} certificates"));
            }
        }
        if certificates.len() == before {
            return Err(format!("entry {} has no certificate in PEM", index + 1));
        }
    }
    if certificates.is_empty() {
        return Err("it has no certificate".to_owned());
    }
    Ok(certificates)
}

/// What the order of certificates is found by.
struct Facts<'a> {
    subject: &'a [u8],
    issuer: &'a [u8],
    may_sign: bool,
    not_after: SystemTime,
}

impl<'a> Facts<'a> {
    fn of(certificate: &'a CertificateDer<'static>) -> Result<Self, String> {
        let (_, parsed) =
            X509Certificate::from_der(certificate).map_err(|error| format!("is not an X.509 certificate: {error}"))?;
        let end = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or_default();
        Ok(Self {
            subject: parsed.tbs_certificate.subject.as_raw(),
            issuer: parsed.tbs_certificate.issuer.as_raw(),
            may_sign: parsed.is_ca(),
            not_after: SystemTime::UNIX_EPOCH + Duration::from_secs(end),
        })
    }

    fn names_itself(&self) -> bool {
        self.subject == self.issuer
    }
}

/// How many certificates lead from the leaf upwards, each the issuer of the one before, without one that is its own issuer.
fn chain_length(facts: &[Facts<'_>]) -> usize {
    let goes_on = |pair: &&[Facts<'_>]| pair[1].subject == pair[0].issuer && !pair[1].names_itself();
    1 + facts.windows(2).take_while(goes_on).count()
}

/// Where the roots are: those that are their own issuers; else what comes after the chain; else the last, which the protocol
/// says is one.
fn roots_among(facts: &[Facts<'_>]) -> Result<Vec<usize>, String> {
    let behind_leaf = 1..facts.len();
    let own_issuers: Vec<usize> = behind_leaf.clone().filter(|index| facts[*index].names_itself()).collect();
    if !own_issuers.is_empty() {
        return Ok(own_issuers);
    }
    let after: Vec<usize> = (chain_length(facts)..facts.len()).collect();
    match (after.is_empty(), behind_leaf.last()) {
        (false, _) => Ok(after),
        (true, Some(last)) => Ok(vec![last]),
        (true, None) => Err("it has no root, so nothing could be verified with it".to_owned()),
    }
}

/// A chain has three or four, and a mesh trusts a handful of roots.
const MOST_CERTIFICATES: usize = 100;
