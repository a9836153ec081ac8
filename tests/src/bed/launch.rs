//! Starts programs inside a pod or node, so that they cannot outlive the test.
//!
//! The chain is: this process -> `heddle-peer enter`, which asks to be killed with its parent, joins the cgroup, then
//! the network namespace, and becomes the program. (`ip netns exec` is no substitute: it remounts /sys and hides the
//! cgroups.) The kernel's "parent" is the starting *thread*, and test threads end; so one thread that lives as long as
//! this process starts everything.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;

use super::cgroup::Cgroup;
use super::netns::NetNs;
use super::process::{Finished, Process};

/// A program about to be started in a network namespace and a cgroup.
#[derive(Debug)]
pub struct Launch {
    title: String,
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(String, OsString)>,
    netns: PathBuf,
    cgroup: PathBuf,
}

impl Launch {
    /// `title` is for failure messages.
    pub(super) fn new(title: String, program: impl Into<OsString>, netns: &NetNs, cgroup: &Cgroup) -> Self {
        let (netns, cgroup) = (netns.path().to_owned(), cgroup.path().to_owned());
        Self { title, program: program.into(), args: Vec::new(), env: Vec::new(), netns, cgroup }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Adds the words of a line, split at white space; there is no quoting.
    #[must_use]
    pub fn words(self, line: &str) -> Self {
        self.args(line.split_whitespace())
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl Into<OsString>) -> Self {
        self.env.push((key.to_owned(), value.into()));
        self
    }

    /// Starts it; the guard kills it when dropped.
    pub fn start(self) -> Result<Process> {
        let mut command = Command::new(binary("heddle-peer")?);
        command.arg("enter").arg("--parent").arg(std::process::id().to_string());
        command.arg("--netns").arg(&self.netns).arg("--cgroup").arg(&self.cgroup);
        command.arg("--").arg(&self.program).args(&self.args).envs(self.env);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = spawn(command).with_context(|| format!("starting {}", self.title))?;
        Process::watch(self.title, child)
    }

    /// Starts it and waits for its end, whatever its exit status.
    pub fn finish(self, within: Duration) -> Result<Finished> {
        let mut process = self.start()?;
        process.close_stdin();
        process.wait(within)
    }

    /// Starts it, waits, and gives back its standard output; a bad exit status is an error.
    pub fn output(self, within: Duration) -> Result<String> {
        let finished = self.finish(within)?;
        if !finished.status.success() {
            bail!("{}", finished.describe());
        }
        Ok(finished.stdout.join("\n"))
    }
}

/// A program of this workspace: `$HEDDLE_BIN` or `$HEDDLE_PEER_BIN`, else beside the running test or tool.
pub fn binary(name: &str) -> Result<PathBuf> {
    let variable = if name == "heddle" { "HEDDLE_BIN" } else { "HEDDLE_PEER_BIN" };
    if let Some(path) = std::env::var_os(variable).map(PathBuf::from) {
        if path.is_file() {
            return Ok(path);
        }
        bail!("{variable} names {}, which is no file: build it or unset {variable}", path.display());
    }
    let own = std::env::current_exe().context("finding the running program")?;
    // Integration tests run in the `deps` folder of the target folder, tools in the target folder itself.
    let folders = own.ancestors().skip(1).take(2).map(Path::to_owned);
    let mut places = folders.map(|folder| folder.join(name));
    places.find(|path| path.is_file()).with_context(|| {
        let package = if name == "heddle" { "heddle" } else { "heddle-tests" };
        format!("no program `{name}` beside {}: run `cargo build -p {package}` or set {variable}", own.display())
    })
}

type Order = (Command, Sender<io::Result<Child>>);

fn spawn(command: Command) -> Result<Child> {
    static LAUNCHER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let launcher = LAUNCHER.get_or_init(|| {
        let (orders, inbox) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                // The asker may have panicked meanwhile; the child then dies with its pipes' guard here.
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (answer, result) = channel();
    launcher.lock().send((command, answer)).ok().context("the launcher thread is gone")?;
    Ok(result.recv().context("the launcher thread is gone")??)
}
