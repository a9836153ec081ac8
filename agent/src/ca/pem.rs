//! Certificates as PEM (RFC 7468), for answers and for a ConfigMap.

use rustls::pki_types::CertificateDer;

/// One certificate, with a line end.
pub(super) fn certificate(der: &CertificateDer<'_>) -> String {
    let digits = base64(der);
    let mut text = String::with_capacity(digits.len() + digits.len() / LINE + 64);
    text.push_str("-----BEGIN CERTIFICATE-----\n");
    let mut rest = digits.as_str();
    while !rest.is_empty() {
        let (line, others) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = others;
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

/// Several, one after the other.
pub(super) fn certificates(all: &[CertificateDer<'_>]) -> String {
    all.iter().map(certificate).collect()
}

/// RFC 7468, section 2.
const LINE: usize = 64;

/// RFC 4648, section 4, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = bits >> (18 - 6 * place) & 63;
            text.push(if place <= group.len() { char::from(DIGITS[digit as usize]) } else { '=' });
        }
    }
    text
}

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
