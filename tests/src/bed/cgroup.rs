//! One cgroup v2 directory: made, joined by processes, killed as a whole, removed as a whole.
//!
//! No controllers are enabled: beds use cgroups to attach programs to and to find every process again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long killed processes may take to leave; a process stuck in the kernel is a finding, not a reason to wait on.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// A cgroup directory of a bed.
#[derive(Clone, Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes the directory, and those above it, unless they exist.
    pub(super) fn make(path: PathBuf) -> Result<Self> {
        fs::create_dir_all(&path).with_context(|| format!("making the cgroup {}", path.display()))?;
        Ok(Self { path })
    }

    /// Names an existing directory.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Kills every process in it and below it with SIGKILL and waits until they are gone.
    pub fn kill(&self) -> Result<()> {
        let control = self.path.join("cgroup.kill");
        if !self.path.exists() {
            return Ok(());
        }
        fs::write(&control, "1")
            .with_context(|| format!("writing 1 to {} (Linux 5.14 or later)", control.display()))?;
        let deadline = Instant::now() + GONE_WITHIN;
        while self.populated()? {
            if Instant::now() > deadline {
                bail!("processes in {} survived SIGKILL for {GONE_WITHIN:?}: {:?}", self.path.display(), self.pids()?);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Whether any process lives in it or below it.
    pub fn populated(&self) -> Result<bool> {
        let path = self.path.join("cgroup.events");
        let events = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(events.lines().any(|line| line == "populated 1"))
    }

    /// The processes directly in it.
    pub fn pids(&self) -> Result<Vec<u32>> {
        let path = self.path.join("cgroup.procs");
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// CPU time that everything that ever ran in it or below it has used, in seconds. It is there without any controller.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let path = self.path.join("cpu.stat");
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
        let micros = line.and_then(|number| number.parse::<f64>().ok());
        Ok(micros.with_context(|| format!("no usage_usec in {}", path.display()))? / 1e6)
    }

    /// Removes it and everything below it; the processes must be gone. Succeeds when it is not there.
    pub(super) fn remove(&self) -> Result<()> {
        remove_tree(&self.path)
    }
}

fn remove_tree(dir: &Path) -> Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("listing the cgroup {}", dir.display())),
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing the cgroup {}", dir.display()))
        }
        _ => Ok(()),
    }
}
