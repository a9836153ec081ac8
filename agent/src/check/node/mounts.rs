//! File systems: cgroup v2, where the programs are attached; bpffs, where they are pinned; proc, where pods' processes are.

use std::{fs, io, path::Path};

use rustix::fs::{Access, access, statfs};

use crate::{
    check::Outcome,
    config::{CaptureConfig, cgroup2_mount, check_runs_in},
};

/// Type numbers of linux/magic.h.
const CGROUP2: u64 = 0x6367_7270;
const BPF: u64 = 0xcafe_4a11;
/// Cgroups that are looked at for hidden processes.
const MOST_CGROUPS: usize = 2_000;

pub(super) fn check(capture: &CaptureConfig) -> Vec<Outcome> {
    vec![
        cgroup(&capture.cgroup),
        own_cgroup(&capture.cgroup),
        pins(&capture.pins),
        processes(&capture.proc, &capture.cgroup),
    ]
}

fn cgroup(path: &Path) -> Outcome {
    let check = "cgroup v2";
    let seen = match type_of(path) {
        Ok(CGROUP2) => return Outcome::ok(check, format!("{} (capture.cgroup)", path.display())),
        Ok(_) => format!("{} (capture.cgroup) is no cgroup v2 folder", path.display()),
        Err(error) => format!("{} (capture.cgroup): {error}", path.display()),
    };
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let remedy = match cgroup2_mount(&mounts) {
        Some(mount) => format!("set capture.cgroup to {}, where it is mounted, or to a folder below", mount.display()),
        None => {
            "mount it: mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified".to_owned()
        }
    };
    Outcome::error(check, seen, remedy)
}

fn own_cgroup(cgroup: &Path) -> Outcome {
    let check = "own cgroup";
    match check_runs_in(cgroup) {
        Ok(()) => Outcome::ok(check, "the programs will see the agent's own sockets"),
        Err(error) => Outcome::error(
            check,
            error.to_string(),
            "start the agent, or this check, below capture.cgroup, which has to have all pods too",
        ),
    }
}

fn pins(path: &Path) -> Outcome {
    let check = "bpffs";
    // The agent makes the folders that are not there.
    let Some(there) = path.ancestors().find(|ancestor| ancestor.exists()) else {
        return Outcome::error(check, format!("{} (capture.pins) is not absolute", path.display()), "set capture.pins");
    };
    let place = format!("{} (capture.pins)", path.display());
    let mount =
        "mount it: mount -t bpf bpf /sys/fs/bpf; in a pod, as a hostPath with mountPropagation: HostToContainer";
    match (type_of(there), access(there, Access::WRITE_OK)) {
        (Ok(BPF), Ok(())) => Outcome::ok(check, place),
        (Ok(BPF), Err(error)) => Outcome::error(
            check,
            format!("{place} cannot be written: {error}"),
            "mount it for writing, and run as root",
        ),
        (Ok(_), _) => Outcome::error(check, format!("{place} is not on a bpf file system"), mount),
        (Err(error), _) => Outcome::error(check, format!("{place}: {error}"), mount),
    }
}

/// A process of another process namespace has the number 0 in the lists of its cgroup.
fn processes(proc: &Path, cgroup: &Path) -> Outcome {
    let check = "processes of pods";
    if let Err(error) = fs::read(proc.join("1/status")) {
        let remedy = "set capture.proc to where the machine's proc is mounted";
        return Outcome::error(check, format!("{} (capture.proc) shows no process 1: {error}", proc.display()), remedy);
    }
    match hidden_in(cgroup) {
        Some(folder) => Outcome::error(
            check,
            format!("those in {folder} have no number here"),
            "run in the machine's process namespace (hostPID: true)",
        ),
        None => Outcome::ok(check, format!("all of them can be seen in {} (capture.proc)", proc.display())),
    }
}

fn hidden_in(cgroup: &Path) -> Option<String> {
    let mut folders = vec![cgroup.to_owned()];
    for _ in 0..MOST_CGROUPS {
        let folder = folders.pop()?;
        // A cgroup may go while it is looked at.
        let processes = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        if processes.lines().any(|process| process == "0") {
            return Some(folder.display().to_string());
        }
        let entries = fs::read_dir(&folder).into_iter().flatten().filter_map(Result::ok);
        folders.extend(
            entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()),
        );
    }
    None
}

fn type_of(path: &Path) -> io::Result<u64> {
    Ok(u64::try_from(statfs(path)?.f_type).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::check::Standing;

    #[test]
    fn an_ordinary_folder_is_neither_a_cgroup_nor_a_bpffs() {
        let folder = tempfile::tempdir().unwrap();
        let outcome = cgroup(folder.path());
        assert_eq!(outcome.standing, Standing::Error);
        assert!(outcome.remedy.unwrap().contains("cgroup"));
        let outcome = pins(&folder.path().join("deeper/heddle"));
        assert_eq!(outcome.standing, Standing::Error);
        assert!(outcome.remedy.unwrap().contains("mount -t bpf"));
    }

    #[test]
    fn hidden_processes_are_found_below() {
        let folder = tempfile::tempdir().unwrap();
        let pod = folder.path().join("kubepods/pod1");
        fs::create_dir_all(&pod).unwrap();
        fs::write(pod.join("cgroup.procs"), "17\n").unwrap();
        assert_eq!(hidden_in(folder.path()), None);
        fs::write(pod.join("cgroup.procs"), "17\n0\n").unwrap();
        assert_eq!(hidden_in(folder.path()), Some(pod.display().to_string()));
        let outcome = processes(Path::new("/proc"), folder.path());
        assert!(outcome.remedy.unwrap().contains("hostPID"));
    }
}
