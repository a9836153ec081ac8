//! Debian packages: which are missing, and installing those.
//!
//! Asks the archive only when something is missing, and never lets a package start a service: nothing of ours stays
//! running on a developer's machine.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use xshell::{Cmd, cmd};

use crate::{
    project::{self, Project},
    ui,
};

/// Packages with a service of the same name that would start with the machine.
const SERVICES: [&str; 4] = ["nginx", "haproxy", "prometheus", "containerd"];

/// Packages that are for one program, which others bring, too.
const PROGRAMS: [(&str, &str); 1] = [("kubernetes-client", "kubectl")];

/// Installs those of the packages that are missing.
pub(super) fn ensure(project: &Project, packages: &[&str]) -> Result<()> {
    let missing = missing(project, packages)?;
    if missing.is_empty() {
        ui::fact("found", &format!("packages {}", packages.join(" ")));
        return Ok(());
    }
    let list = missing.join(" ");
    if !project::is_root()? {
        bail!("installing {list} needs root: run `sudo apt-get install {list}`, then this again");
    }
    ui::fact("install", &list);
    let started = Instant::now();
    let _no_service = NoServiceStarts::new()?;
    let apt = || cmd!(project.shell, "apt-get --quiet --option DPkg::Lock::Timeout=300");
    run(apt().arg("update"), "check the machine's network and its package sources")?;
    let install = apt().args(["install", "--yes", "--no-install-recommends"]).args(&missing);
    run(install, "the packages come from Debian 12 and its security archive: check that both are package sources")?;
    if Path::new("/run/systemd/system").is_dir() {
        for service in SERVICES.into_iter().filter(|service| missing.contains(service)) {
            let disable = cmd!(project.shell, "systemctl disable {service}.service");
            run(disable, "disable it by hand: the tests start their own")?;
        }
    }
    ui::fact("installed", &format!("{list} in {}", ui::duration(started.elapsed())));
    Ok(())
}

/// Whether this system keeps its packages as Debian does.
pub(super) fn is_here(project: &Project) -> bool {
    cmd!(project.shell, "dpkg-query --version").quiet().ignore_stdout().ignore_stderr().run().is_ok()
}

/// Those of the packages that are not installed.
pub(super) fn missing<'a>(project: &Project, packages: &[&'a str]) -> Result<Vec<&'a str>> {
    let shell = &project.shell;
    let query = cmd!(shell, "dpkg-query --show").arg(r"--showformat=${db:Status-Status}:${Package}\n").args(packages);
    // It exits with 1 when it does not know one of them, and still answers for the others.
    let output = query.quiet().ignore_status().ignore_stderr().output();
    let Ok(output) = output else {
        bail!(
            "no dpkg here: install {} in this system's own way; setup installs packages on Debian 12 only",
            packages.join(" ")
        );
    };
    let known = String::from_utf8_lossy(&output.stdout);
    let installed = |package: &str| known.lines().any(|line| line.strip_prefix("installed:") == Some(package));
    let is_here = |package: &str| installed(package) || brought_otherwise(package);
    Ok(packages.iter().copied().filter(|package| !is_here(package)).collect())
}

/// Whether the program that a package is for is there by another one, which would be in its way.
fn brought_otherwise(package: &str) -> bool {
    let program = PROGRAMS.iter().find(|(of, _)| *of == package).map(|(_, program)| program);
    program.is_some_and(|program| {
        std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
    })
}

fn run(apt: Cmd<'_>, remedy: &str) -> Result<()> {
    apt.env("DEBIAN_FRONTEND", "noninteractive").run().with_context(|| format!("{remedy}, then run this again"))
}

/// While it lives, packages that are installed do not start their services (Debian policy 9.3.3.1: `policy-rc.d`
/// answering 101 forbids it). A machine that has a policy keeps its own.
struct NoServiceStarts {
    written: Option<PathBuf>,
}

impl NoServiceStarts {
    fn new() -> Result<Self> {
        let path = PathBuf::from("/usr/sbin/policy-rc.d");
        if path.exists() {
            return Ok(Self { written: None });
        }
        let write = || -> io::Result<()> {
            fs::write(&path, "#!/bin/sh\n# Put here by `cargo xtask setup` for one apt-get call.\nexit 101\n")?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
        };
        write().with_context(|| format!("writing {} failed", path.display()))?;
        Ok(Self { written: Some(path) })
    }
}

impl Drop for NoServiceStarts {
    fn drop(&mut self) {
        if let Some(path) = &self.written
            && let Err(error) = fs::remove_file(path)
        {
            ui::fact("remains", &format!("{}: {error}; remove it by hand", path.display()));
        }
    }
}
