//! An agent of the demo: what it logs from some moment on, and its logs as files, for `--keep`.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::bed::{Agent, Node, Process};

/// A line is written when its request or connection ends, and both ends of it have been seen to end by then.
const LOGGED_WITHIN: Duration = Duration::from_secs(5);

/// A node's agent.
pub(super) struct NodeAgent {
    pub(super) agent: Agent,
    pub(super) node: Node,
    access_log: LogFile,
    process_log: LogFile,
}

/// A moment, as access logs write it. Lines of what began before may still come after it.
pub(super) struct Mark(String);

impl Mark {
    /// Now.
    pub(super) fn now() -> Self {
        Self(humantime::format_rfc3339_millis(SystemTime::now()).to_string())
    }
}

impl NodeAgent {
    pub(super) fn start(node: &Node) -> Result<Self> {
        let log = |name: &str| LogFile { path: node.directory().join(name), written: 0 };
        let (access_log, process_log) = (log("access.log"), log("agent.log"));
        Ok(Self { agent: node.agent().start_without_waiting()?, node: node.clone(), access_log, process_log })
    }

    /// The first line that is wanted of what began after the mark.
    pub(super) fn logged_since(&self, mark: &Mark, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        self.all_logged_since(mark, (1, what), wanted)?.into_iter().next().context("no line")
    }

    /// All lines that are wanted of what began after the mark, once there are so many.
    pub(super) fn all_logged_since(
        &self,
        mark: &Mark,
        (least, what): (usize, &str),
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Vec<Value>> {
        let deadline = Instant::now() + LOGGED_WITHIN;
        let is_later = |line: &Value| line["start"].as_str().is_some_and(|start| start >= mark.0.as_str());
        loop {
            let lines = self.agent.access_log().into_iter();
            let found: Vec<Value> = lines.filter(|line| is_later(line) && wanted(line)).collect();
            if found.len() >= least {
                return Ok(found);
            }
            if Instant::now() > deadline {
                let (name, count) = (self.node.name(), found.len());
                bail!("the agent of {name} logged {count} of {least} within {LOGGED_WITHIN:?}: {what}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it with SIGKILL.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.agent.kill()?;
        self.save_logs()
    }

    /// Starts it again, or anew if it runs, and gives how long it took to be ready.
    pub(super) fn restart(&mut self) -> Result<Duration> {
        self.save_logs()?;
        let begin = Instant::now();
        self.agent.restart()?;
        self.access_log.written = 0;
        self.process_log.written = 0;
        Ok(begin.elapsed())
    }

    /// Where its access log is saved.
    pub(super) fn access_log_file(&self) -> &Path {
        &self.access_log.path
    }

    /// Where its own log is saved.
    pub(super) fn process_log_file(&self) -> &Path {
        &self.process_log.path
    }

    /// Appends to its log files what it printed since the last time.
    pub(super) fn save_logs(&mut self) -> Result<()> {
        let process: &Process = self.agent.process();
        let (stdout, stderr) = (process.stdout(), process.stderr());
        self.access_log.append(&stdout)?;
        self.process_log.append(&stderr)
    }
}

/// A file that follows the output of a process.
struct LogFile {
    path: PathBuf,
    written: usize,
}

impl LogFile {
    fn append(&mut self, lines: &[String]) -> Result<()> {
        let open = OpenOptions::new().create(true).append(true).open(&self.path);
        let mut file = open.with_context(|| format!("opening {}", self.path.display()))?;
        for line in lines.iter().skip(self.written) {
            writeln!(file, "{line}").with_context(|| format!("writing to {}", self.path.display()))?;
        }
        self.written = self.written.max(lines.len());
        Ok(())
    }
}
