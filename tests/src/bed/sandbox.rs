//! What kubelet and a container runtime make of a pod on its node: cgroups named after the pod's uid, and a process that
//! keeps the pod's network namespace findable while no application runs.
//!
//! Beds of plain files have none of that: there the pod's object names its namespace, and one cgroup is enough.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use parking_lot::Mutex;

use super::cgroup::Cgroup;
use super::launch::{Launch, binary};
use super::netns::NetNs;
use super::process::Process;
use super::undo::Undo;
use crate::kubernetes::fresh;

/// It only has to start.
const PAUSED_WITHIN: Duration = Duration::from_secs(10);

/// How the node names its pods' cgroups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupDriver {
    /// As kubelet's and containerd's `cgroupfs` drivers do.
    #[default]
    Cgroupfs,
    /// As with systemd: slices and scopes.
    Systemd,
}

impl CgroupDriver {
    /// The pod's cgroup, relative to the node's.
    fn pod(self, uid: &str) -> PathBuf {
        match self {
            Self::Cgroupfs => ["kubepods", "burstable", &format!("pod{uid}")].iter().collect(),
            Self::Systemd => {
                let pod = format!("kubepods-burstable-pod{}.slice", uid.replace('-', "_"));
                ["kubepods.slice", "kubepods-burstable.slice", &pod].iter().collect()
            }
        }
    }

    /// A container's cgroup, relative to the pod's.
    fn container(self, id: &str) -> String {
        match self {
            Self::Cgroupfs => id.to_owned(),
            Self::Systemd => format!("cri-containerd-{id}.scope"),
        }
    }
}

/// A pod's cgroups and its pause process.
pub(super) struct Sandbox {
    /// Above all processes of the pod.
    pub(super) pod: Cgroup,
    /// Where its programs are started.
    pub(super) container: Cgroup,
    /// Where the pause process lives; `None` where there is none.
    pause_cgroup: Option<Cgroup>,
    pause: Arc<Mutex<Option<Process>>>,
}

impl Sandbox {
    /// One cgroup for everything.
    pub(super) fn plain(path: PathBuf) -> Result<Self> {
        let pod = Cgroup::make(path)?;
        Ok(Self { container: pod.clone(), pod, pause_cgroup: None, pause: Arc::default() })
    }

    /// The cgroups that a kubelet and containerd would make.
    pub(super) fn like_kubelet(node: &Path, driver: CgroupDriver, uid: &str) -> Result<Self> {
        let pod = Cgroup::make(node.join(driver.pod(uid)))?;
        let container = || Cgroup::make(pod.path().join(driver.container(&fresh::secret())));
        Ok(Self { container: container()?, pause_cgroup: Some(container()?), pod, pause: Arc::default() })
    }

    /// Starts the pause process, if there is to be one, once the namespace is made.
    pub(super) fn start_pause(&self, pod: &str, netns: &NetNs, undo: &Undo) -> Result<()> {
        let Some(cgroup) = &self.pause_cgroup else { return Ok(()) };
        let launch = Launch::new(format!("the pause process of {pod}"), binary("heddle-peer")?, netns, cgroup);
        let started = Arc::clone(&self.pause);
        // Killed with the bed's cgroup; to be reaped, too, although handles of the pod live on.
        undo.push(format!("pause process of {pod}"), move || {
            started.lock().take();
            Ok(())
        });
        let mut pause = launch.arg("pause").start()?;
        // Before that it is on its way into the cgroup and the namespace.
        let paused = pause.wait_line(PAUSED_WITHIN, |line| line.contains("paused")).map(drop);
        *self.pause.lock() = Some(pause);
        paused
    }

    /// The pause process, if there is one.
    pub(super) fn pause_pid(&self) -> Option<u32> {
        self.pause.lock().as_ref().map(Process::pid)
    }

    /// Kills all processes and removes the cgroups.
    pub(super) fn end(&self) -> Result<()> {
        self.pod.kill()?;
        self.pause.lock().take();
        self.pod.remove()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_are_named_as_kubelet_and_containerd_name_them() {
        let uid = "0a1b2c3d-0000-4000-8000-000000000001";
        let cases = [
            (CgroupDriver::Cgroupfs, "kubepods/burstable/pod0a1b2c3d-0000-4000-8000-000000000001", "c0ffee"),
            (
                CgroupDriver::Systemd,
                "kubepods.slice/kubepods-burstable.slice/\
                 kubepods-burstable-pod0a1b2c3d_0000_4000_8000_000000000001.slice",
                "cri-containerd-c0ffee.scope",
            ),
        ];
        for (driver, pod, container) in cases {
            assert_eq!((driver.pod(uid), driver.container("c0ffee")), (PathBuf::from(pod), container.to_owned()));
        }
    }
}
