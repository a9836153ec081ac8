//! A real containerd of the test's own, with everything of it in one folder: import, check, and the program run by runc.

use std::{
    fs,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::made::{Made, file, run, text};

const STARTED_WITHIN: Duration = Duration::from_secs(20);

/// Ended when dropped.
struct Containerd {
    folder: TempDir,
    process: Child,
}

impl Containerd {
    fn start() -> Result<Self> {
        // A short path: sockets' names have 107 bytes.
        let folder = tempfile::Builder::new().prefix("hdc").tempdir_in("/tmp")?;
        let place = folder.path().display();
        let config = folder.path().join("config.toml");
        let text = format!(
            "version = 2\nroot = \"{place}/root\"\nstate = \"{place}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{place}/socket\"\n"
        );
        fs::write(&config, text)?;
        let log = fs::File::create(folder.path().join("log"))?;
        // Of util-linux, as in the other tests: it is killed with the thread that starts it.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "containerd", "--config"]).arg(&config);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let containerd = Self { process: process.context("starting containerd failed")?, folder };
        let deadline = Instant::now() + STARTED_WITHIN;
        while containerd.ask(&["version"]).is_err() {
            let log = || fs::read_to_string(containerd.folder.path().join("log")).unwrap_or_default();
            ensure!(Instant::now() < deadline, "containerd does not answer:\n{}", log());
            thread::sleep(Duration::from_millis(50));
        }
        Ok(containerd)
    }

    /// In the namespace of Kubernetes, as on a node.
    fn ask(&self, words: &[&str]) -> Result<String> {
        let socket = self.folder.path().join("socket");
        run("ctr", &[&["--address", text(&socket), "--namespace", "k8s.io"], words].concat())
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // In order: what it has mounted it takes back. Fails only where it has ended.
        if let Some(pid) = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.process.wait();
    }
}

#[test]
fn containerd_imports_it_whole_and_runc_runs_it_without_a_writable_root() -> Result<()> {
    let made = Made::once()?;
    let containerd = Containerd::start()?;
    let name = format!("docker.io/library/heddle:{}", env!("CARGO_PKG_VERSION"));
    containerd.ask(&["images", "import", text(&file(&made.folder, "tar"))])?;
    let checked = containerd.ask(&["images", "check"])?;
    let line =
        checked.lines().find(|line| line.starts_with(&name)).with_context(|| format!("no {name} in {checked}"))?;
    assert!(line.contains("complete") && line.trim_end().ends_with("true"), "all is there and unpacked: {checked}");
    // No cgroup of its own: it would be left in each hierarchy of the machine.
    let words =
        ["run", "--rm", "--read-only", "--seccomp", "--cgroup", "", &name, "test", "/usr/bin/heddle", "version"];
    let said = containerd.ask(&words)?;
    assert_eq!(said.trim(), format!("heddle {}", env!("CARGO_PKG_VERSION")));
    let left = fs::read_to_string("/proc/self/mounts")?;
    assert!(!left.contains(&*containerd.folder.path().to_string_lossy()), "{left}");
    Ok(())
}
