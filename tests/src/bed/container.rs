//! What an agent has in a container that is not privileged: some capabilities, no way to more, and a file system of which little
//! can be written.
//!
//! In: a program and the capabilities that its pod's securityContext adds. It runs as root, as the DaemonSet's container does, in a
//! mount namespace of its own in which all is read-only that a container runtime makes read-only: the root file system, /proc/sys
//! and the cgroups. Its own directories and the machine's proc are mounted as from hostPath volumes. There is no image: the files
//! are this machine's, and so is what a seccomp profile would refuse.

use std::path::{Path, PathBuf};

use super::cgroup::Cgroup;
use super::launch::Launch;
use super::node::Node;

/// Where the agent finds the machine's proc, in its node's directory.
const PROC: &str = "proc";

/// `unshare` has given it a mount namespace. A root file system that stays writable would let tests pass that show nothing.
const MOUNTS: &str = "set -e; directory=$1 authority=$2 cgroups=$3; shift 3; \
    mkdir -p \"$directory/proc\"; \
    mount --rbind \"$directory\" \"$directory\"; mount --bind \"$authority\" \"$authority\"; \
    mount --bind /proc \"$directory/proc\"; \
    mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys; \
    mount -o remount,bind,ro \"$cgroups\"; \
    mount -o remount,bind,ro \"$(findmnt -no TARGET -T \"$directory/..\")\"; mount -o remount,bind,ro /; \
    if touch \"$directory/../written\" 2>/dev/null; then echo 'the root file system can be written' >&2; exit 1; fi; \
    exec \"$@\"";

/// A container's rights.
#[derive(Clone, Debug)]
pub(super) struct Container {
    capabilities: Vec<&'static str>,
}

impl Container {
    /// With these capabilities, in capital letters and without `CAP_`, as Kubernetes writes them.
    pub(super) fn new(capabilities: &[&'static str]) -> Self {
        Self { capabilities: capabilities.to_vec() }
    }

    /// What `capture.proc` has to be.
    pub(super) fn proc(node: &Node) -> PathBuf {
        node.directory().join(PROC)
    }

    /// A launch of a program of a node.
    pub(super) fn launch(&self, title: String, node: &Node, cgroup: &Cgroup, program: &Path) -> Launch {
        // A program that root starts gets what is in the bounding set.
        let bounding = self.capabilities.iter().map(|name| format!(",+{}", name.to_lowercase()));
        Launch::new(title, "unshare", node.netns(), cgroup)
            .words("--mount --propagation private sh -c")
            .arg(MOUNTS)
            .arg("sh")
            .args([node.directory().to_owned(), node.bed().ca_directory(), node.bed().cgroup_mount.clone()])
            .words("setpriv --no-new-privs --inh-caps=-all")
            .arg(format!("--bounding-set=-all{}", bounding.collect::<String>()))
            .arg(program)
    }
}
