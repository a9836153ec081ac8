//! Programs that cargo compiles from the registry: one version of each, into the user's cache folder, so that neither the
//! user's own tools nor another checkout's are touched.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, Result};
use xshell::Cmd;

use super::record;
use crate::{project::Project, ui};

/// A program that has the name of its package.
#[derive(Clone, Copy)]
pub(super) struct Tool {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
}

impl Tool {
    /// Where all of it is.
    pub(super) fn folder(self) -> Result<PathBuf> {
        Ok(record::cache_dir()?.join(format!("{}-{}", self.name, self.version)))
    }

    /// The program, compiled if it is not there.
    pub(super) fn find_or_install(self, project: &Project) -> Result<PathBuf> {
        let Self { name, version } = self;
        let folder = self.folder()?;
        let program = folder.join("bin").join(name);
        if program.is_file() {
            return Ok(program);
        }
        ui::fact("compiling", &format!("{name} {version}, some minutes"));
        let started = Instant::now();
        let install = install(project, self, &folder)?;
        install.run().with_context(|| format!("compiling {name} {version} failed; what cargo said is above"))?;
        ui::fact("installed", &format!("{} in {}", program.display(), ui::duration(started.elapsed())));
        Ok(program)
    }
}

/// The call of cargo that compiles it into a folder.
pub(super) fn install<'a>(project: &'a Project, tool: Tool, folder: &Path) -> Result<Cmd<'a>> {
    let install = project.cargo().args(["install", tool.name, "--locked", "--force", "--version", tool.version]);
    Ok(install
        .arg("--root")
        .arg(folder)
        // Not among Heddle's own build products: cargo then uses a temporary folder and removes it.
        .env_remove("CARGO_TARGET_DIR")
        // Else cargo advises to put the folder on the PATH, which nobody needs to.
        .env("PATH", search_path_with(&folder.join("bin"))?)
        .quiet())
}

fn search_path_with(folder: &Path) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([folder.to_owned()]);
    env::join_paths(folders)
        .with_context(|| format!("{} cannot be on a search path; set XDG_CACHE_HOME", folder.display()))
}
