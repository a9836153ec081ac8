//! A clock that only the agents go by: the machine's own stays as it is.
//!
//! libfaketime answers for the C library's clock in a process that it is loaded into, and reads from a file by how much it is to be
//! wrong. Only the time of day is turned: the monotonic clock, by which limits of time are measured, is not what steps when an
//! administrator or NTP sets a clock.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::bed::{AgentBuilder, Node};

/// Where Debian's package `libfaketime` has it.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// What the agents of a ground read the time of day from, each from a file of its own.
pub(super) struct Clock {
    directory: PathBuf,
}

impl Clock {
    /// All are right.
    pub(super) fn new(directory: &Path, nodes: &[Node]) -> Result<Self> {
        ensure!(
            Path::new(LIBRARY).is_file(),
            "{LIBRARY} is not there: `cargo xtask setup --with-test-tools` installs it"
        );
        let clock = Self { directory: directory.to_owned() };
        nodes.iter().try_for_each(|node| clock.turn(node, 0))?;
        Ok(clock)
    }

    /// Has the agent of a node go by it.
    pub(super) fn on(&self, agent: AgentBuilder, node: &Node) -> AgentBuilder {
        agent
            .env("LD_PRELOAD", LIBRARY)
            .env("FAKETIME_TIMESTAMP_FILE", self.file(node))
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }

    /// From now on that of a node's agent is wrong by so many seconds.
    pub(super) fn turn(&self, node: &Node, seconds: i64) -> Result<()> {
        // Renamed into place: a reader never sees half of it.
        let (file, aside) = (self.file(node), self.file(node).with_extension("aside"));
        std::fs::write(&aside, format!("{seconds:+}s\n")).with_context(|| format!("writing {}", aside.display()))?;
        std::fs::rename(&aside, file).context("turning the clock")
    }

    fn file(&self, node: &Node) -> PathBuf {
        self.directory.join(format!("clock-of-{}", node.name()))
    }
}
