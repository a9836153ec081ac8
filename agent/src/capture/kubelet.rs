//! Tells the kernel programs which cgroup is the kubelet's, so that its probes reach enrolled pods.
//!
//! In: where it may be. Out: its id in the kernel's table, 0 while there is none. A kubelet that is started anew has another id
//! under the same path, so whoever owns this looks again and again. A cgroup that has pods below it is never taken for the
//! kubelet's: they would be the kubelet.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use aya::maps::{Array, Map, MapData, MapError};
use heddle_common::KubeletState;
use parking_lot::Mutex;
use tracing::{info, warn};

use super::{KernelError, netns::cookie_here, pins::Pins, tables::open};
use crate::config::{CaptureConfig, KubeletCgroup};

const MAP: &str = "KUBELET";

/// What each cgroup of pods has in its name, by the kubelet's own choice, whatever its driver.
const PODS: &str = "kubepods";

/// Where the kubelet's cgroup is now, for those who tell.
#[derive(Clone, Debug, Default)]
pub struct KubeletFound(Arc<Mutex<Option<PathBuf>>>);

impl KubeletFound {
    /// The cgroup; `None` while there is none, and nobody's probes pass.
    pub fn cgroup(&self) -> Option<PathBuf> {
        self.0.lock().clone()
    }
}

/// The kernel's table, and what is in it.
pub struct Kubelet {
    cgroup: PathBuf,
    setting: KubeletCgroup,
    table: Array<MapData, u64>,
    found: KubeletFound,
    /// Its id; `None` before the first look, 0 for none.
    known: Option<u64>,
}

impl Kubelet {
    pub(super) fn open(pins: &Pins, config: &CaptureConfig, found: KubeletFound) -> Result<Self, KernelError> {
        let mut table: Array<MapData, u64> = open(pins, MAP, Map::Array)?;
        let node = cookie_here().map_err(|error| at(MapError::IoError(error)))?;
        table.set(KubeletState::Netns as u32, node, 0).map_err(at)?;
        Ok(Self { cgroup: config.cgroup.clone(), setting: config.kubelet.clone(), table, found, known: None })
    }

    /// Looks where the kubelet is now. Whether it is anywhere.
    pub fn look(&mut self) -> Result<bool, KernelError> {
        let found = self.setting.candidates(&self.cgroup).into_iter().find_map(|path| self.id_of(path));
        let id = found.as_ref().map_or(0, |(id, _)| *id);
        if self.known != Some(id) {
            self.table.set(KubeletState::Cgroup as u32, id, 0).map_err(at)?;
            self.known = Some(id);
            let path = found.map(|(_, path)| path);
            self.tell(path.as_deref());
            *self.found.0.lock() = path;
        }
        Ok(id != 0)
    }

    /// With its id, which the kernel makes the number of its directory.
    fn id_of(&self, path: PathBuf) -> Option<(u64, PathBuf)> {
        let id = fs::metadata(&path).ok()?.ino();
        let is_it = match self.setting {
            KubeletCgroup::Auto => has_processes(&path),
            _ => true,
        };
        (is_it && !has_pods(&self.cgroup, &path)).then_some((id, path))
    }

    fn tell(&self, path: Option<&Path>) {
        match (path, &self.setting) {
            (Some(path), _) => {
                info!(cgroup = %path.display(), "the kubelet's probes reach enrolled pods by their declared ports");
            }
            (None, KubeletCgroup::Nobody) => {
                info!("probes reach enrolled pods as any plaintext does: capture.kubelet is empty");
            }
            (None, setting) => warn!(
                searched = ?setting.candidates(&self.cgroup),
                "the kubelet's cgroup is not there: its probes are taken for any plaintext, which STRICT refuses; set \
                 capture.kubelet to the cgroup of the kubelet, which has no pods below it"
            ),
        }
    }
}

fn has_processes(cgroup: &Path) -> bool {
    fs::read_to_string(cgroup.join("cgroup.events"))
        .is_ok_and(|events| events.lines().any(|line| line == "populated 1"))
}

/// Whether pods are below a cgroup, or it is below those of pods. What is above `root` is another machine's business: a node may
/// be a container of a pod itself.
fn has_pods(root: &Path, cgroup: &Path) -> bool {
    let names_pods = |name: &std::ffi::OsStr| name.to_string_lossy().contains(PODS);
    let own = cgroup.strip_prefix(root).unwrap_or(cgroup);
    let below = || fs::read_dir(cgroup).into_iter().flatten().flatten().any(|entry| names_pods(&entry.file_name()));
    own.iter().any(names_pods) || below()
}

fn at(source: MapError) -> KernelError {
    KernelError::Map { map: MAP, source }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_cgroup_with_pods_is_not_the_kubelets() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for place in [
            "kubelet.slice/kubelet.service",
            "kubelet.slice/kubelet-kubepods.slice",
            "kubelet/kubepods/burstable",
            "kubepods/kubelet",
            "system.slice/kubelet.service/sub",
        ] {
            fs::create_dir_all(root.join(place)).unwrap();
        }
        for (place, expected) in [
            ("kubelet.slice/kubelet.service", false),
            ("system.slice/kubelet.service", false),
            ("kubelet.slice", true),
            ("kubelet", true),
            ("kubepods/kubelet", true),
        ] {
            assert_eq!(has_pods(root, &root.join(place)), expected, "{place}");
        }
        let inner = root.join("kubepods/kubelet");
        assert!(!has_pods(&inner, &inner.join("system.slice")), "a node that is a pod's container");
    }
}
