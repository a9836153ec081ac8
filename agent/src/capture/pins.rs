//! Where the kernel's objects are pinned, so that they outlive the agent.
//!
//! `PINS/maps/v5/NAME`, `PINS/links/NAME-CGROUP`, `PINS/pods/COOKIE` and `PINS/wires/COOKIE-DEVICE`. The folder of the maps carries
//! the version of their layouts: an agent never adopts maps that it would misread. Links it does adopt, whatever the
//! layout: each is given the new program, and its maps with that, in one step.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use heddle_common::LAYOUT_VERSION;

use super::sys;

/// Type number of a BPF file system, `BPF_FS_MAGIC` of linux/magic.h.
const BPF_FS: u64 = 0xcafe_4a11;

const MAPS: &str = "maps";
/// Folders of links.
const LINKS: [&str; 3] = ["links", "pods", "wires"];

/// The folders of one agent's pins.
#[derive(Clone, Debug)]
pub(super) struct Pins(PathBuf);

impl Pins {
    /// Makes the folders, after a check that they are on a BPF file system.
    pub(super) fn create(base: &Path) -> io::Result<Self> {
        let pins = Self(base.to_owned());
        // Before the check, since only what exists can be asked; a folder on a wrong file system does no harm.
        fs::create_dir_all(base)?;
        let file_system = rustix::fs::statfs(base)?.f_type;
        if u64::try_from(file_system) != Ok(BPF_FS) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "it is not on a bpf file system: mount one with \"mount -t bpf bpf /sys/fs/bpf\", or set capture.pins",
            ));
        }
        fs::create_dir_all(pins.maps())?;
        for folder in LINKS {
            fs::create_dir_all(base.join(folder))?;
        }
        Ok(pins)
    }

    /// `capture.pins`.
    pub(super) fn base(&self) -> &Path {
        &self.0
    }

    fn maps(&self) -> PathBuf {
        self.0.join(MAPS).join(format!("v{LAYOUT_VERSION}"))
    }

    /// A map's pin.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    /// Pin of a program's link to the cgroup with this inode number. Another cgroup is another link.
    pub(super) fn cgroup_link(&self, program: &str, cgroup: u64) -> PathBuf {
        self.0.join("links").join(format!("{program}-{cgroup}"))
    }

    /// Pin of the socket look-up link of the namespace with this cookie.
    pub(super) fn pod_link(&self, netns: u64) -> PathBuf {
        self.0.join("pods").join(netns.to_string())
    }

    /// Cookies of all namespaces that have a socket look-up link.
    pub(super) fn pods(&self) -> io::Result<Vec<u64>> {
        let entries = fs::read_dir(self.0.join("pods"))?.collect::<io::Result<Vec<_>>>()?;
        Ok(entries.iter().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
    }

    /// Pin of the link at the node's end of a cable of the namespace with this cookie.
    pub(super) fn wire_link(&self, netns: u64, device: u32) -> PathBuf {
        self.0.join("wires").join(format!("{netns}-{device}"))
    }

    /// Pins of all links at cables of a namespace.
    pub(super) fn wire_links(&self, netns: u64) -> io::Result<Vec<PathBuf>> {
        let prefix = format!("{netns}-");
        let entries = fs::read_dir(self.0.join("wires"))?.collect::<io::Result<Vec<_>>>()?;
        let of_pod = entries.iter().filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
        Ok(of_pod.map(fs::DirEntry::path).collect())
    }

    /// Removes the links of other cgroups, which an agent with another configuration left.
    pub(super) fn keep_only_cgroup(&self, cgroup: u64) -> io::Result<()> {
        let suffix = format!("-{cgroup}");
        for entry in fs::read_dir(self.0.join("links"))? {
            let entry = entry?;
            if !entry.file_name().to_string_lossy().ends_with(&suffix) {
                remove_link(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Removes what agents with other layouts left; their maps would have been misread.
    pub(super) fn remove_other_versions(&self) -> io::Result<()> {
        let known = [MAPS].into_iter().chain(LINKS).map(|folder| self.0.join(folder));
        remove_all_but(&self.0, &known.collect::<Vec<_>>())?;
        remove_all_but(&self.0.join(MAPS), &[self.maps()])
    }

    /// Removes everything: from then on no connection of any pod is captured. How many links there were; `None` if there was
    /// nothing at all.
    pub(super) fn remove_all(base: &Path) -> io::Result<Option<usize>> {
        if !fs::exists(base)? {
            return Ok(None);
        }
        let mut links = 0;
        // Links first: a program must never run on without its maps being kept up.
        for folder in LINKS {
            let folder = base.join(folder);
            if fs::exists(&folder)? {
                for entry in fs::read_dir(&folder)? {
                    remove_link(&entry?.path())?;
                    links += 1;
                }
            }
        }
        remove_tree(base)?;
        Ok(Some(links))
    }
}

/// Takes a link out of force, at once, and removes its pin.
pub(super) fn remove_link(pin: &Path) -> io::Result<()> {
    match sys::detach_link(sys::open_link(pin)?) {
        // What it was attached to is gone, and the link with it.
        Err(error) if error.raw_os_error() != Some(libc::ENOLINK) => Err(error),
        _ => fs::remove_file(pin),
    }
}

fn remove_all_but(folder: &Path, kept: &[PathBuf]) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !kept.contains(&path) {
            remove_tree(&path)?;
        }
    }
    Ok(())
}

/// `fs::remove_dir_all` opens entries, which a BPF file system refuses for pins.
fn remove_tree(path: &Path) -> io::Result<()> {
    if !path.is_dir() {
        return fs::remove_file(path);
    }
    for entry in fs::read_dir(path)? {
        remove_tree(&entry?.path())?;
    }
    fs::remove_dir(path)
}
