//! `bpf-toolchain.env`: what setup found, as `KEY=VALUE` lines in the user's cache folder.
//!
//! Written by setup, read by `agent/build.rs` (which repeats the three keys and the path: a build script shares no
//! code with this tool). The environment overrides it there and here.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::toolchain::Compiler;

pub(super) const CARGO: &str = "HEDDLE_BPF_CARGO";
pub(super) const RUSTC: &str = "HEDDLE_BPF_RUSTC";
pub(super) const LINKER: &str = "HEDDLE_BPF_LINKER";

pub(super) struct Record {
    cargo: PathBuf,
    rustc: PathBuf,
    linker: PathBuf,
}

impl Record {
    pub(super) fn new(compiler: Compiler, linker: PathBuf) -> Self {
        Self { cargo: compiler.cargo, rustc: compiler.rustc, linker }
    }

    pub(super) fn path() -> Result<PathBuf> {
        Ok(cache_dir()?.join("bpf-toolchain.env"))
    }

    /// True when every program, by environment or record, is there.
    pub(super) fn is_usable() -> Result<bool> {
        let lines = fs::read_to_string(Self::path()?).unwrap_or_default();
        let known = |key: &str| overridden(key).or_else(|| value(&lines, key));
        Ok([CARGO, RUSTC, LINKER].into_iter().all(|key| known(key).is_some_and(|program| program.is_file())))
    }

    /// Replaces the file in one step; false when it says the same already, so that nothing is built again.
    pub(super) fn write(&self) -> Result<bool> {
        let path = Self::path()?;
        let text = self.text();
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            return Ok(false);
        }
        let dir = path.parent().context("the record has no folder")?;
        fs::create_dir_all(dir).with_context(|| format!("creating {} failed", dir.display()))?;
        let aside = path.with_extension(format!("env.{}", std::process::id()));
        fs::write(&aside, text).with_context(|| format!("writing {} failed", aside.display()))?;
        fs::rename(&aside, &path).with_context(|| format!("renaming {} failed", aside.display()))?;
        Ok(true)
    }

    fn text(&self) -> String {
        let line = |key: &str, program: &Path| format!("{key}={}\n", program.display());
        ["# Written by `cargo xtask setup`; the environment variables of the same names override it.\n".into()]
            .into_iter()
            .chain([line(CARGO, &self.cargo), line(RUSTC, &self.rustc), line(LINKER, &self.linker)])
            .collect()
    }
}

/// The user's word on one program.
pub(super) fn overridden(key: &str) -> Option<PathBuf> {
    env::var_os(key).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Heddle's folder in the user's cache.
pub(super) fn cache_dir() -> Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_CACHE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("heddle"))
        .context("neither XDG_CACHE_HOME nor HOME is set: set one, it is where the toolchain is recorded")
}

fn value(lines: &str, key: &str) -> Option<PathBuf> {
    lines.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let record = Record { cargo: "/a/cargo".into(), rustc: "/b c/rustc".into(), linker: "/d/bpf-linker".into() };
        let text = record.text();
        assert_eq!(value(&text, CARGO), Some(record.cargo));
        assert_eq!(value(&text, RUSTC), Some(record.rustc));
        assert_eq!(value(&text, LINKER), Some(record.linker));
        assert_eq!(value(&text, "HEDDLE_BPF"), None, "a key is matched whole");
    }
}
