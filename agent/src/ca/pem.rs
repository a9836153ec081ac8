//! PEM (RFC 7468), as requests, answers and ConfigMaps have it.

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::pki_types::CertificateDer;

/// Anything, under its label.
pub(super) fn encode(label: &str, der: &[u8]) -> String {
    let digits = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = digits.as_str();
    while !rest.is_empty() {
        let (line, others) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = others;
    }
    text + "-----END " + label + "-----\n"
}

/// One certificate.
pub(super) fn certificate(der: &CertificateDer<'_>) -> String {
    encode("CERTIFICATE", der)
}

/// Several, one after the other.
pub(super) fn certificates(all: &[CertificateDer<'_>]) -> String {
    all.iter().map(certificate).collect()
}

/// RFC 7468, section 2.
const LINE: usize = 64;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use rustls::pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn what_is_written_is_read_again_whatever_its_length() {
        for length in [1_usize, 2, 3, 47, 48, 49, 1000] {
            let bytes: Vec<u8> = (0..length).map(|n| u8::try_from(n * 7 % 256).unwrap()).collect();
            let text = certificate(&CertificateDer::from(bytes.clone()));
            assert!(text.lines().all(|line| line.len() <= 64), "{text}");
            assert_eq!(CertificateDer::from_pem_slice(text.as_bytes()).unwrap().as_ref(), bytes);
        }
        let two = certificates(&[CertificateDer::from(vec![1]), CertificateDer::from(vec![2])]);
        assert_eq!(CertificateDer::pem_slice_iter(two.as_bytes()).count(), 2);
    }
}
