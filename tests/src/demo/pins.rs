//! What an agent pinned in its bpf file system, to see whether the next agent keeps it or makes it anew.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Every pin with its inode: a pin that was made anew has another.
#[derive(PartialEq)]
pub(super) struct Pins(BTreeMap<PathBuf, u64>);

impl Pins {
    /// All pins below a directory.
    pub(super) fn below(directory: &Path) -> Result<Self> {
        let mut pins = BTreeMap::new();
        walk(directory, &mut pins).with_context(|| format!("listing the pins below {}", directory.display()))?;
        Ok(Self(pins))
    }

    /// How many are in the folders of this name.
    pub(super) fn count(&self, folder: &str) -> usize {
        let inside = |path: &&PathBuf| path.parent().is_some_and(|parent| parent.ends_with(folder));
        self.0.keys().filter(inside).count()
    }

    /// "11 maps, 5 links of the cgroup, 1 of pods".
    pub(super) fn describe(&self) -> String {
        let (maps, links, pods) = (self.count("maps"), self.count("links"), self.count("pods"));
        format!("{maps} maps, {links} links of the cgroup, {pods} of pods")
    }
}

fn walk(directory: &Path, pins: &mut BTreeMap<PathBuf, u64>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), pins)?;
        } else {
            pins.insert(entry.path(), entry.metadata()?.ino());
        }
    }
    Ok(())
}
