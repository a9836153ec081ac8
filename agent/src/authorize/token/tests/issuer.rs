//! An issuer of tokens, with real keys: it signs whatever a test wants, the wrong included.

use std::sync::LazyLock;

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
        EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
        RSA_PSS_SHA384, RSA_PSS_SHA512,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// A private key.
pub(in crate::authorize::token) enum Key {
    Rsa(RsaKeyPair),
    Ecdsa(&'static str, EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

pub(in crate::authorize::token) static RSA: LazyLock<Key> = LazyLock::new(|| rsa(KeySize::Rsa2048));
pub(in crate::authorize::token) static OTHER_RSA: LazyLock<Key> = LazyLock::new(|| rsa(KeySize::Rsa2048));
pub(in crate::authorize::token) static P256: LazyLock<Key> = LazyLock::new(p256);
pub(in crate::authorize::token) static OTHER_P256: LazyLock<Key> = LazyLock::new(p256);
pub(in crate::authorize::token) static P384: LazyLock<Key> =
    LazyLock::new(|| Key::Ecdsa("P-384", EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap()));
pub(in crate::authorize::token) static P521: LazyLock<Key> =
    LazyLock::new(|| Key::Ecdsa("P-521", EcdsaKeyPair::generate(&ECDSA_P521_SHA512_FIXED_SIGNING).unwrap()));
pub(in crate::authorize::token) static ED25519: LazyLock<Key> =
    LazyLock::new(|| Key::Ed25519(Ed25519KeyPair::generate().unwrap()));

fn rsa(size: KeySize) -> Key {
    Key::Rsa(RsaKeyPair::generate(size).unwrap())
}

/// A new one.
pub(in crate::authorize::token) fn p256() -> Key {
    Key::Ecdsa("P-256", EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
}

impl Key {
    /// The public half, with `more` members.
    #[expect(clippy::needless_pass_by_value, reason = "callers write json!() in place")]
    pub(in crate::authorize::token) fn jwk(&self, more: Value) -> Value {
        let mut jwk = match self {
            Self::Rsa(key) => {
                let (n, e) = modulus_and_exponent(key.public_key().as_ref());
                json!({"kty": "RSA", "n": encoded(n), "e": encoded(e)})
            }
            Self::Ecdsa(curve, key) => {
                let point = &key.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({"kty": "EC", "crv": curve, "x": encoded(x), "y": encoded(y)})
            }
            Self::Ed25519(key) => json!({"kty": "OKP", "crv": "Ed25519", "x": encoded(key.public_key().as_ref())}),
        };
        for (name, value) in more.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        jwk
    }

    fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let encoding: &'static dyn aws_lc_rs::signature::RsaEncoding = match algorithm {
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    "PS384" => &RSA_PSS_SHA384,
                    "PS512" => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(encoding, &random, message, &mut signature).unwrap();
                signature
            }
            Self::Ecdsa(_, key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed25519(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    /// A token of this header and these claims, signed as the header says, as far as this key can.
    pub(in crate::authorize::token) fn token(&self, header: &Value, claims: &Value) -> String {
        self.token_of(&header.to_string(), &claims.to_string(), header["alg"].as_str().unwrap_or_default())
    }

    /// The same of any text.
    pub(in crate::authorize::token) fn token_of(&self, header: &str, claims: &str, algorithm: &str) -> String {
        let message = format!("{}.{}", encoded(header.as_bytes()), encoded(claims.as_bytes()));
        let signature = self.sign(algorithm, message.as_bytes());
        format!("{message}.{}", encoded(&signature))
    }
}

/// A set of public keys as JSON.
pub(in crate::authorize::token) fn jwks(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

pub(in crate::authorize::token) fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Of a RSAPublicKey (RFC 8017, appendix A.1.1).
fn modulus_and_exponent(der: &[u8]) -> (&[u8], &[u8]) {
    let (sequence, _) = contents(der);
    let (modulus, rest) = contents(sequence);
    let (exponent, _) = contents(rest);
    (modulus.strip_prefix(&[0]).unwrap_or(modulus), exponent)
}

/// The contents of the first DER value, and what follows it.
fn contents(der: &[u8]) -> (&[u8], &[u8]) {
    let (length, start) = match der[1] {
        short if short < 0x80 => (usize::from(short), 2),
        long => {
            let end = 2 + usize::from(long & 0x7f);
            (der[2..end].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), end)
        }
    };
    (&der[start..start + length], &der[start + length..])
}
