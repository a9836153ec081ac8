//! The agent's own memory, CPU time and descriptors, under the names that every Prometheus client uses.
//!
//! Read from `/proc/self` when scraped. A value that cannot be read keeps its last one: a scrape never fails for it.

use std::fs;

use prometheus::{Counter, Gauge, IntGauge};

use super::{Metrics, instrument::advance_seconds};

/// Ticks per second in `/proc/PID/stat`: `USER_HZ`, part of the kernel's ABI and 100 on every architecture we build for.
const USER_HZ: f64 = 100.0;

/// Where the values go.
pub(super) struct Gauges<'a> {
    pub(super) cpu: &'a Counter,
    pub(super) resident: &'a IntGauge,
    pub(super) virtual_memory: &'a IntGauge,
    pub(super) threads: &'a IntGauge,
    pub(super) fds: &'a IntGauge,
    pub(super) max_fds: &'a IntGauge,
    pub(super) start: &'a Gauge,
}

/// The rows about the process, which each table has under the same names.
macro_rules! process_gauges {
    ($table:expr) => {
        Gauges {
            cpu: &$table.process_cpu,
            resident: &$table.process_resident,
            virtual_memory: &$table.process_virtual,
            threads: &$table.process_threads,
            fds: &$table.process_fds,
            max_fds: &$table.process_max_fds,
            start: &$table.process_start,
        }
    };
}

pub(super) use process_gauges;

impl Metrics {
    pub(super) fn refresh_process(&self) {
        process_gauges!(self).refresh();
    }
}

impl Gauges<'_> {
    pub(super) fn refresh(&self) {
        if let Ok(status) = fs::read_to_string("/proc/self/status") {
            set(self.resident, kibibytes(&status, "VmRSS:"));
            set(self.virtual_memory, kibibytes(&status, "VmSize:"));
            set(self.threads, number(&status, "Threads:"));
        }
        if let Ok(stat) = fs::read_to_string("/proc/self/stat") {
            self.refresh_times(&stat);
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            // One of them is the directory that is being read.
            set(self.fds, i64::try_from(entries.count().saturating_sub(1)).ok());
        }
        if let Ok(limits) = fs::read_to_string("/proc/self/limits") {
            set(self.max_fds, soft_limit(&limits, "Max open files"));
        }
    }

    fn refresh_times(&self, stat: &str) {
        // proc(5): utime, stime and starttime are fields 14, 15 and 22.
        if let (Some(user), Some(system)) = (stat_field(stat, 14), stat_field(stat, 15)) {
            advance_seconds(self.cpu, (user + system) / USER_HZ);
        }
        if let (Some(boot), Some(started)) = (boot_time(), stat_field(stat, 22)) {
            self.start.set(boot + started / USER_HZ);
        }
    }
}

fn set(gauge: &IntGauge, value: Option<i64>) {
    if let Some(value) = value {
        gauge.set(value);
    }
}

fn kibibytes(status: &str, key: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse::<i64>().ok().map(|kib| kib * 1024)
}

fn number(status: &str, key: &str) -> Option<i64> {
    status.lines().find_map(|line| line.strip_prefix(key))?.trim().parse().ok()
}

/// Field `number` of `/proc/PID/stat`, counted from 1. The command name (2) may hold spaces and brackets: count from its end.
fn stat_field(stat: &str, number: usize) -> Option<f64> {
    let after_name = stat.rsplit_once(')')?.1;
    after_name.split_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn soft_limit(limits: &str, key: &str) -> Option<i64> {
    limits.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test is the message")]

    use super::*;

    #[test]
    fn fields_are_counted_after_a_command_name_with_brackets_and_spaces() {
        let stat = "7 (a) b) (c) S 1 2 3 4 5 6 7 8 9 10 111 222 13 14 15 16 17 18 999";
        assert_eq!(stat_field(stat, 14), Some(111.0));
        assert_eq!(stat_field(stat, 15), Some(222.0));
        assert_eq!(stat_field(stat, 22), Some(999.0));
    }

    #[test]
    fn sizes_and_limits_are_read_in_bytes_and_pieces() {
        assert_eq!(kibibytes("Name:\tx\nVmRSS:\t  2048 kB\n", "VmRSS:"), Some(2 * 1024 * 1024));
        let limits = "Max open files            1024                 524288               files\n";
        assert_eq!(soft_limit(limits, "Max open files"), Some(1024));
    }

    #[test]
    fn this_process_was_started_in_the_past_and_after_boot() {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let started = boot_time().unwrap() + stat_field(&stat, 22).unwrap() / USER_HZ;
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        // btime is rounded to a second.
        assert!(started > boot_time().unwrap() && started < now + 2.0, "started {started}, now {now}");
    }
}
