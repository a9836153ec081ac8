//! What is promised of an authority that signs, and of those who read what authorities say.

use std::{path::Path, time::Duration};

use prost::Message;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::{GeneralName, ParsedExtension, SubjectAlternativeName},
    prelude::{FromDer, X509Certificate},
};

use super::{
    pem,
    protocol::{CertificateRequest, CertificateResponse},
    remote,
    root::{ROOT_LIFETIME, Root, RootPem},
    signing::{Keyring, Life},
};
use crate::{
    fuzz::Reading,
    identify::{SignedChain, fuzz::now},
    mesh::{SpiffeId, TrustDomain},
};

/// An authority that is asked for one identity.
pub(crate) struct Authority {
    keyring: Keyring,
    id: SpiffeId,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let domain = "cluster.local".parse::<TrustDomain>().unwrap_or_else(|_| unreachable!("it is a domain"));
        let (now, nowhere) = (now(), Path::new("in memory"));
        let root = RootPem::make(&domain, now, ROOT_LIFETIME)
            .and_then(|pem| Root::parse(&pem, nowhere, nowhere, &domain, now));
        let root = root.unwrap_or_else(|error| panic!("making a root failed: {error}"));
        Self { keyring: Keyring::of_root(root), id: SpiffeId::new(domain, "shop".into(), "web".into()) }
    }

    /// A signing request. Where it is signed, it is for the identity that was asked for, the key that asked, and no authority.
    pub(crate) fn request(&self, der: &[u8]) -> Result<Reading, String> {
        let request = CertificateSigningRequestDer::from(der.to_vec());
        let life = Life { now: now(), lifetime: Duration::from_secs(3600) };
        let leaf = match self.keyring.sign(&self.id, &request, life) {
            Ok(signed) => signed.chain.chain.first().cloned().ok_or("a chain without a leaf is signed")?,
            Err(refused) => return Ok(Err(refused.to_string())),
        };
        let (_, leaf) = X509Certificate::from_der(&leaf).map_err(|error| format!("what is signed is none: {error}"))?;
        let (_, asked) =
            X509CertificationRequest::from_der(der).map_err(|error| format!("signed, and no request: {error}"))?;
        let named = leaf.subject_alternative_name().ok().flatten().map(|names| self.is_all_of(names.value));
        let asked_for = asked.requested_extensions().into_iter().flatten().find_map(|extension| match extension {
            ParsedExtension::SubjectAlternativeName(names) => Some(self.is_all_of(names)),
            _ => None,
        });
        let is_key_of_it = leaf.public_key().raw == asked.certification_request_info.subject_pki.raw;
        match (named, asked_for, is_key_of_it, leaf.is_ca()) {
            (Some(true), Some(true), true, false) => Ok(Ok("signed".to_owned())),
            found => Err(format!("signed, with its name, for its name, of its key, an authority: {found:?}")),
        }
    }

    /// Whether these names are the identity, and nothing else.
    fn is_all_of(&self, names: &SubjectAlternativeName<'_>) -> bool {
        matches!(names.general_names.as_slice(), [GeneralName::URI(name)] if **name == self.id.to_string())
    }
}

/// An authority's answer, as certificates and as text: a chain that begins with the leaf, and roots, all of them from it.
pub(crate) fn answer(certificates: &[CertificateDer<'static>], text: &[u8]) -> Result<Reading, String> {
    let entries: Vec<String> = certificates.iter().map(pem::certificate).collect();
    let in_parts: Vec<String> = String::from_utf8_lossy(text).split("\n\n").map(str::to_owned).collect();
    let readings = [remote::answer::split(&entries, now()), remote::answer::split(&in_parts, now())];
    for SignedChain { chain, roots } in readings.iter().flatten() {
        if chain.is_empty() || roots.is_empty() {
            return Err(format!("an answer of {} certificates and {} roots is taken", chain.len(), roots.len()));
        }
        if chain.iter().any(|certificate| roots.contains(certificate)) && chain.len() > 1 {
            return Err("a root is shown to peers".to_owned());
        }
    }
    let [reading, _] = readings;
    Ok(reading.map(|answer| format!("{} and {} roots", answer.chain.len(), answer.roots.len())))
}

/// The protocol's messages: what is read is written, and read again as the same.
pub(crate) fn messages(bytes: &[u8]) -> Result<Reading, String> {
    let asked = CertificateRequest::decode(bytes).map(|message| message.encode_to_vec());
    let answered = CertificateResponse::decode(bytes).map(|message| message.encode_to_vec());
    if let Ok(written) = &asked {
        comes_back::<CertificateRequest>(written)?;
    }
    if let Ok(written) = &answered {
        comes_back::<CertificateResponse>(written)?;
    }
    Ok(asked.and(answered).map(|_| "messages".to_owned()).map_err(|error| error.to_string()))
}

/// Compared as bytes: a number that is none is not equal to itself.
fn comes_back<M: Message + Default>(written: &[u8]) -> Result<(), String> {
    let again = M::decode(written).map(|message| message.encode_to_vec());
    // The order of a table's entries is nobody's.
    match again.as_ref().map(Vec::len) == Ok(written.len()) {
        true => Ok(()),
        false => Err(format!("a message comes back as {again:?}, of {written:?}")),
    }
}
