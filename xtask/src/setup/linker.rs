//! bpf-linker, which turns LLVM bitcode into one BPF object with BTF: named in the environment, found in the user's
//! cache folder, or compiled into it.
//!
//! Its LLVM must be at least as new as the compiler's, or it cannot read the bitcode.

use std::{
    env,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use xshell::{Shell, cmd};

use super::{
    cargo_tool::{self, Tool},
    debian, record,
    toolchain::Compiler,
};
use crate::{project::Project, ui};

/// LLVM that bpf-linker is compiled against.
pub(super) const LLVM_MAJOR: u32 = 22;

pub(super) fn find_or_install(project: &Project, compiler: &Compiler) -> Result<PathBuf> {
    if let Some(linker) = record::overridden(record::LINKER) {
        let said = answer(&project.shell, &linker)
            .with_context(|| format!("{} names {}, which does not run", record::LINKER, linker.display()))?;
        ui::fact("found", &format!("{} {said} (named in the environment)", linker.display()));
        return Ok(linker);
    }
    ensure!(
        compiler.version.llvm_major <= LLVM_MAJOR,
        "the compiler {} has LLVM {}, bpf-linker here has {LLVM_MAJOR}: name a newer one in {}",
        compiler.rustc.display(),
        compiler.version.llvm_major,
        record::LINKER,
    );
    let folder = TOOL.folder()?;
    let linker = folder.join("bin/bpf-linker");
    match answer(&project.shell, &linker) {
        Ok(said) => ui::fact("found", &format!("{} {said}", linker.display())),
        Err(_) => install(project, &folder)?,
    }
    Ok(linker)
}

fn install(project: &Project, folder: &Path) -> Result<()> {
    debian::ensure(project, &LINKER_PACKAGES).with_context(|| {
        format!("compiling bpf-linker needs LLVM {LLVM_MAJOR}; or name a bpf-linker {VERSION} in {}", record::LINKER)
    })?;
    ui::fact("compiling", &format!("bpf-linker {VERSION}, about a minute"));
    let started = Instant::now();
    let llvm = env::var_os("LLVM_PREFIX").unwrap_or_else(|| format!("/usr/lib/llvm-{LLVM_MAJOR}").into());
    let feature = format!("llvm-{LLVM_MAJOR}");
    let features = ["--no-default-features", "--features", &feature];
    let install = cargo_tool::install(project, TOOL, folder)?;
    install
        .args(features)
        .env("LLVM_PREFIX", llvm)
        .run()
        .with_context(|| format!("compiling bpf-linker {VERSION} failed; what cargo said is above"))?;
    let linker = folder.join("bin/bpf-linker");
    if let Err(problem) = answer(&project.shell, &linker) {
        bail!("{} was compiled but does not run: {problem:#}", linker.display());
    }
    ui::fact("installed", &format!("{} in {}", linker.display(), ui::duration(started.elapsed())));
    Ok(())
}

/// Its version; an error when it is not there or its LLVM is gone.
fn answer(shell: &Shell, linker: &Path) -> Result<String> {
    let said = cmd!(shell, "{linker} --version").quiet().ignore_stderr().read()?;
    Ok(said.trim_start_matches("bpf-linker").trim().to_owned())
}

const VERSION: &str = "0.13.0";
const TOOL: Tool = Tool { name: "bpf-linker", version: VERSION };
const LINKER_PACKAGES: [&str; 6] =
    ["llvm-22-dev", "libpolly-22-dev", "libzstd-dev", "zlib1g-dev", "libxml2-dev", "g++"];
