//! Takes Heddle out of the kernel, whoever put it there: an agent of this or another version, or one that was killed.
//!
//! In: where pins are, and the machine's proc file system. Out: what was there. Links go first, so that no connection is captured
//! any more; then what was set in pods' network namespaces, which are found by their processes and by their names. Whatever
//! cannot be taken out is told, and the rest is. To be done again until nothing is left; no agent may run meanwhile.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    NetworkNamespace,
    pins::Pins,
    return_route,
    sandbox::{NamespaceId, id_of},
};

/// Where a machine names its network namespaces, seen from its first process: those of pods without one are there.
const NAMED: [&str; 2] = ["1/root/run/netns", "1/root/var/run/netns"];

/// What was taken out.
#[derive(Debug, Default)]
pub struct Uninstalled {
    /// Programs that were attached to the cgroup, to pods' namespaces and to cables; nothing where no agent has ever been.
    pub links: Option<usize>,
    /// Network namespaces that had a rule, a route and settings.
    pub namespaces: usize,
    /// What could not be taken out, each with its reason.
    pub failures: Vec<String>,
}

/// Takes out everything.
pub fn uninstall(pins: &Path, proc: &Path) -> Uninstalled {
    let mut done = Uninstalled::default();
    match Pins::remove_all(pins) {
        Ok(links) => done.links = links,
        Err(error) => done.failures.push(format!("remove {}: {error}", pins.display())),
    }
    for path in namespaces(proc) {
        match clear(&path, proc) {
            Ok(was_there) => done.namespaces += usize::from(was_there),
            // Its last process has ended.
            Err(error) if !path.exists() => drop(error),
            Err(error) => done.failures.push(format!("clear network namespace {}: {error}", path.display())),
        }
    }
    done
}

fn clear(path: &Path, proc: &Path) -> io::Result<bool> {
    let netns = NetworkNamespace::open(path)?;
    netns.run(|| return_route::clear(proc))?
}

/// A path to each network namespace of the machine.
fn namespaces(proc: &Path) -> Vec<PathBuf> {
    let mut seen = HashSet::new();
    let of_processes = entries(proc).filter(|entry| is_pid(entry)).map(|entry| entry.join("ns/net"));
    let named = NAMED.iter().flat_map(|names| entries(&proc.join(names)));
    of_processes.chain(named).filter(|path| id(path).is_some_and(|id| seen.insert(id))).collect()
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn is_pid(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `None` for one that is gone, and for those that the kernel keeps for itself.
fn id(path: &Path) -> Option<NamespaceId> {
    fs::metadata(path).ok().map(|metadata| id_of(&metadata))
}
