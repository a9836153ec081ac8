//! `cargo xtask setup`: makes a bare machine able to build the kernel programs, and to run the tests.
//!
//! In: Debian 12 with rustup's cargo, or any Linux with a suitable toolchain named in the environment. Out: compiler and
//! linker on disk, and `bpf-toolchain.env` in the user's cache folder, which `agent/build.rs` reads. Running it again
//! changes nothing. It leaves rustup's toolchains alone and starts no service.

mod cargo_tool;
mod debian;
mod linker;
mod record;
mod toolchain;

use std::{path::PathBuf, time::Instant};

use anyhow::Result;
use clap::Args;

use self::{cargo_tool::Tool, record::Record};
use crate::{project::Project, ui};

/// Make this machine able to build the kernel programs.
///
/// The kernel programs are Rust for the target bpfel-unknown-none. That takes a compiler whose source of `core` is at
/// hand (a rustup nightly with the component rust-src when there is one, else Debian's rustc-web, cargo-web and
/// rust-web-src) and bpf-linker (compiled into the user's cache folder, against Debian's LLVM). What is there already
/// is used as it is; running setup again changes nothing. Installing Debian packages needs root.
///
/// To bring your own, name all or some in the environment: HEDDLE_BPF_CARGO and HEDDLE_BPF_RUSTC (one toolchain, with
/// the source of core), HEDDLE_BPF_LINKER (bpf-linker 0.13, with an LLVM at least as new as the compiler's).
#[derive(Args)]
pub(crate) struct Setup {
    /// Also install what the tests and the demo call: ip, iptables, tcpdump, nginx, haproxy, curl, wrk, iperf3, h2load, ps,
    /// python3 with venv, prometheus with promtool, chromium, libfaketime, kubectl, Go with sprig, containerd with runc, skopeo; and
    /// cargo-deny, compiled into the user's cache folder.
    #[arg(long)]
    with_test_tools: bool,
}

impl Setup {
    pub(crate) fn with_test_tools() -> Self {
        Self { with_test_tools: true }
    }

    pub(crate) fn run(&self, project: &Project) -> Result<()> {
        let started = Instant::now();
        ui::heading("setup: compiler for the kernel programs");
        let compiler = toolchain::find_or_install(project)?;
        ui::heading("setup: linker for the kernel programs");
        let linker = linker::find_or_install(project, &compiler)?;
        let record = Record::new(compiler, linker);
        let change = if record.write()? { "written" } else { "unchanged" };
        ui::fact(change, &Record::path()?.display().to_string());
        if self.with_test_tools {
            ui::heading("setup: test tools");
            debian::ensure(project, &TEST_TOOLS)?;
            ui::fact("found", &DENY.find_or_install(project)?.display().to_string());
        }
        ui::fact("ready", &format!("in {}", ui::duration(started.elapsed())));
        Ok(())
    }
}

/// Sets the machine up for the verbs that compile the agent; says nothing when it is set up.
pub(crate) fn ensure_toolchain(project: &Project) -> Result<()> {
    if Record::is_usable()? { Ok(()) } else { Setup { with_test_tools: false }.run(project) }
}

/// cargo-deny, for the check of dependencies; says nothing when it is there.
pub(crate) fn ensure_deny(project: &Project) -> Result<PathBuf> {
    DENY.find_or_install(project)
}

/// Sets the machine up for the verbs that start pods; says nothing when it is set up.
pub(crate) fn ensure_test_tools(project: &Project) -> Result<()> {
    ensure_toolchain(project)?;
    if !debian::is_here(project) {
        ui::fact("skipped", "the test tools: no dpkg here, so they have to be installed already");
        return Ok(());
    }
    if debian::missing(project, &TEST_TOOLS)?.is_empty() {
        return Ok(());
    }
    ui::heading("setup: test tools");
    debian::ensure(project, &TEST_TOOLS)
}

/// Sets the machine up for the demo; says nothing when it is set up. The demo itself tells what a machine without
/// Debian's packages lacks.
pub(crate) fn ensure_demo_tools(project: &Project) -> Result<()> {
    ensure_toolchain(project)?;
    if !debian::is_here(project) || debian::missing(project, &DEMO_TOOLS)?.is_empty() {
        return Ok(());
    }
    ui::heading("setup: tools of the demo");
    debian::ensure(project, &DEMO_TOOLS)
}

const DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };

const DEMO_TOOLS: [&str; 3] = ["iproute2", "tcpdump", "curl"];

const TEST_TOOLS: [&str; 22] = [
    "iproute2",
    "iptables",
    "util-linux",
    "tcpdump",
    "nginx",
    "haproxy",
    "curl",
    "wrk",
    "iperf3",
    "nghttp2-client",
    "procps",
    // The server and promtool.
    "prometheus",
    // Looks at the page of the agent.
    "chromium",
    // For the virtual environment with grpcio, which the tests make themselves.
    "python3-venv",
    // Turns the agents' clock, and nobody else's.
    "libfaketime",
    // kubectl, for its kustomize.
    "kubernetes-client",
    // What Helm is made of, to render the chart.
    "golang-go",
    "golang-github-masterminds-sprig-dev",
    // Take the image: import it, copy it, run it; and binutils' strip makes it small for that.
    "containerd",
    "runc",
    "skopeo",
    "binutils",
];
