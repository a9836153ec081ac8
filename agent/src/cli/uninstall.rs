//! `heddle uninstall`, and `heddle agent --cleanup`, which is the same.

use std::{
    fs, io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::ensure;
use clap::Args;

use crate::{
    capture, cli,
    config::{Config, Footprint},
    objects,
};

/// Take Heddle out of this node: from then on all pods connect as if it had never been there.
///
/// Removes the pinned programs, links and maps, and the routing rule, the route and the settings in pods' network namespaces,
/// and tells what it removed. End the agent first. Where the configuration does not exist, the default places are cleared. Can be
/// repeated. The directory of a local authority, with its key, is never touched.
///
/// Exit codes: 0 nothing of it is left, 1 something could not be removed, 2 wrong usage.
#[derive(Debug, Args)]
pub(super) struct Uninstall {
    /// The agent's configuration, which says where the pins, the state and the sockets are.
    #[arg(long, short, value_name = "FILE", default_value = "/etc/heddle/agent.yaml")]
    pub(super) config: PathBuf,
    /// Remove the state on disk and the sockets, too.
    #[arg(long)]
    pub(super) purge: bool,
}

impl Uninstall {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let footprint = match self.config.exists() {
            true => Footprint::of(Config::load(&self.config)?),
            false => {
                cli::print(&format!("{} does not exist: the default places are cleared", self.config.display()))?;
                Footprint::default()
            }
        };
        if let Some(socket) = footprint.sockets.iter().find(|socket| UnixStream::connect(socket).is_ok()) {
            let socket = socket.display();
            anyhow::bail!(
                "an agent of this node answers at {socket}: end it first, or it would go on without its programs"
            );
        }
        let mut told = Told::default();
        told.kernel(&footprint);
        if self.purge {
            told.purge(&footprint);
        }
        if told.removed.is_empty() && told.failures.is_empty() {
            told.removed.push(format!("nothing to remove: {} does not exist", footprint.pins.display()));
        }
        told.removed.iter().try_for_each(|line| cli::print(line))?;
        ensure!(told.failures.is_empty(), "{}", told.failures.join("; "));
        Ok(ExitCode::SUCCESS)
    }
}

/// What was removed and what could not be, each in one line.
#[derive(Default)]
struct Told {
    removed: Vec<String>,
    failures: Vec<String>,
}

impl Told {
    fn kernel(&mut self, footprint: &Footprint) {
        let done = capture::uninstall(&footprint.pins, &footprint.proc);
        if let Some(links) = done.links {
            let pins = footprint.pins.display();
            self.removed.push(format!("removed Heddle's programs and maps from {pins}, {links} of them in force"));
        }
        if done.namespaces > 0 {
            self.removed
                .push(format!("removed rules, routes and settings from {} network namespaces", done.namespaces));
        }
        self.failures.extend(done.failures);
    }

    fn purge(&mut self, footprint: &Footprint) {
        let state = footprint.state.iter().map(|directory| (directory, objects::remove_state(directory)));
        let sockets = footprint.sockets.iter().map(|socket| (socket, remove_socket(socket)));
        for (path, removed) in state.chain(sockets).collect::<Vec<_>>() {
            match removed {
                Ok(true) => self.removed.push(format!("removed {}", path.display())),
                Ok(false) => {}
                Err(error) => self.failures.push(format!("remove {}: {error}", path.display())),
            }
        }
    }
}

/// Looked at first: where the file system is read-only, the kernel says so also of what is not there.
fn remove_socket(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        found => found.and_then(|_| fs::remove_file(path)).map(|()| true),
    }
}
