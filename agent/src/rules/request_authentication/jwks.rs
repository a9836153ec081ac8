//! A set of public keys, written as JSON text inside a document (RFC 7517).

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

/// Key types of RFC 7518 and RFC 8037 that have a public half.
const KEY_TYPES: [&str; 3] = ["RSA", "EC", "OKP"];

/// The private members of RSA, EC and OKP keys (RFC 7518, section 6), and the secret of a symmetric one.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// At least one public key. Members beside `keys` are not kept: RFC 7517 has them ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwks(Vec<Map<String, Value>>);

impl Jwks {
    /// Each key as its JSON object, with a type that has a public half.
    pub fn keys(&self) -> &[Map<String, Value>] {
        &self.0
    }

    /// Reads JSON text. The error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| format!("is no JSON: {error}"))?;
        let keys = value.get("keys").and_then(Value::as_array).filter(|keys| !keys.is_empty());
        let Some(keys) = keys else {
            return Err("has no list of keys under \"keys\" with at least one entry".to_owned());
        };
        let keys: Result<Vec<_>, String> = keys.iter().enumerate().map(|(index, key)| public_key(index, key)).collect();
        keys.map(Self)
    }
}

fn public_key(index: usize, key: &Value) -> Result<Map<String, Value>, String> {
    let Some(key) = key.as_object() else { return Err(format!("keys[{index}] is no object")) };
    if let Some(member) = PRIVATE.into_iter().find(|member| key.contains_key(*member)) {
        return Err(format!("keys[{index}] has {member:?}, part of a secret key; give the public key only"));
    }
    let kind = key.get("kty").and_then(Value::as_str);
    if !kind.is_some_and(|kind| KEY_TYPES.contains(&kind)) {
        let found = key.get("kty").map_or_else(|| "nothing".to_owned(), Value::to_string);
        return Err(format!("keys[{index}].kty is {found}, allowed: {}", KEY_TYPES.join(", ")));
    }
    Ok(key.clone())
}

impl Serialize for Jwks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&serde_json::json!({ "keys": self.0 }))
    }
}
