//! The compiler for the kernel programs: found in the environment, in rustup or in Debian, or installed from Debian.
//!
//! `core` is compiled for the BPF target, so its source must be of the very version of the compiler: the lang items of
//! any other version differ. Hence cargo, rustc and source always come from one place.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use xshell::{Shell, cmd};

use super::{debian, linker, record};
use crate::{project::Project, ui};

/// A cargo and a rustc of one version, with the source of that version's `core`.
pub(super) struct Compiler {
    pub(super) cargo: PathBuf,
    pub(super) rustc: PathBuf,
    pub(super) version: Version,
}

/// What `rustc -vV` says that matters here.
#[derive(Debug, PartialEq)]
pub(super) struct Version {
    release: String,
    minor: u32,
    pub(super) llvm_major: u32,
}

pub(super) fn find_or_install(project: &Project) -> Result<Compiler> {
    let shell = &project.shell;
    if let Some(compiler) = from_environment(shell)? {
        ui::fact("found", &format!("{} (named in the environment)", compiler.describe()));
        return Ok(compiler);
    }
    if let Some(compiler) = from_rustup(shell) {
        ui::fact("found", &format!("{} (rustup's nightly with rust-src)", compiler.describe()));
        return Ok(compiler);
    }
    debian::ensure(project, &DEBIAN_COMPILER).context(BRING_YOUR_OWN)?;
    let compiler = from_debian(shell)?;
    ui::fact("found", &format!("{} (Debian's rustc-web)", compiler.describe()));
    Ok(compiler)
}

impl Compiler {
    fn of(shell: &Shell, cargo: PathBuf, rustc: PathBuf) -> Result<Self> {
        let said = cmd!(shell, "{rustc} -vV").quiet().read()?;
        let version = Version::parse(&said)
            .with_context(|| format!("`{} -vV` answered something that is not a rustc's version", rustc.display()))?;
        ensure!(
            version.minor >= OLDEST_MINOR,
            "{} is of version {}, the kernel programs need 1.{OLDEST_MINOR} or later",
            rustc.display(),
            version.release,
        );
        let sysroot = PathBuf::from(cmd!(shell, "{rustc} --print sysroot").quiet().read()?);
        ensure!(has_source_of_core(&sysroot), "{} has no source of core below {}", rustc.display(), sysroot.display());
        Ok(Self { cargo, rustc, version })
    }

    fn describe(&self) -> String {
        format!("{} {}", self.rustc.display(), self.version)
    }
}

fn from_environment(shell: &Shell) -> Result<Option<Compiler>> {
    match (record::overridden(record::CARGO), record::overridden(record::RUSTC)) {
        (Some(cargo), Some(rustc)) => Compiler::of(shell, cargo, rustc).map(Some),
        (None, None) => Ok(None),
        _ => bail!("only one of {} and {} is set: set both, of one toolchain", record::CARGO, record::RUSTC),
    }
}

/// A nightly that cannot serve is no error: there is Debian's compiler. The reason is said, though.
fn from_rustup(shell: &Shell) -> Option<Compiler> {
    let which = |program: &str| {
        cmd!(shell, "rustup which --toolchain nightly {program}")
            // Setup uses the nightly that the user chose to have; it does not download one behind their back.
            .env("RUSTUP_AUTO_INSTALL", "0")
            .quiet()
            .ignore_stderr()
            .read()
    };
    let (Ok(cargo), Ok(rustc)) = (which("cargo"), which("rustc")) else {
        ui::fact("skipped", "rustup's nightly: not installed");
        return None;
    };
    match Compiler::of(shell, cargo.into(), rustc.into()) {
        Ok(compiler) if compiler.version.llvm_major > linker::LLVM_MAJOR => {
            let reason = format!("its LLVM {} is newer than bpf-linker's", compiler.version.llvm_major);
            ui::fact("skipped", &format!("rustup's nightly: {reason} {}", linker::LLVM_MAJOR));
            None
        }
        Ok(compiler) => Some(compiler),
        Err(problem) => {
            ui::fact("skipped", &format!("rustup's nightly: {problem:#}"));
            None
        }
    }
}

fn from_debian(shell: &Shell) -> Result<Compiler> {
    let versions =
        cmd!(shell, "dpkg-query --show").arg(r"--showformat=${Version}\n").args(DEBIAN_COMPILER).quiet().read()?;
    let mut distinct: Vec<&str> = versions.lines().collect();
    distinct.dedup();
    if distinct.len() != 1 {
        let packages = DEBIAN_COMPILER.join(" ");
        bail!(
            "Debian's compiler and its source differ in version ({}): run `apt-get install {packages}` as root",
            distinct.join(", ")
        );
    }
    Compiler::of(shell, "/usr/bin/cargo".into(), "/usr/bin/rustc".into())
        .context("Debian's compiler does not serve: the version that does comes from Debian's security archive")
}

fn has_source_of_core(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file()
}

impl Version {
    fn parse(said: &str) -> Option<Self> {
        let field = |name: &str| said.lines().find_map(|line| line.strip_prefix(name));
        let release = field("release: ")?.to_owned();
        let minor = release.strip_prefix("1.")?.split('.').next()?.parse().ok()?;
        let llvm_major = field("LLVM version: ")?.split('.').next()?.parse().ok()?;
        Some(Self { release, minor, llvm_major })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, LLVM {}", self.release, self.llvm_major)
    }
}

const DEBIAN_COMPILER: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];
/// `rust-version` of the workspace, which the nested cargo enforces.
const OLDEST_MINOR: u32 = 95;
const BRING_YOUR_OWN: &str = "no compiler for the kernel programs; where Debian's cannot be had, \
    `rustup toolchain install nightly --profile minimal --component rust-src` gives one, then run setup again";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compilers_version_is_read_from_its_own_words() {
        let said = "rustc 1.96.0 (ac68faa20 2026-05-25)\nbinary: rustc\nrelease: 1.96.0\nLLVM version: 22.1.8";
        assert_eq!(Version::parse(said), Some(Version { release: "1.96.0".into(), minor: 96, llvm_major: 22 }));
        let nightly = "release: 1.97.0-nightly\nLLVM version: 22.1.2";
        assert_eq!(Version::parse(nightly).map(|version| version.minor), Some(97));
        assert_eq!(Version::parse("gcc (Debian 12.2.0) 12.2.0"), None);
    }
}
