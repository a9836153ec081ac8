//! What the machine must offer before a bed can stand on it, checked once and reported in one message.
//!
//! Paths that differ between machines (the cgroup v2 mount) are found here, too. Changes nothing.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Result, bail};

const IP: (&str, &str) = ("ip", "install iproute2");
const TCPDUMP: (&str, &str) = ("tcpdump", "install tcpdump");

/// Facts about the machine that beds use.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Where cgroup v2 is mounted.
    pub cgroup2: PathBuf,
}

/// Finds what beds need, or names everything that is missing together with its remedy.
pub fn machine() -> Result<Machine> {
    static FOUND: OnceLock<Result<Machine, String>> = OnceLock::new();
    match FOUND.get_or_init(look) {
        Ok(machine) => Ok(machine.clone()),
        Err(missing) => bail!("this machine cannot build a test bed: {missing}"),
    }
}

fn look() -> Result<Machine, String> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let filesystems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let cgroup2 = cgroup2_mount(&mounts);
    let mut missing = Vec::new();
    if !rustix::process::geteuid().is_root() {
        missing.push("not root: run as root".to_owned());
    }
    if cgroup2.is_none() {
        missing.push("no cgroup v2 is mounted: mount -t cgroup2 none /sys/fs/cgroup".to_owned());
    }
    if !filesystems.lines().any(|line| line.ends_with("\tbpf")) {
        missing.push("the kernel has no bpf file system: CONFIG_BPF_SYSCALL is needed".to_owned());
    }
    if !Path::new("/proc/sys/net/ipv6").exists() {
        missing.push("the kernel has IPv6 off: boot without ipv6.disable=1".to_owned());
    }
    for (program, remedy) in [IP, TCPDUMP] {
        if !on_path(program) {
            missing.push(format!("no program `{program}`: {remedy}"));
        }
    }
    match (missing.is_empty(), cgroup2) {
        (true, Some(cgroup2)) => Ok(Machine { cgroup2 }),
        _ => Err(missing.join("; ")),
    }
}

/// The first cgroup v2 mount in the text of `/proc/self/mounts`.
fn cgroup2_mount(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (path, kind) = (words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(path))
    })
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup_v2_mount_is_found_on_unified_and_hybrid_machines() {
        let unified = "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n";
        let hybrid = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let old = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n";
        assert_eq!(cgroup2_mount(unified), Some(PathBuf::from("/sys/fs/cgroup")));
        assert_eq!(cgroup2_mount(hybrid), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(cgroup2_mount(old), None);
    }
}
