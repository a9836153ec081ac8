//! One public key of a set (RFC 7517, section 4; RFC 7518, section 6; RFC 8037, section 2), ready to check signatures.

use std::fmt;

use aws_lc_rs::signature::{ParsedPublicKey, RsaPublicKeyComponents};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::algorithm::{Algorithm, CURVES, Curve};

/// Key types that have a public half.
pub(super) const KEY_TYPES: [&str; 3] = ["RSA", "EC", "OKP"];

/// The private members of RSA, EC and OKP keys (RFC 7518, section 6), and the secret of a symmetric one.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A public key, and what it says of its use.
#[derive(Clone)]
pub struct PublicKey {
    id: Option<String>,
    /// The only algorithm that it may be used with, where it names one.
    algorithm: Option<Algorithm>,
    material: Material,
}

#[derive(Clone)]
enum Material {
    /// With any of the RSA algorithms.
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
    /// With the one algorithm of its curve.
    Curve(Algorithm, ParsedPublicKey),
}

/// What is wrong with a key. The texts begin with the member that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyProblem {
    /// It should not be where it is.
    Secret(String),
    /// It is no public key of a type that exists.
    NoKey(String),
    /// It is for something else than checking signatures, or for what is not taken here.
    Unusable(String),
}

impl PublicKey {
    /// Reads a key of a set.
    pub(super) fn read(key: &Value) -> Result<Self, KeyProblem> {
        let Some(key) = key.as_object() else { return Err(KeyProblem::NoKey(" is no object".to_owned())) };
        if let Some(member) = PRIVATE.into_iter().find(|member| key.contains_key(*member)) {
            let problem = format!(" has {member:?}, part of a secret key; give the public key only");
            return Err(KeyProblem::Secret(problem));
        }
        let kind = key.get("kty").and_then(Value::as_str).filter(|kind| KEY_TYPES.contains(kind));
        let kind = kind.ok_or_else(|| {
            let found = key.get("kty").map_or_else(|| "nothing".to_owned(), Value::to_string);
            KeyProblem::NoKey(format!(".kty is {found}, allowed: {}", KEY_TYPES.join(", ")))
        })?;
        usable(kind, key).map_err(KeyProblem::Unusable)
    }

    /// `kid`.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Whether signatures of this kind may be checked with it.
    pub(super) fn allows(&self, algorithm: Algorithm) -> bool {
        let fits = match &self.material {
            Material::Rsa(_) => algorithm.of_rsa().is_some(),
            Material::Curve(own, _) => *own == algorithm,
        };
        fits && self.algorithm.is_none_or(|only| only == algorithm)
    }

    /// Whether the signature is that of the holder of this key.
    pub(super) fn has_signed(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let checked = match (&self.material, algorithm.of_rsa()) {
            _ if !self.allows(algorithm) => return false,
            (Material::Rsa(key), Some(parameters)) => key.verify(parameters, message, signature),
            (Material::Rsa(_), None) => return false,
            (Material::Curve(_, key), _) => key.verify_sig(message, signature),
        };
        checked.is_ok()
    }
}

fn usable(kind: &str, key: &Map<String, Value>) -> Result<PublicKey, String> {
    if let Some(other) = key.get("use").filter(|usage| *usage != "sig") {
        return Err(format!(".use is {other}, not \"sig\""));
    }
    let verifies = |operations: &Value| operations.as_array().is_some_and(|all| all.iter().any(|one| one == "verify"));
    if let Some(other) = key.get("key_ops").filter(|operations| !verifies(operations)) {
        return Err(format!(".key_ops is {other}, without \"verify\""));
    }
    let algorithm = match key.get("alg") {
        None => None,
        Some(name) => {
            let known = name.as_str().and_then(Algorithm::named);
            Some(known.ok_or_else(|| format!(".alg is {name}, allowed: {}", names())))
        }
    };
    let algorithm = algorithm.transpose()?;
    let id = match key.get("kid") {
        None => None,
        Some(Value::String(id)) => Some(id.clone()).filter(|id| !id.is_empty()),
        Some(other) => return Err(format!(".kid is {other}, allowed: text")),
    };
    let material = if kind == "RSA" { rsa(key)? } else { on_curve(kind, key)? };
    let key = PublicKey { id, algorithm, material };
    match key.algorithm {
        Some(only) if !key.allows(only) => {
            Err(format!(".alg is {:?}, which is not for a key like this", only.as_str()))
        }
        _ => Ok(key),
    }
}

fn rsa(key: &Map<String, Value>) -> Result<Material, String> {
    let (n, e) = (number(key, "n")?, number(key, "e")?);
    let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
    if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
        return Err(format!(".n has {bits} bits, allowed: {MIN_RSA_BITS} to {MAX_RSA_BITS}"));
    }
    let components = RsaPublicKeyComponents { n, e };
    match Algorithm::Rs256.of_rsa().map(|parameters| components.to_parsed_public_key(parameters)) {
        Some(Ok(_)) => Ok(Material::Rsa(components)),
        _ => Err(" is no RSA key: n and e do not fit together".to_owned()),
    }
}

fn on_curve(kind: &str, key: &Map<String, Value>) -> Result<Material, String> {
    let of_kind = || CURVES.iter().filter(|curve| curve.key_type == kind);
    let name = key.get("crv").and_then(Value::as_str);
    let Some(curve) = of_kind().find(|curve| Some(curve.name) == name) else {
        let found = key.get("crv").map_or_else(|| "nothing".to_owned(), Value::to_string);
        let allowed: Vec<_> = of_kind().map(|curve| curve.name).collect();
        return Err(format!(".crv is {found}, allowed: {}", allowed.join(", ")));
    };
    let point = match kind {
        // SEC 1, section 2.3.3: an uncompressed point.
        "EC" => [vec![4], coordinate(key, "x", curve)?, coordinate(key, "y", curve)?].concat(),
        _ => coordinate(key, "x", curve)?,
    };
    let parsed = ParsedPublicKey::new(curve.check, &point);
    let parsed = parsed.map_err(|_| format!(" is no point of the curve {}", curve.name))?;
    Ok(Material::Curve(curve.algorithm, parsed))
}

/// At its full size. Some issuers leave zeros in front out, which RFC 7518, section 6.2.1.2, forbids and nobody minds.
fn coordinate(key: &Map<String, Value>, member: &str, curve: &Curve) -> Result<Vec<u8>, String> {
    let bytes = bytes(key, member)?;
    let missing = curve.size.checked_sub(bytes.len());
    let missing = missing.ok_or_else(|| format!(".{member} is longer than a coordinate of {}", curve.name))?;
    Ok([vec![0; missing], bytes].concat())
}

/// Without zeros in front, which are forbidden there and are found there.
fn number(key: &Map<String, Value>, member: &str) -> Result<Vec<u8>, String> {
    Ok(bytes(key, member)?.into_iter().skip_while(|byte| *byte == 0).collect())
}

fn bytes(key: &Map<String, Value>, member: &str) -> Result<Vec<u8>, String> {
    let text = key.get(member).and_then(Value::as_str).filter(|text| !text.is_empty());
    let bytes = text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    bytes.ok_or_else(|| {
        let found = key.get(member).map_or_else(|| "nothing".to_owned(), Value::to_string);
        format!(".{member} is {found}, allowed: base64url without padding")
    })
}

fn names() -> String {
    Algorithm::ALL.map(Algorithm::as_str).join(", ")
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.material {
            Material::Rsa(_) => "RSA",
            Material::Curve(algorithm, _) => algorithm.as_str(),
        };
        f.debug_struct("PublicKey").field("id", &self.id).field("kind", &kind).finish_non_exhaustive()
    }
}

/// RFC 7518, section 3.3.
const MIN_RSA_BITS: usize = 2048;
/// What aws-lc takes.
const MAX_RSA_BITS: usize = 8192;
