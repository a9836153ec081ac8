//! The public keys of one issuer, and which of them a token is checked with.

use serde_json::Value;

use super::{
    algorithm::Algorithm,
    public_key::{KeyProblem, PublicKey},
};

/// At least one key, and at most [`KeySet::MOST`].
#[derive(Clone, Debug)]
pub struct KeySet(Vec<PublicKey>);

/// Why no key of a set has made a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFailure {
    /// No key can have made it: none has the id, or none is of the kind.
    UnknownKey,
    /// The key that the token names is not for this algorithm.
    AlgorithmNotAllowed,
    /// The keys that can have made it have not.
    BadSignature {
        /// Whether the token named its key. If not, a key that is not in the set may have made it.
        by_id: bool,
    },
}

impl KeySet {
    /// The most keys of a set. Issuers have two or three, during a rotation some more.
    pub const MOST: usize = 100;

    /// Reads a set that somebody publishes, as JSON. What cannot be used in it is left out (RFC 7517, section 5) and told, and
    /// so is what should not be there: a secret that was published is no proof of anything any more.
    pub fn published(text: &[u8]) -> Result<(Self, Vec<String>), String> {
        let value: Value = serde_json::from_slice(text).map_err(|error| format!("is no JSON: {error}"))?;
        Self::read(entries(&value)?, |_| false)
    }

    /// The keys of a list, and what is wrong with the others. A problem that `refuses` is one of the whole list.
    pub(super) fn read(
        entries: &[Value],
        refuses: impl Fn(&KeyProblem) -> bool,
    ) -> Result<(Self, Vec<String>), String> {
        let (mut keys, mut left_out) = (Vec::new(), Vec::new());
        for (index, entry) in entries.iter().enumerate() {
            match PublicKey::read(entry) {
                Ok(key) => keys.push(key),
                Err(problem) if refuses(&problem) => return Err(format!("keys[{index}]{}", problem.text())),
                Err(problem) => left_out.push(format!("keys[{index}]{}", problem.text())),
            }
        }
        match keys.is_empty() {
            true => Err(format!("has no key that tokens can be checked with: {}", left_out.join("; "))),
            false => Ok((Self(keys), left_out)),
        }
    }

    /// The keys.
    pub fn keys(&self) -> &[PublicKey] {
        &self.0
    }

    /// Whether a key of this set has signed a message. A key is tried unless its id is another than the one that the token
    /// names: where one of the two has none, it may be the one.
    pub fn check(
        &self,
        algorithm: Algorithm,
        id: Option<&str>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), KeyFailure> {
        let named = |key: &PublicKey| id.is_some() && key.id() == id;
        let may_be = |key: &&PublicKey| id.is_none() || key.id().is_none() || named(key);
        let fitting = || self.0.iter().filter(may_be).filter(|key| key.allows(algorithm)).take(MOST_TRIES);
        if fitting().any(|key| key.has_signed(algorithm, message, signature)) {
            return Ok(());
        }
        let by_id = fitting().any(named);
        Err(match fitting().next() {
            Some(_) => KeyFailure::BadSignature { by_id },
            None if self.0.iter().any(named) => KeyFailure::AlgorithmNotAllowed,
            None => KeyFailure::UnknownKey,
        })
    }
}

impl KeyProblem {
    fn text(&self) -> &str {
        match self {
            Self::Secret(text) | Self::NoKey(text) | Self::Unusable(text) => text,
        }
    }
}

/// The list under `keys`.
pub(super) fn entries(value: &Value) -> Result<&[Value], String> {
    let keys = value.get("keys").and_then(Value::as_array).filter(|keys| !keys.is_empty());
    match keys {
        None => Err("has no list of keys under \"keys\" with at least one entry".to_owned()),
        Some(keys) if keys.len() > KeySet::MOST => {
            Err(format!("has {} keys, allowed: up to {}", keys.len(), KeySet::MOST))
        }
        Some(keys) => Ok(keys),
    }
}

/// How many keys a token without an id is tried with: what a sender of bad tokens makes us compute has an end.
const MOST_TRIES: usize = 16;
