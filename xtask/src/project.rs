//! The checkout and the cargo that works on it.
//!
//! Everything that a verb runs goes through here, so that all of them use the same cargo in the same environment: a
//! difference in environment alone makes cargo compile everything again.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use xshell::{Cmd, Shell, cmd};

use crate::ui;

/// The checkout that holds this tool.
pub(crate) struct Project {
    pub(crate) shell: Shell,
    pub(crate) root: PathBuf,
}

impl Project {
    /// The checkout that this tool was compiled in; commands of its shell run at its root.
    pub(crate) fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the folder of xtask has no parent")?;
        let shell = Shell::new().context("reading the working directory failed; change to a directory that exists")?;
        shell.change_dir(root);
        Ok(Self { shell, root: root.to_owned() })
    }

    /// A call of the pinned cargo.
    pub(crate) fn cargo(&self) -> Cmd<'_> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let foreign = env::vars_os().map(|(name, _)| name).filter(set_by_cargo_run);
        foreign.fold(self.shell.cmd(cargo), Cmd::env_remove)
    }

    /// Where cargo puts what it builds, by its own word.
    pub(crate) fn target_dir(&self) -> Result<PathBuf> {
        #[derive(Deserialize)]
        struct Metadata {
            target_directory: PathBuf,
        }
        let json = self.cargo().args(["metadata", "--no-deps", "--format-version=1"]).quiet().read()?;
        let metadata: Metadata = serde_json::from_str(&json).context("reading cargo's metadata")?;
        Ok(metadata.target_directory)
    }

    /// The checkout's files that git knows or would add, relative to the root.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>> {
        let listed = cmd!(self.shell, "git ls-files --cached --others --exclude-standard").quiet().read()?;
        Ok(listed.lines().map(PathBuf::from).filter(|file| self.root.join(file).is_file()).collect())
    }
}

/// The members that are compiled together: the kernel programs have a compiler of their own. See Cargo.toml about the models.
pub(crate) const MEMBERS: [&str; 5] = ["--workspace", "--exclude", "heddle-ebpf", "--exclude", "heddle-models"];
/// Those that are compiled by themselves.
pub(crate) const MODELS: [&str; 2] = ["--package", "heddle-models"];

/// Runs a command whose standard output is shown as it comes; gives `keep` each line too.
pub(crate) fn stream(command: Cmd<'_>, mut keep: impl FnMut(&str)) -> Result<()> {
    let shown = command.to_string();
    let mut child = Command::from(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting `{shown}` failed"))?;
    let stdout = child.stdout.take().context("the child has no standard output")?;
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.with_context(|| format!("reading the output of `{shown}` failed"))?;
        let line = String::from_utf8_lossy(&line);
        ui::say(&line);
        keep(&line);
    }
    let status = child.wait().with_context(|| format!("waiting for `{shown}` failed"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status}); its output is above");
    }
    Ok(())
}

/// Whether this process runs as root: the owner of its own entry in /proc is its effective user.
pub(crate) fn is_root() -> Result<bool> {
    Ok(fs::metadata("/proc/self").context("reading /proc/self failed; mount /proc")?.uid() == 0)
}

/// `cargo run` describes the package xtask to it in variables that build scripts of other packages would see.
fn set_by_cargo_run(name: &OsString) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
}
