//! A set of public keys, written as JSON text inside a document (RFC 7517).

use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::{
    key_set::{KeySet, entries},
    public_key::KeyProblem,
};

/// At least one public key that tokens can be checked with. Members beside `keys` are not kept: RFC 7517 has them ignored.
#[derive(Clone, Debug)]
pub struct Jwks {
    entries: Vec<Value>,
    keys: Arc<KeySet>,
}

impl Jwks {
    /// Each key as it is written.
    pub fn entries(&self) -> &[Value] {
        &self.entries
    }

    /// Those that can be used.
    pub fn keys(&self) -> &Arc<KeySet> {
        &self.keys
    }

    /// Reads JSON text. The error says what is wrong with it. A key for another purpose may stand in it and is left out, a
    /// secret one may not: the document is for everyone to read.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| format!("is no JSON: {error}"))?;
        let entries = entries(&value)?;
        let refuses = |problem: &KeyProblem| matches!(problem, KeyProblem::Secret(_) | KeyProblem::NoKey(_));
        let (keys, _) = KeySet::read(entries, refuses)?;
        Ok(Self { entries: entries.to_vec(), keys: Arc::new(keys) })
    }
}

/// The keys are what the entries say.
impl PartialEq for Jwks {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl Eq for Jwks {}

impl Serialize for Jwks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&serde_json::json!({ "keys": self.entries }))
    }
}
