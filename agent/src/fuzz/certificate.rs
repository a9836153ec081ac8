//! Any bytes as what proves who somebody is, or takes that back: certificates, revocation lists, signing requests, and what
//! an authority is asked and answers.
//!
//! Promised: nobody is believed, and nobody's certificate is revoked, by what an authority has not signed; who is
//! named in a certificate is the same for the library that checks chains; an authority signs the key and the one name that
//! it was asked for.

use fastrand::Rng;
use rustls::pki_types::CertificateDer;

use super::{Exercised, Mutator, Target, der, gist};
use crate::{ca, identify};

/// Readers with one authority, whose leaf and lists are among the kept inputs.
pub(super) struct Certificates {
    trust: identify::fuzz::Trust,
    authority: ca::fuzz::Authority,
}

impl Certificates {
    pub(super) fn new() -> Self {
        Self { trust: identify::fuzz::Trust::new(ROOT, LEAF, LIST), authority: ca::fuzz::Authority::new() }
    }
}

/// Made by this project's own code; their keys are gone.
const ROOT: &[u8] = include_bytes!("../../corpus/certificate/root");
const LEAF: &[u8] = include_bytes!("../../corpus/certificate/leaf");
const LIST: &[u8] = include_bytes!("../../corpus/certificate/list");

impl Target for Certificates {
    fn exercise(&self, input: &[u8], _: &mut Rng) -> Result<Exercised, String> {
        let certificate = CertificateDer::from(input.to_vec());
        let root = CertificateDer::from(ROOT.to_vec());
        let readings = [
            self.trust.certificate(&certificate)?,
            self.trust.lists(input)?,
            self.authority.request(input)?,
            ca::fuzz::answer(&[certificate, root], input)?,
            ca::fuzz::messages(input)?,
        ];
        let accepted = readings.iter().filter(|reading| reading.is_ok()).count();
        let ways = readings.map(|reading| reading.unwrap_or_else(|refused| gist(&refused)));
        Ok(Exercised { accepted, ways: ways.into() })
    }

    fn mutator(&self) -> &Mutator {
        &MUTATOR
    }

    fn mutate(&self, rng: &mut Rng, input: &[u8], other: &[u8]) -> Vec<u8> {
        match rng.u8(..4) {
            0 => MUTATOR.mutate(rng, input, other),
            _ => der::mutate(rng, input, other).unwrap_or_else(|| MUTATOR.mutate(rng, input, other)),
        }
    }
}

const MUTATOR: Mutator = Mutator {
    words: &WORDS,
    repeated: &[
        b"\x30\x80",
        b"\0",
        b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
        b"\x30\x03\x02\x01\x01",
    ],
    marks: b"\0\x30\n",
    parts: super::lines,
    most: 16 << 10,
};

const WORDS: [&[u8]; 24] = [
    b"\0",
    b"\xff",
    b"\x80",
    b"\x30\x80",
    b"\x30\x84\xff\xff\xff\xff",
    b"\x02\x01\0",
    b"\x02\x14\xff",
    b"\x05\0",
    b"\x17\x0d700101000000Z",
    b"\x18\x0f99991231235959Z",
    b"\x01\x01\xff",
    b"spiffe://cluster.local/ns/shop/sa/web",
    b"spiffe://",
    b"/ns/",
    b"*",
    b";URI=spiffe://cluster.local/ns/a/sa/root",
    b"-----BEGIN CERTIFICATE-----\n",
    b"-----END CERTIFICATE-----\n",
    b"-----BEGIN X509 CRL-----\n",
    b"-----END X509 CRL-----\n",
    b"\n",
    b"AA==",
    b"\x0a\x05hello",
    b"\x22\x04\x0a\x02\x0a\0",
];
