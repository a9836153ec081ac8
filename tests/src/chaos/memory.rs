//! Resident memory of the agents, sampled all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, ensure};

/// Short beside the time in which an agent could fill a machine.
const EVERY: Duration = Duration::from_millis(100);
const MIB: u64 = 1 << 20;

/// What an agent may hold beyond what it held in peace, while a scenario goes on: half of what two pods may have in buffers
/// (`limits.pod.bufferBytes` of each, in two directions), and the rest for what is not entered there.
const GROWTH_DURING: u64 = 256 * MIB;
/// The same once all is over: the allocator keeps what it had for a while.
const GROWTH_AFTER: u64 = 64 * MIB;

/// Samples the memory of one agent until it is dropped.
pub(super) struct Sampler {
    name: &'static str,
    pid: u32,
    baseline: u64,
    highest: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sampler {
    /// From what it holds now, which is in peace.
    pub(super) fn start(name: &'static str, pid: u32) -> Self {
        let (highest, ended) = (Arc::new(AtomicU64::default()), Arc::new(AtomicBool::default()));
        let (seen, told) = (Arc::clone(&highest), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                seen.fetch_max(resident(pid).unwrap_or(0), Ordering::Relaxed);
                std::thread::sleep(EVERY);
            }
        });
        let baseline = resident(pid).unwrap_or(0);
        Self { name, pid, baseline, highest, ended, thread: Some(thread) }
    }

    /// Begins to look for the highest anew.
    pub(super) fn begin(&self) {
        self.highest.store(0, Ordering::Relaxed);
    }

    /// The most that it has grown by since [`Sampler::begin`], in MiB; too much is an error, and so is an agent that is gone.
    pub(super) fn during(&self) -> Result<u64> {
        ensure!(resident(self.pid).is_some(), "agent {} is gone", self.name);
        judge(self.name, "while it goes on", self.baseline, self.highest.load(Ordering::Relaxed), GROWTH_DURING)
    }

    /// The same of now, when all is over.
    pub(super) fn after(&self) -> Result<u64> {
        let now = resident(self.pid);
        ensure!(now.is_some(), "agent {} is gone", self.name);
        judge(self.name, "when all is over", self.baseline, now.unwrap_or(0), GROWTH_AFTER)
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn judge(name: &str, when: &str, baseline: u64, found: u64, allowed: u64) -> Result<u64> {
    let grown = found.saturating_sub(baseline);
    ensure!(
        grown <= allowed,
        "memory of agent {name} {when}: {} MiB more than the {} MiB in peace, allowed are {}",
        grown / MIB,
        baseline / MIB,
        allowed / MIB
    );
    Ok(grown / MIB)
}

/// `VmRSS` of proc(5).
fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_beyond_what_is_allowed_is_told_with_figures() {
        assert_eq!(judge("a", "now", 100 * MIB, 164 * MIB, 64 * MIB).ok(), Some(64));
        assert_eq!(judge("a", "now", 100 * MIB, 50 * MIB, 64 * MIB).ok(), Some(0));
        let told = judge("a", "now", 100 * MIB, 165 * MIB, 64 * MIB).err().map(|error| error.to_string());
        assert_eq!(
            told.as_deref(),
            Some("memory of agent a now: 65 MiB more than the 100 MiB in peace, allowed are 64")
        );
    }

    #[test]
    fn memory_of_this_process_is_found_and_grows() {
        let pid = std::process::id();
        let sampler = Sampler::start("self", pid);
        // Other tests of this process free some meanwhile.
        let held = vec![1u8; 200 << 20];
        assert!(resident(pid).unwrap_or(0) > 200 << 20);
        std::thread::sleep(EVERY * 3);
        assert!(sampler.during().is_ok_and(|grown| grown >= 100), "{:?}", sampler.during());
        assert!(sampler.after().is_err(), "200 MiB are more than what may remain");
        drop(held);
        assert!(Sampler::start("nobody", u32::MAX).during().is_err(), "there is no such process");
    }
}
