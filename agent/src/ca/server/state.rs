//! The roots as the Secret holds them: which signs, which is to sign next, which is only trusted any more.
//!
//! In and out: JSON under one key of the Secret. Times are absolute, so that replicas and later configurations agree on
//! them. A retired root has no key: it was taken out when the root signed last.

use std::time::{Duration, SystemTime};

use humantime::{format_rfc3339_seconds, parse_rfc3339};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// All roots of the mesh. Without `Debug`, so that no log line can hold it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RootState {
    /// Of this shape; a newer build may write another.
    pub(super) version: u32,
    /// The longest overlap that was configured since the last rotation, in seconds: leaves that live so long are about.
    pub(super) overlap_seconds: u64,
    /// Exactly one of them signs.
    pub(super) roots: Vec<StoredRoot>,
}

/// One root.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct StoredRoot {
    /// PEM.
    pub(super) certificate: String,
    /// PEM of a PKCS#8 key, until it is retired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    /// What it is for.
    pub(super) phase: Phase,
}

/// What a root is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) enum Phase {
    /// It is published as trusted, so that all peers know it when it begins to sign.
    #[serde(rename_all = "camelCase")]
    Next {
        /// When that is.
        signs_from: Time,
    },
    /// It signs.
    Signing {},
    /// It has signed its last leaf.
    #[serde(rename_all = "camelCase")]
    Retired {
        /// When that leaf has ended.
        trusted_until: Time,
    },
}

/// A moment, in the file as `2026-11-24T12:00:00Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Time(pub(super) SystemTime);

/// What this build writes and reads.
pub(super) const VERSION: u32 = 1;

impl RootState {
    /// Reads what is under the Secret's key.
    pub(super) fn parse(json: &[u8]) -> Result<Self, String> {
        let state: Self = serde_json::from_slice(json).map_err(|error| {
            // The parser's own words may quote what it found, which may be a key.
            format!("it is not the JSON of this build, at line {} column {}", error.line(), error.column())
        })?;
        if state.version != VERSION {
            return Err(format!("it is of version {}, and this build knows {VERSION}", state.version));
        }
        let count = |wanted: fn(&StoredRoot) -> bool| state.roots.iter().filter(|root| wanted(root)).count();
        let signing = count(|root| root.phase == Phase::Signing {});
        let next = count(|root| matches!(root.phase, Phase::Next { .. }));
        if signing != 1 || next > 1 {
            return Err(format!(
                "it has {signing} roots that sign and {next} next ones, and must have 1 and at most 1"
            ));
        }
        Ok(state)
    }

    /// What goes under the Secret's key.
    pub(super) fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec_pretty(self)
    }

    /// The one that signs.
    pub(super) fn signing(&self) -> Option<&StoredRoot> {
        self.roots.iter().find(|root| root.phase == Phase::Signing {})
    }

    /// The longest overlap so far.
    pub(super) fn overlap(&self) -> Duration {
        Duration::from_secs(self.overlap_seconds)
    }

    /// All certificates, that of the signing root first: what a peer must trust.
    pub(super) fn bundle(&self) -> String {
        let rank = |root: &&StoredRoot| match root.phase {
            Phase::Signing {} => 0,
            Phase::Next { .. } => 1,
            Phase::Retired { .. } => 2,
        };
        let mut roots: Vec<&StoredRoot> = self.roots.iter().collect();
        roots.sort_by_key(rank);
        roots.iter().map(|root| format!("{}\n", root.certificate.trim_end())).collect()
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_rfc3339_seconds(self.0))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_rfc3339(&text).map(Self).map_err(|_| D::Error::custom("not a time"))
    }
}
