//! How much of the machine's CPU went to programs that have nothing to do with the run.
//!
//! On a busy machine even ratios are wrong: a mesh has more processes than a direct path and so gets a larger share of
//! what is contended. Hence each measurement records what others used, and the table says so.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::bed::Cgroup;

/// The clock of the machine's and the run's CPU time.
pub(super) struct Noise {
    bed: Cgroup,
    /// Files of processes outside the bed that work for it: this one, and the kernel's threads for received packets.
    helpers: Vec<String>,
}

/// What the clock showed.
pub(super) struct Reading {
    at: Instant,
    machine: f64,
    run: f64,
}

impl Noise {
    pub(super) fn new(bed: &Cgroup) -> Self {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let softirq = entries.map(|entry| entry.path()).filter(|process| {
            fs::read_to_string(process.join("comm")).is_ok_and(|name| name.starts_with("ksoftirqd/"))
        });
        let mut helpers: Vec<String> = softirq.map(|process| process.join("stat").display().to_string()).collect();
        helpers.push("/proc/self/stat".to_owned());
        Self { bed: bed.clone(), helpers }
    }

    pub(super) fn read(&self) -> Result<Reading> {
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let stat = read("/proc/stat")?;
        let fields: Vec<f64> =
            stat.lines().next().unwrap_or_default().split_whitespace().flat_map(str::parse).collect();
        // proc_stat(5): user nice system idle iowait irq softirq steal; what a host steals is used by others, too.
        let machine = fields.iter().take(8).sum::<f64>() - fields.iter().skip(3).take(2).sum::<f64>();
        let mut run = self.bed.cpu_seconds()?;
        for helper in &self.helpers {
            run += process_ticks(&read(helper)?).with_context(|| format!("no CPU times in {helper}"))? / ticks;
        }
        Ok(Reading { at: Instant::now(), machine: machine / ticks, run })
    }
}

impl Reading {
    /// CPUs that others used on average since an earlier reading.
    pub(super) fn others_since(&self, earlier: &Self) -> f64 {
        let others = (self.machine - earlier.machine) - (self.run - earlier.run);
        // The two are counted in different ways: what is below 0 is that, and not less than nothing.
        (others / (self.at - earlier.at).as_secs_f64()).max(0.0)
    }
}

/// User and system time of a line of proc_pid_stat(5), whose second field may hold spaces and brackets.
fn process_ticks(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    Some(fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?)
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 30 12 0 0 20 0 1 0 5 0 0";
        assert_eq!(process_ticks(stat), Some(42.0));
    }

    #[test]
    fn what_the_run_did_not_use_others_did() {
        let now = Instant::now();
        let earlier = Reading { at: now - std::time::Duration::from_secs(2), machine: 10.0, run: 1.0 };
        let later = Reading { at: now, machine: 14.0, run: 2.0 };
        assert!((later.others_since(&earlier) - 1.5).abs() < 1e-9);
    }
}
