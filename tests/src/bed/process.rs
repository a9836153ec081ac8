//! A running program: its output as lines, its end, and the guard that makes sure of it.
//!
//! The end of the output goes into failure messages. The guard ends exactly its own child, by the handle that the
//! kernel gave, and reaps it.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::lines::Lines;

/// Lines shown in failure messages.
const SHOWN: usize = 15;

/// A started program; killed and reaped when dropped.
#[derive(Debug)]
pub struct Process {
    title: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines,
    stderr: Lines,
}

/// A program that ended.
#[derive(Debug)]
pub struct Finished {
    /// What ran.
    pub title: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Its kept standard output.
    pub stdout: Vec<String>,
    /// Its kept standard error.
    pub stderr: Vec<String>,
}

impl Finished {
    /// What ran, how it ended, and the end of its output.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("{} ended with {}{}", self.title, self.status, shown(&self.stdout, &self.stderr))
    }
}

impl Process {
    /// Starts a program that needs no namespace; the kernel kills it with the thread that calls this, which is the test's.
    pub fn start(title: &str, program: &Path, args: &[&OsStr]) -> Result<Self> {
        // Of util-linux, as the other tools of the tests.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::watch(title.to_owned(), command.spawn().with_context(|| format!("starting {title}"))?)
    }

    pub(super) fn watch(title: String, mut child: Child) -> Result<Self> {
        let stdout = Lines::of(child.stdout.take().context("no pipe for standard output")?)?;
        let stderr = Lines::of(child.stderr.take().context("no pipe for standard error")?)?;
        let stdin = child.stdin.take();
        Ok(Self { title, child, stdin, stdout, stderr })
    }

    /// What runs, for messages.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The kept lines of standard output so far.
    #[must_use]
    pub fn stdout(&self) -> Vec<String> {
        self.stdout.all()
    }

    /// The kept lines of standard error so far.
    #[must_use]
    pub fn stderr(&self) -> Vec<String> {
        self.stderr.all()
    }

    /// Waits until a line of standard output satisfies `wanted`; lines from before the call count.
    pub fn wait_line(&mut self, within: Duration, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let stdout = self.stdout.clone();
        self.wait_on(&stdout, within, &wanted)
    }

    /// The same for standard error.
    pub fn wait_stderr(&mut self, within: Duration, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let stderr = self.stderr.clone();
        self.wait_on(&stderr, within, &wanted)
    }

    fn wait_on(&mut self, lines: &Lines, within: Duration, wanted: &dyn Fn(&str) -> bool) -> Result<String> {
        match lines.wait(within, wanted) {
            Some(line) => Ok(line),
            None if lines.ended() => bail!("{}", self.describe("ended before it printed what was waited for")),
            None => bail!("{}", self.describe(&format!("did not print what was waited for within {within:?}"))),
        }
    }

    /// Writes a line to its standard input.
    pub fn write_line(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().with_context(|| format!("standard input of {} is closed", self.title))?;
        writeln!(stdin, "{line}").with_context(|| format!("writing to {}", self.title))
    }

    /// Closes its standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("not a process id")?;
        // The child is not reaped before `wait`, so the id cannot have been reused.
        kill_process(pid, signal).with_context(|| format!("sending {signal:?} to {}", self.title))
    }

    /// Whether it still runs.
    pub fn running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait().with_context(|| format!("waiting for {}", self.title))?.is_none())
    }

    /// Waits for its end.
    pub fn wait(&mut self, within: Duration) -> Result<Finished> {
        let deadline = Instant::now() + within;
        let mut pause = Duration::from_millis(1);
        let status = loop {
            if let Some(status) = self.child.try_wait().with_context(|| format!("waiting for {}", self.title))? {
                break status;
            }
            if Instant::now() > deadline {
                bail!("{}", self.describe(&format!("did not end within {within:?}")));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        };
        let (stdout, stderr) = (self.stdout.rest(), self.stderr.rest());
        Ok(Finished { title: self.title.clone(), status, stdout, stderr })
    }

    /// Kills it with SIGKILL and reaps it.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().with_context(|| format!("killing {}", self.title))?;
        self.child.wait().with_context(|| format!("reaping {}", self.title))?;
        Ok(())
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        self.status_bytes("VmRSS:")
    }

    /// The part of it that is no page of a file: of its program, say, which the kernel has anyway and can drop.
    pub fn anonymous_bytes(&self) -> Result<u64> {
        self.status_bytes("RssAnon:")
    }

    fn status_bytes(&self, name: &str) -> Result<u64> {
        let status = self.proc_file("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        Ok(kib.with_context(|| format!("no {name} of {}", self.title))? * 1024)
    }

    /// CPU time used so far, user and system, in seconds.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let stat = self.proc_file("stat")?;
        // The command name may hold spaces and brackets: fields count from its last bracket. utime and stime are fields
        // 14 and 15 of proc(5), so 11 and 12 after it.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
        let (user, system) = ticks(11).zip(ticks(12)).with_context(|| format!("no CPU times of {}", self.title))?;
        Ok((user + system) / rustix::param::clock_ticks_per_second() as f64)
    }

    fn proc_file(&self, name: &str) -> Result<String> {
        let path = format!("/proc/{}/{name}", self.child.id());
        std::fs::read_to_string(&path).with_context(|| format!("reading {path} of {}", self.title))
    }

    /// What runs, what is the matter, and the end of its output.
    #[must_use]
    pub fn describe(&self, matter: &str) -> String {
        format!("{} {matter}{}", self.title, shown(&self.stdout.all(), &self.stderr.all()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only if it was reaped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn shown(stdout: &[String], stderr: &[String]) -> String {
    let mut text = String::new();
    for (name, lines) in [("standard output", stdout), ("standard error", stderr)] {
        let from = lines.len().saturating_sub(SHOWN);
        if !lines.is_empty() {
            text.push_str(&format!("\n  last lines of {name}:"));
        }
        for line in &lines[from..] {
            text.push_str("\n    | ");
            text.push_str(line);
        }
    }
    text
}
