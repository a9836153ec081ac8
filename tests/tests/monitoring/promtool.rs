//! promtool, which reads rules as Prometheus does.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Runs it; its output, or an error that shows it.
pub(crate) fn promtool(words: &str, file: &Path) -> Result<String> {
    let mut command = Command::new("promtool");
    let output = command.args(words.split(' ')).arg(file).output().context(
        "no program `promtool`: `cargo xtask setup --with-test-tools` installs it, as the package prometheus does",
    )?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "promtool {words} {}:\n{said}", file.display());
    Ok(said.into_owned())
}
