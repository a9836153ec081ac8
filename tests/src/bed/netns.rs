//! One named network namespace: made and removed with `ip netns`, entered by threads that end inside it.
//!
//! Code runs inside a namespace on a thread made for that purpose, which never comes back: no guard can be forgotten
//! and no panic leaves the caller in the wrong place. Programs are started through [`super::process`], not from here.

use std::fs::{self, File};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::http;

/// Where `ip netns` keeps its names.
pub(super) const DIRECTORY: &str = "/run/netns";

/// A network namespace of a bed.
#[derive(Clone, Debug)]
pub struct NetNs {
    name: String,
    path: PathBuf,
}

impl NetNs {
    /// Names a namespace; it exists once `ip netns add` ran for it.
    pub(super) fn named(name: String) -> Self {
        let path = Path::new(DIRECTORY).join(&name);
        Self { name, path }
    }

    /// Its name for `ip netns`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that keeps it alive, as the annotation `heddle.io/netns` names it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` on a thread inside the namespace and gives back its result; a panic comes through.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let file = File::open(&self.path).with_context(|| format!("opening the namespace {}", self.path.display()))?;
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .with_context(|| format!("entering the namespace {}", self.name))?;
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs lines of `ip -batch` inside.
    pub fn ip(&self, batch: &str) -> Result<()> {
        self.run(|| ip_batch(batch)).with_context(|| format!("in the namespace {}", self.name))
    }

    /// Writes files below `/proc/sys/net`, in order, inside.
    pub fn sysctl(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.run(|| {
            for (key, value) in settings {
                let path = Path::new("/proc/sys/net").join(key);
                fs::write(&path, value).with_context(|| format!("writing {value} to {}", path.display()))?;
            }
            Ok(())
        })
    }

    /// One HTTP GET from inside.
    pub fn get(&self, address: SocketAddr, path: &str, timeout: Duration) -> Result<http::Response> {
        let stream = self.run(|| {
            let stream = TcpStream::connect_timeout(&address, timeout)
                .with_context(|| format!("connecting to {address} in {}", self.name))?;
            stream.set_read_timeout(Some(timeout))?;
            stream.set_write_timeout(Some(timeout))?;
            Ok(stream)
        })?;
        http::get(stream, &address.to_string(), path)
    }

    /// Removes the name; sockets and processes inside keep the namespace itself until they end.
    pub(super) fn remove(&self) -> Result<()> {
        if !self.path.exists() {
            return Ok(());
        }
        ip_batch(&format!("netns del {}\n", self.name))
    }
}

/// Runs lines of `ip -batch` in the namespace of the calling thread.
pub(super) fn ip_batch(batch: &str) -> Result<()> {
    let mut ip = Command::new("ip");
    ip.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = ip.spawn().context("starting `ip`")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(batch.as_bytes()).context("writing to `ip -batch`")?;
    }
    let output = child.wait_with_output().context("waiting for `ip -batch`")?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        bail!("`ip -batch` failed: {}\nthe lines were:\n{batch}", message.trim());
    }
    Ok(())
}
