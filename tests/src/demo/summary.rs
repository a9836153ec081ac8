//! The machine-readable summary of `--json`: one document with every scene, what it observed, and what held.

use anyhow::{Context, Result};
use serde_json::json;

use super::story::Story;

/// The summary; `error` is why the story could not be told to its end.
pub(super) fn json(story: &Story, error: Option<&anyhow::Error>) -> Result<String> {
    let summary = json!({
        "ok": error.is_none() && story.failed() == 0,
        "expectations": story.expected(),
        "failed": story.failed(),
        "seconds": (story.elapsed().as_secs_f64() * 1e3).round() / 1e3,
        "error": error.map(|error| format!("{error:#}")),
        "scenes": story.scenes(),
    });
    serde_json::to_string_pretty(&summary).context("writing the summary")
}
