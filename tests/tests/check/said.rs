//! What `heddle check -o json` said.

use anyhow::{Context, Result};
use heddle_tests::bed::Finished;
use serde_json::Value;

/// One run.
pub(super) struct Said {
    pub(super) code: Option<i32>,
    pub(super) checks: Vec<Value>,
    pub(super) stderr: String,
}

impl Said {
    pub(super) fn of(finished: &Finished) -> Result<Self> {
        let text = finished.stdout.join("\n");
        let said: Value = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).with_context(|| finished.describe())?
        };
        let checks = said["checks"].as_array().cloned().unwrap_or_default();
        Ok(Self { code: finished.status.code(), checks, stderr: finished.stderr.join("\n") })
    }

    /// The checks that stand so, by their names.
    pub(super) fn standing(&self, standing: &str) -> Vec<&str> {
        let such = self.checks.iter().filter(|check| check["standing"] == standing);
        such.filter_map(|check| check["check"].as_str()).collect()
    }

    /// What was seen, and the remedy, of the checks of a name.
    pub(super) fn words(&self, name: &str) -> String {
        let such = self.checks.iter().filter(|check| check["check"] == name);
        such.map(|check| format!("{}; {}\n", check["seen"], check["remedy"])).collect()
    }
}
