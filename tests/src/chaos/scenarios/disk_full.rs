//! The disks with an agent's state and its log are full, in the midst of its work: traffic goes on, what changes is in force, and once
//! there is room again the state is written, without anybody's help.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};

use crate::chaos::ground::Disks;
use crate::chaos::stage::Stage;

/// It is written some seconds after a change, and a write that failed is tried again.
const WRITTEN_WITHIN: Duration = Duration::from_secs(40);
const MOST: usize = 64 << 20;

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    let before = stage.look()?;
    let Disks { state: disk, log } =
        stage.ground.disks.clone().context("this ground has no disks that can be filled")?;
    stage.wait("the state is on disk", WRITTEN_WITHIN, |_| Ok(state(&disk).is_some()))?;
    let time = stage.time;
    let filler = disk.join("filler");
    fill(&filler)?;
    fill(&log.join("filler"))?;
    stage.did("disks filled", 2);
    while stage.goes_on() {
        // What an agent has written less is filled, too.
        fill(&filler)?;
        stage.ground.settle()?;
        stage.did("changes with a full disk", 1);
        stage.pause(time / 10)?;
    }
    for full in [&disk, &log] {
        let free = free_bytes(full)?;
        ensure!(free < 8 << 10, "{} was not full: {free} bytes were free", full.display());
    }
    let emptied = SystemTime::now();
    fs::remove_file(&filler)?;
    let took = stage.wait("the state is written when there is room again", WRITTEN_WITHIN, |_| {
        Ok(state(&disk).is_some_and(|written| written >= emptied))
    })?;
    stage.checked("s until the state was written again", took.as_secs());
    let standing = stage.look()?.since(&before);
    ensure!(standing.broken + standing.unanswered == 0, "a full disk broke something: {standing:?}");
    Ok(())
}

/// Writes until there is no room, at the end of what is there.
fn fill(file: &Path) -> Result<()> {
    let mut open = OpenOptions::new().create(true).append(true).open(file)?;
    for size in [4096, 1] {
        for _ in 0..MOST / size {
            if open.write_all(&vec![0; size]).is_err() {
                break;
            }
        }
    }
    Ok(())
}

fn free_bytes(disk: &Path) -> Result<u64> {
    let told = rustix::fs::statvfs(disk).with_context(|| format!("asking how full {} is", disk.display()))?;
    Ok(told.f_bavail * told.f_frsize)
}

/// When the state was written last.
fn state(disk: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(disk.join("state")).ok()?.flatten().map(|entry| entry.path());
    let whole = |path: &PathBuf| path.extension().is_none_or(|extension| extension != "new");
    entries.filter(whole).filter_map(|path| fs::metadata(path).ok()?.modified().ok()).max()
}
