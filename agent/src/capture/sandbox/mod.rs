//! A pod's network namespace, found by the pod's UID: the kubelet puts a pod's processes into a cgroup that carries it.
//!
//! In: a UID. Out: the open namespace of the pod's oldest process. That is the sandbox's own, or the first container's where
//! the runtime keeps no process in the sandbox; later ones are the application's, which may be in a namespace that it made
//! itself. Those in the node's own namespace are none of the pod's: a runtime's monitor of the container (`conmon`), and what is on
//! its way from there. Only reading.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::{config::unescape, privileges::explained};

/// How deep below a root a pod's cgroup may be: kubelets inside a container add levels of their own
/// (`kubelet.slice/kubelet-kubepods.slice/...`), and a cgroup root can be configured.
const DEEPEST: usize = 6;

/// Cgroups that are looked at in one search. Nodes have some hundreds outside of pods.
const MOST_CGROUPS: usize = 20_000;

/// Processes that are looked at for the oldest one.
const MOST_PROCESSES: usize = 10_000;

/// Why a pod's namespace was not found.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// There is no cgroup of this pod, or no process in it: it is being started, or gone.
    #[error("pod {uid} has no process on this node yet: none of {} has a cgroup of it with one", roots(.searched))]
    NotThere {
        /// The pod.
        uid: String,
        /// Where its cgroup was looked for.
        searched: Vec<PathBuf>,
    },
    /// Its processes are hidden from us.
    #[error("the processes in {} have no number here: run the agent in the machine's process namespace (hostPID: true)", cgroup.display())]
    Hidden {
        /// The pod's cgroup.
        cgroup: PathBuf,
    },
    /// A namespace could not be opened.
    #[error("open {}: {source}", path.display())]
    Open {
        /// Of a process of the pod.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What tells one network namespace from all others that exist at the same time.
pub(super) type NamespaceId = (u64, u64);

/// Where pods' cgroups and processes are.
#[derive(Clone, Debug)]
pub struct Sandboxes {
    proc: PathBuf,
    /// The cgroup v2 directory first, then v1 hierarchies.
    roots: Vec<PathBuf>,
    /// The node's own network namespace.
    node: Option<NamespaceId>,
}

/// A namespace that was found.
#[derive(Debug)]
pub(super) struct Sandbox {
    pub(super) handle: File,
    pub(super) process: Process,
}

/// A process of a pod. Its number may be another's by the next look, so the rest is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pid: u32,
    /// In clock ticks since the machine's start.
    started: u64,
    /// The cgroup that it was found in.
    cgroup: PathBuf,
}

impl Sandboxes {
    /// Below `cgroup` (v2) and, where nothing of a pod is there, below the cgroup v1 hierarchies that are mounted.
    pub fn new(cgroup: &Path, proc: &Path) -> Self {
        // Our own: the machine's proc may be mounted elsewhere, and its mounts are not ours.
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let node = fs::metadata("/proc/self/ns/net").ok().map(|metadata| id_of(&metadata));
        Self::of_roots(proc, std::iter::once(cgroup.to_owned()).chain(v1_mounts(&mounts)).collect(), node)
    }

    fn of_roots(proc: &Path, roots: Vec<PathBuf>, node: Option<NamespaceId>) -> Self {
        Self { proc: proc.to_owned(), roots, node }
    }

    /// The machine's proc file system.
    pub(super) fn proc(&self) -> &Path {
        &self.proc
    }

    /// Opens the network namespace of a pod.
    pub(super) fn open(&self, uid: &str) -> Result<Sandbox, SandboxError> {
        let mut hidden = None;
        for cgroup in self.roots.iter().flat_map(|root| find(root, &PodName::new(uid))) {
            let found = self.processes(&cgroup);
            hidden = hidden.or((found.hidden && found.processes.is_empty()).then(|| cgroup.clone()));
            // The oldest may end while it is looked at: then the next.
            for process in found.processes {
                if let Some(handle) = self.open_of(&process)?.filter(|handle| !self.is_nodes(handle)) {
                    return Ok(Sandbox { handle, process });
                }
            }
        }
        match hidden {
            Some(cgroup) => Err(SandboxError::Hidden { cgroup }),
            None => Err(SandboxError::NotThere { uid: uid.to_owned(), searched: self.roots.clone() }),
        }
    }

    /// The namespace that a pod's processes are in now, `known` being the process that it was found by last. `None` where
    /// the pod has no process at the moment.
    pub(super) fn current(&self, uid: &str, known: &Process) -> Option<(NamespaceId, Process)> {
        if let Ok(metadata) = fs::metadata(self.namespace_of(known.pid))
            && self.is_still(known)
        {
            return Some((id_of(&metadata), known.clone()));
        }
        let Sandbox { handle, process } = self.open(uid).ok()?;
        Some((id_of(&handle.metadata().ok()?), process))
    }

    /// Opened first and then looked at: a number that became another process's in between is noticed.
    fn open_of(&self, process: &Process) -> Result<Option<File>, SandboxError> {
        let path = self.namespace_of(process.pid);
        match File::open(&path) {
            Ok(handle) => Ok(self.is_still(process).then_some(handle)),
            Err(_) if !self.is_still(process) => Ok(None),
            Err(source) => Err(SandboxError::Open { path, source: explained(source) }),
        }
    }

    fn is_nodes(&self, handle: &File) -> bool {
        handle.metadata().is_ok_and(|metadata| Some(id_of(&metadata)) == self.node)
    }

    fn namespace_of(&self, pid: u32) -> PathBuf {
        self.proc.join(pid.to_string()).join("ns/net")
    }

    fn is_still(&self, process: &Process) -> bool {
        self.started(process.pid) == Some(process.started) && pids(&process.cgroup).any(|pid| pid == process.pid)
    }

    fn started(&self, pid: u32) -> Option<u64> {
        started(&fs::read(self.proc.join(pid.to_string()).join("stat")).ok()?)
    }

    /// The processes of a cgroup and all below it, oldest first.
    fn processes(&self, cgroup: &Path) -> Found {
        let mut found = Found::default();
        let mut waiting = vec![cgroup.to_owned()];
        while let Some(cgroup) = waiting.pop() {
            for pid in pids(&cgroup).take(MOST_PROCESSES.saturating_sub(found.processes.len())) {
                // Processes outside of our process namespace show as 0.
                found.hidden |= pid == 0;
                let process = |started| Process { pid, started, cgroup: cgroup.clone() };
                found.processes.extend(self.started(pid).filter(|_| pid != 0).map(process));
            }
            waiting.extend(children(&cgroup));
        }
        found.processes.sort_by_key(|process| (process.started, process.pid));
        found
    }
}

#[derive(Debug, Default)]
struct Found {
    processes: Vec<Process>,
    hidden: bool,
}

pub(super) fn id_of(metadata: &fs::Metadata) -> NamespaceId {
    (metadata.dev(), metadata.ino())
}

/// The names that a pod's cgroup can have.
#[derive(Debug)]
struct PodName {
    /// `pod<UID>`: the kubelet's cgroupfs driver.
    cgroupfs: String,
    /// `...-pod<UID>.slice` with underscores in the UID, since a dash in a slice's name stands for a level.
    systemd: String,
}

impl PodName {
    fn new(uid: &str) -> Self {
        Self { cgroupfs: format!("pod{uid}"), systemd: format!("-pod{}.slice", uid.replace('-', "_")) }
    }

    fn is(&self, name: &str) -> bool {
        name == self.cgroupfs || name.ends_with(&self.systemd)
    }
}

/// Whether a cgroup is a pod's, by the same names: there is no other pod inside.
fn is_pod(name: &str) -> bool {
    let slice = name.strip_suffix(".slice").and_then(|name| name.rsplit_once("-pod")).map(|(_, uid)| uid);
    let uid = slice.or_else(|| name.strip_prefix("pod"));
    // Static pods of the kubelet have a hash without dashes for a UID.
    uid.is_some_and(|uid| {
        uid.len() >= 32 && uid.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'-' | b'_'))
    })
}

/// The cgroups of a pod below a root, nearest first; usually one.
fn find(root: &Path, pod: &PodName) -> Vec<PathBuf> {
    let (mut found, mut level, mut seen) = (Vec::new(), vec![root.to_owned()], 0);
    for _ in 0..DEEPEST {
        let mut next = Vec::new();
        for child in level.iter().flat_map(|cgroup| children(cgroup)) {
            seen += 1;
            let name = child.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if pod.is(name) {
                found.push(child);
            } else if !is_pod(name) {
                next.push(child);
            }
        }
        if !found.is_empty() || seen > MOST_CGROUPS {
            break;
        }
        level = next;
    }
    found
}

fn children(cgroup: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(cgroup) else { return Vec::new() };
    let directories = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(|entry| entry.path()).collect()
}

/// What cannot be read, such as a cgroup that was just removed or a threaded one, has none.
fn pids(cgroup: &Path) -> impl Iterator<Item = u32> {
    let text = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<_>>().into_iter()
}

/// Field 22 of proc_pid_stat(5). The second is the command in parentheses, with any character in it.
pub(super) fn started(stat: &[u8]) -> Option<u64> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// The mounts of type `cgroup` in the text of /proc/self/mounts.
pub(super) fn v1_mounts(mounts: &str) -> Vec<PathBuf> {
    let fields = mounts.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let of_v1 = fields.filter(|fields| fields.get(2) == Some(&"cgroup"));
    of_v1.filter_map(|fields| fields.get(1).map(|path| PathBuf::from(unescape(path)))).collect()
}

fn roots(roots: &[PathBuf]) -> String {
    roots.iter().map(|root| root.display().to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
