//! The algorithms of signatures that are taken (RFC 7518, section 3.1; RFC 8037, section 3.1), each with what checks it.
//!
//! Not among them: `none`, and HMAC, whose secret would stand in the document for everyone to sign with.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, RsaParameters, VerificationAlgorithm,
};

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA, PKCS#1 1.5, SHA-256.
    Rs256,
    /// RSA, PKCS#1 1.5, SHA-384.
    Rs384,
    /// RSA, PKCS#1 1.5, SHA-512.
    Rs512,
    /// RSA, PSS, SHA-256.
    Ps256,
    /// RSA, PSS, SHA-384.
    Ps384,
    /// RSA, PSS, SHA-512.
    Ps512,
    /// ECDSA with P-256, SHA-256.
    Es256,
    /// ECDSA with P-384, SHA-384.
    Es384,
    /// ECDSA with P-521, SHA-512.
    Es512,
    /// EdDSA with Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::EdDsa,
    ];

    /// As `alg` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::EdDsa => "EdDSA",
        }
    }

    /// By its name, which is compared exactly.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    /// What checks it, with keys of RSA. Keys below 2048 bits are not taken (RFC 7518, section 3.3).
    pub(super) fn of_rsa(self) -> Option<&'static RsaParameters> {
        match self {
            Self::Rs256 => Some(&RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Some(&RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Some(&RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Some(&RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Some(&RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Some(&RSA_PSS_2048_8192_SHA512),
            Self::Es256 | Self::Es384 | Self::Es512 | Self::EdDsa => None,
        }
    }
}

/// A curve has one algorithm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Curve {
    /// As `crv` has it.
    pub(super) name: &'static str,
    /// As `kty` has it.
    pub(super) key_type: &'static str,
    /// Bytes of a coordinate.
    pub(super) size: usize,
    /// The one algorithm.
    pub(super) algorithm: Algorithm,
    /// What checks it.
    pub(super) check: &'static dyn VerificationAlgorithm,
}

/// Every curve that is taken.
pub(super) const CURVES: [Curve; 4] = [
    Curve { name: "P-256", key_type: "EC", size: 32, algorithm: Algorithm::Es256, check: &ECDSA_P256_SHA256_FIXED },
    Curve { name: "P-384", key_type: "EC", size: 48, algorithm: Algorithm::Es384, check: &ECDSA_P384_SHA384_FIXED },
    Curve { name: "P-521", key_type: "EC", size: 66, algorithm: Algorithm::Es512, check: &ECDSA_P521_SHA512_FIXED },
    Curve { name: "Ed25519", key_type: "OKP", size: 32, algorithm: Algorithm::EdDsa, check: &ED25519 },
];
