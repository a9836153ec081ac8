//! The program of the image: one that is there already, or the release build, in which no path of the machine that builds it is left.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use xshell::cmd;

use super::platform::Platform;
use crate::{project::Project, setup};

/// Builds it for a platform, and tells where it is.
pub(super) fn build(project: &Project, platform: Platform) -> Result<PathBuf> {
    setup::ensure_toolchain(project)?;
    // A folder of its own: with other flags cargo would compile everything anew in turn.
    let folder = project.target_dir()?.join("image");
    let places = places(project)?;
    let remap = |(place, name): &(PathBuf, &str)| format!("--remap-path-prefix={}={name}", place.display());
    let flags: Vec<String> = places.iter().map(remap).collect();
    // For the C of aws-lc and jemalloc.
    let map = |(place, name): &(PathBuf, &str)| format!("-ffile-prefix-map={}={name}", place.display());
    let for_c: Vec<String> = places.iter().map(map).collect();
    let cargo = project.cargo().args(["build", "--release", "--locked", "--package", "heddle", "--bin", "heddle"]);
    let cargo = cargo.args(["--target", platform.target()]).arg("--target-dir").arg(&folder);
    let cargo = cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")).env("CFLAGS", for_c.join(" "));
    cross(cargo, platform)?.quiet().run()?;
    Ok(folder.join(platform.target()).join("release/heddle"))
}

/// Where sources are on this machine, and what they are called in the program. Later ones win in rustc.
fn places(project: &Project) -> Result<Vec<(PathBuf, &'static str)>> {
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let of_user = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    let cargo_home = cargo_home.or_else(of_user).context("neither CARGO_HOME nor HOME is set; set one")?;
    let sysroot = cmd!(project.shell, "rustc --print sysroot").quiet().read()?;
    Ok(vec![
        (sysroot.into(), "/rust"),
        (cargo_home, "/cargo"),
        (project.root.clone(), "/heddle"),
        (project.target_dir()?, "/target"),
    ])
}

/// Debian's cross compiler links for another machine, unless the environment names one.
fn cross(cargo: xshell::Cmd<'_>, platform: Platform) -> Result<xshell::Cmd<'_>> {
    const LINKER: &str = "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER";
    if platform != Platform::Arm64 || platform == Platform::of_this_machine()? || std::env::var_os(LINKER).is_some() {
        return Ok(cargo);
    }
    Ok(cargo.env(LINKER, "aarch64-linux-gnu-gcc"))
}
