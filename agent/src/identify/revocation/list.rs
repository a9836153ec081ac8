//! Certificate revocation lists (RFC 5280 5): from a PEM file to an answer.
//!
//! A list counts only where its signature fits the key of the very issuer that signed the certificate in question: roots of
//! one mesh have one name, so the name alone says nothing. Signatures are checked when a list names a certificate, and
//! remembered. Expired lists count like others: what was revoked does not come back because a newer list is late.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::SystemTime,
};

use parking_lot::Mutex;
use rustls::pki_types::{CertificateRevocationListDer, pem::PemObject};
use webpki::{BorrowedCertRevocationList, CertRevocationList};
use x509_parser::{
    oid_registry::{OID_PKCS1_SHA1WITHRSA, OID_SHA1_WITH_RSA},
    prelude::{FromDer, SubjectPublicKeyInfo},
    revocation_list::CertificateRevocationList,
};

use super::Revoked;
use crate::identify::{
    chain::{Link, Signer, VerifiedChain},
    roots::time,
};

/// Keys that a list was compared with. Only issuers of verified chains get here: a few.
const MAX_JUDGED: usize = 64;

/// All lists of a file.
#[derive(Debug, Default)]
pub(super) struct Lists(Vec<Arc<List>>);

/// One list.
#[derive(Debug)]
pub(super) struct List {
    /// Its name in DER, without the outer tag.
    issuer: Box<[u8]>,
    issuer_in_words: Arc<str>,
    next_update: Option<SystemTime>,
    serials: HashSet<Box<[u8]>>,
    der: CertificateRevocationListDer<'static>,
    /// Whether it is signed by a key.
    judged: Mutex<HashMap<Signer, bool>>,
}

impl Lists {
    /// Reads every list of a PEM text. All that is wrong with it is said, each problem in words.
    pub(super) fn parse(pem: &[u8]) -> Result<Self, Vec<String>> {
        let (mut lists, mut problems) = (Vec::new(), Vec::new());
        for (index, section) in CertificateRevocationListDer::pem_slice_iter(pem).enumerate() {
            let read = section.map_err(|error| error.to_string()).and_then(List::read);
            match read {
                Ok(list) => lists.push(Arc::new(list)),
                Err(problem) => problems.push(format!("list {}: {problem}", index + 1)),
            }
        }
        if lists.is_empty() && problems.is_empty() {
            problems.push(
                "no list in it, allowed: sections BEGIN X509 CRL in PEM; convert DER with openssl crl -inform DER"
                    .to_owned(),
            );
        }
        if problems.is_empty() { Ok(Self(lists)) } else { Err(problems) }
    }

    /// The first certificate of the chain that its issuer took back.
    pub(super) fn revoked(&self, chain: &VerifiedChain) -> Option<Revoked> {
        chain.links().iter().find_map(|link| {
            let list = self.0.iter().find(|list| list.names(link))?;
            let serial = link.serial.iter().map(|byte| format!("{byte:02X}")).collect();
            Some(Revoked { serial, issuer: Arc::clone(&list.issuer_in_words) })
        })
    }

    /// Takes over those of the lists in force before whose place is taken by one that their issuer did not sign: a forged
    /// list must not set free whom the real one names. Answers whose they are.
    pub(super) fn keep_from(&mut self, before: &Self, known: &[Signer]) -> Vec<Arc<str>> {
        let mut kept = Vec::new();
        for old in &before.0 {
            let Some(signer) = known.iter().find(|issuer| old.is_of(issuer)) else { continue };
            let same_name = |new: &&Arc<List>| new.issuer == old.issuer;
            let replaced = self.0.iter().any(|new| new.is_of(signer));
            if !replaced && self.0.iter().filter(same_name).count() > 0 {
                kept.push(Arc::clone(old));
            }
        }
        let whose = kept.iter().map(|list| Arc::clone(&list.issuer_in_words)).collect();
        self.0.extend(kept);
        whose
    }

    /// Whose lists none of the known issuers has signed.
    pub(super) fn unverified(&self, known: &[Signer]) -> Vec<Arc<str>> {
        let unknown = |list: &&Arc<List>| !known.iter().any(|issuer| list.is_of(issuer));
        self.0.iter().filter(unknown).map(|list| Arc::clone(&list.issuer_in_words)).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Certificates that are named.
    pub(super) fn entries(&self) -> usize {
        self.0.iter().map(|list| list.serials.len()).sum()
    }

    /// When the first of the lists should have been replaced.
    pub(super) fn next_update(&self) -> Option<SystemTime> {
        self.0.iter().filter_map(|list| list.next_update).min()
    }
}

impl From<List> for Lists {
    fn from(list: List) -> Self {
        Self(vec![Arc::new(list)])
    }
}

impl List {
    /// webpki refuses what it would be wrong to take for a whole list: deltas, indirect lists, critical extensions that
    /// nobody knows.
    pub(super) fn read(der: CertificateRevocationListDer<'static>) -> Result<Self, String> {
        let strict = BorrowedCertRevocationList::from_der(&der).map_err(|error| format!("cannot be used: {error}"))?;
        let mut serials = HashSet::new();
        for entry in &strict {
            let entry = entry.map_err(|error| format!("an entry cannot be read: {error}"))?;
            serials.insert(significant(entry.serial_number).into());
        }
        let issuer = CertRevocationList::from(strict).issuer().into();
        let (_, list) =
            CertificateRevocationList::from_der(&der).map_err(|error| format!("cannot be read: {error}"))?;
        if [OID_PKCS1_SHA1WITHRSA, OID_SHA1_WITH_RSA].contains(&list.signature_algorithm.algorithm) {
            return Err("is signed with SHA-1, allowed: SHA-256 and stronger".to_owned());
        }
        let issuer_in_words = list.issuer().to_string().into();
        let next_update = list.next_update().map(|at| time(at.timestamp()));
        Ok(Self { issuer, issuer_in_words, next_update, serials, judged: Mutex::default(), der })
    }

    fn names(&self, link: &Link) -> bool {
        self.serials.contains(significant(&link.serial)) && self.is_of(&link.issuer)
    }

    /// Whether this issuer has signed it. Its key usage is not asked for: whoever can sign certificates can do worse than
    /// to take one back.
    fn is_of(&self, issuer: &Signer) -> bool {
        if *self.issuer != *issuer.subject {
            return false;
        }
        let mut judged = self.judged.lock();
        if judged.len() >= MAX_JUDGED {
            judged.clear();
        }
        *judged.entry(issuer.clone()).or_insert_with(|| self.is_signed_with(&issuer.key))
    }

    fn is_signed_with(&self, key: &[u8]) -> bool {
        let (Ok((_, list)), Ok((_, key))) =
            (CertificateRevocationList::from_der(&self.der), SubjectPublicKeyInfo::from_der(key))
        else {
            return false;
        };
        list.verify_signature(&key).is_ok()
    }
}

/// A serial number without zeros in front, of which DER allows one and other encoders write more.
fn significant(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    serial.get(zeros..).unwrap_or_default()
}
