//! Removes what earlier test processes left behind when they were killed before they could clean up.
//!
//! Runs once per process, before its first bed. A thing is a leftover if a bed made it (by its name) and that bed's
//! process is gone, or had this process's own id. Processes are killed by cgroup, never by name.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::mount::{UnmountFlags, unmount};

use super::cgroup::Cgroup;
use super::id;
use super::netns::{self, NetNs};

/// Removes all leftovers: processes, bpf mounts, namespaces, cgroups and directories, in this order.
pub(super) fn leftovers(cgroup2: &Path) -> Result<()> {
    let cgroups = abandoned(cgroup2);
    for path in &cgroups {
        Cgroup::at(path.clone()).kill()?;
    }
    let directories = abandoned(&std::env::temp_dir());
    for mount in mounts_below(&directories) {
        unmount(&mount, UnmountFlags::DETACH).with_context(|| format!("unmounting {}", mount.display()))?;
    }
    for path in abandoned(Path::new(netns::DIRECTORY)) {
        remove_namespace(&path)?;
    }
    for path in cgroups {
        Cgroup::at(path).remove()?;
    }
    for path in directories {
        remove_directory(&path)?;
    }
    Ok(())
}

/// The entries of a directory that beds of dead processes made.
fn abandoned(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_str().is_some_and(is_abandoned)).map(|entry| entry.path()).collect()
}

fn is_abandoned(name: &str) -> bool {
    id::owner(name).is_some_and(|pid| pid == std::process::id() || !Path::new(&format!("/proc/{pid}")).exists())
}

/// Mount points below the directories, the innermost first.
fn mounts_below(directories: &[PathBuf]) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
    let mut below: Vec<PathBuf> = points.filter(|point| directories.iter().any(|dir| point.starts_with(dir))).collect();
    below.reverse();
    below
}

fn remove_namespace(path: &Path) -> Result<()> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let removed = NetNs::named(name).remove();
    // Another test process may sweep at the same time; only what is still there is a failure.
    if path.exists() { removed } else { Ok(()) }
}

fn remove_directory(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if path.exists() => Err(error).with_context(|| format!("removing {}", path.display())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_process_owns_its_things_and_a_dead_one_does_not() {
        assert!(!is_abandoned("hd1x0-init-is-always-there"));
        assert!(is_abandoned("hd3vvvvx0-no-process-has-this-id"));
        assert!(is_abandoned(&id::fresh()), "this process's id, before its first bed: an earlier life");
        assert!(!is_abandoned("somebody-else"));
    }
}
