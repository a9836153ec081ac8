//! A token's text, taken apart: header, claims and signature of a JSON Web Signature in compact form (RFC 7515, section 7.1).
//!
//! Nothing in it is believed here; what it says is only made readable. Base64 is taken in its one canonical form, so that no
//! two texts are the same token.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::{LONGEST_TOKEN, outcome::Reason};
use crate::rules::request_authentication::Algorithm;

/// A token that has not been checked.
#[derive(Debug)]
pub(super) struct Unchecked<'a> {
    /// `alg`; none where it is none of ours.
    pub(super) algorithm: Option<Algorithm>,
    /// `kid`.
    pub(super) key_id: Option<String>,
    /// The claims.
    pub(super) claims: Map<String, Value>,
    /// The claims as they are in the token.
    pub(super) payload: &'a str,
    /// What is signed.
    pub(super) message: &'a [u8],
    /// The signature.
    pub(super) signature: Vec<u8>,
}

/// Takes a token apart.
pub(super) fn parse(token: &str) -> Result<Unchecked<'_>, Reason> {
    if token.len() > LONGEST_TOKEN {
        return Err(Reason::TooLong);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(Reason::Malformed)?;
    let (header, payload) = message.split_once('.').ok_or(Reason::Malformed)?;
    // Five parts are an encrypted token (RFC 7516), whose dots are in the payload here.
    let (header, claims) = (object(header)?, object(payload)?);
    let signature = decode(signature)?;
    if header.contains_key("crit") {
        return Err(Reason::CriticalHeader);
    }
    let Some(Value::String(algorithm)) = header.get("alg") else { return Err(Reason::Malformed) };
    let key_id = match header.get("kid") {
        None => None,
        Some(Value::String(id)) => Some(id.clone()).filter(|id| !id.is_empty()),
        Some(_) => return Err(Reason::Malformed),
    };
    let (algorithm, message) = (Algorithm::named(algorithm), message.as_bytes());
    Ok(Unchecked { algorithm, key_id, claims, payload, message, signature })
}

fn object(part: &str) -> Result<Map<String, Value>, Reason> {
    match serde_json::from_slice(&decode(part)?) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(Reason::Malformed),
    }
}

fn decode(part: &str) -> Result<Vec<u8>, Reason> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Reason::Malformed)
}
