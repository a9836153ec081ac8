//! The short name of a root certificate, as labels, logs and `heddle status` carry it.
//!
//! Roots of one mesh usually have one subject, and a rotated root may even keep its key; so a root is named by what it is,
//! and not by what it says.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};

/// The first 8 bytes of the SHA-256 of a root's certificate (DER), shown as 16 hexadecimal digits:
/// `openssl x509 -in root.pem -outform DER | sha256sum | cut -c1-16`.
///
/// It tells a handful of roots apart. It is never what trust is decided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RootName([u8; 8]);

impl RootName {
    /// The name of a certificate in DER.
    pub fn of(certificate: &[u8]) -> Self {
        let mut name = [0; 8];
        for (to, from) in name.iter_mut().zip(digest(&SHA256, certificate).as_ref()) {
            *to = *from;
        }
        Self(name)
    }
}

impl fmt::Display for RootName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::RootName;

    #[test]
    fn the_name_is_the_beginning_of_the_sha_256() {
        // `printf abc | sha256sum`, as FIPS 180-4 gives it too.
        assert_eq!(RootName::of(b"abc").to_string(), "ba7816bf8f01cfea");
    }
}
