//! `capture.kubelet`: which cgroup is the kubelet's, whose probes reach enrolled pods.

use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use super::{resolve::absolute_path, yaml::MapReader};

const ALLOWED: &str = "auto, an absolute path, or \"\" for none";

/// Below the cgroup v2 mount, where distributions run the kubelet: with systemd as a unit of its own (in kind, on EKS and
/// elsewhere), as a part of k3s, RKE2, MicroK8s or k0s, or in the cgroup that `--kubelet-cgroups` names.
const USUAL: [&str; 12] = [
    "kubelet.slice/kubelet.service",
    "system.slice/kubelet.service",
    "runtime.slice/kubelet.service",
    "podruntime/kubelet",
    "system.slice/k3s.service",
    "system.slice/k3s-agent.service",
    "system.slice/rke2-server.service",
    "system.slice/rke2-agent.service",
    "system.slice/snap.microk8s.daemon-kubelite.service",
    "system.slice/k0scontroller.service",
    "system.slice/k0sworker.service",
    "kubelet",
];

/// Which cgroup is the kubelet's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KubeletCgroup {
    /// The first of the usual ones that has a process.
    #[default]
    Auto,
    /// This one.
    At(PathBuf),
    /// None: nobody's probes pass.
    Nobody,
}

impl KubeletCgroup {
    /// Reads the key, whose path must be below the cgroup that the programs are attached to: they see no other.
    pub(super) fn read(capture: &MapReader<'_>, cgroup: Option<&Path>) -> Self {
        let read = capture.parsed("kubelet", ALLOWED, |text| match text {
            "auto" => Some(Self::Auto),
            "" => Some(Self::Nobody),
            path => absolute_path(path).map(Self::At),
        });
        if let (Some(Self::At(path)), Some(cgroup)) = (&read, cgroup)
            && (!path.starts_with(cgroup) || path == cgroup)
        {
            capture.complain("kubelet", format!("found {:?}, which is not below capture.cgroup", path.display()));
        }
        read.unwrap_or_default()
    }

    /// Where it may be, the likeliest first.
    pub fn candidates(&self, cgroup: &Path) -> Vec<PathBuf> {
        match self {
            Self::Auto => USUAL.iter().map(|place| cgroup.join(place)).collect(),
            Self::At(path) => vec![path.clone()],
            Self::Nobody => Vec::new(),
        }
    }
}

impl Serialize for KubeletCgroup {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::At(path) => serializer.collect_str(&path.display()),
            Self::Nobody => serializer.serialize_str(""),
        }
    }
}
