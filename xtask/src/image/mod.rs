//! `cargo xtask image`: an OCI image of heddle, made of files by this tool itself, without Docker and without root.
//!
//! In: a program, this machine's libraries, the crates' licences. Out: one tar archive that containerd, Docker, podman and skopeo
//! read, and the bill of materials beside it. The same inputs give the same bytes.

mod archive;
mod binary;
mod contents;
mod crates;
mod layer;
mod libraries;
mod licences;
mod packages;
mod platform;
mod reference;
mod sbom;
mod tar;

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use clap::Args;
use xshell::cmd;

use self::{
    archive::{Archive, Image as Description},
    layer::Layer,
    platform::Platform,
    reference::Reference,
};
use crate::{project::Project, ui};

/// Make an OCI image of heddle, without Docker.
///
/// One image is for both `heddle agent` (its default) and `heddle ca`, which runs as user 65532. In it are the program, the shared
/// libraries that its ELF header names, with their loader, the certificates of public authorities, the licences of all of it, and a bill of
/// materials (CycloneDX); no shell and no other program. Libraries and certificates are a layer of their own, which an upgrade leaves
/// where it is.
///
/// The archive is an OCI image layout in a tar file, which Docker reads too. The same program, libraries and commit give the same
/// bytes. SOURCE_DATE_EPOCH says when it was made; the default is the time of the commit.
///
/// Without --binary it compiles the release build first, minutes, with the paths of this machine taken out of it. For linux/arm64 on
/// another machine that takes a linker (CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER, or Debian's gcc-aarch64-linux-gnu), Rust's
/// standard library for it, and the packages libc6:arm64 and libgcc-s1:arm64, out of which the libraries come.
#[derive(Args)]
pub(crate) struct Image {
    /// Where to write the archive: a file, or a folder that is there [default: target/image/heddle-VERSION-ARCHITECTURE.tar]
    #[arg(long, value_name = "FILE|DIR")]
    output: Option<PathBuf>,
    /// A heddle that is built already, instead of compiling one
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// What it is imported as [default: heddle:VERSION]
    #[arg(long, value_name = "NAME:VERSION")]
    tag: Option<Reference>,
    /// What it runs on [default: this machine]
    #[arg(long, value_enum, value_name = "PLATFORM")]
    platform: Option<Platform>,
    /// Where the source is, for the label org.opencontainers.image.source
    #[arg(long, value_name = "URL")]
    source: Option<String>,
}

impl Image {
    pub(crate) fn run(&self, project: &Project) -> Result<()> {
        let started = Instant::now();
        let platform = self.platform.map_or_else(Platform::of_this_machine, Ok)?;
        let reference = self.tag.clone().unwrap_or_else(|| Reference::new("heddle", VERSION));
        let program = self.program(project, platform)?;

        ui::heading("image: files");
        let bytes = fs::read(&program).with_context(|| format!("reading {} failed", program.display()))?;
        ui::fact("program", &format!("{}, {}", program.display(), megabytes(bytes.len())));
        let (base, packages) = contents::base(project, &program, &bytes, platform)?;
        let names: Vec<String> =
            packages.iter().map(|package| format!("{} {}", package.name, package.version)).collect();
        ui::fact("beside it", &names.join(", "));
        let crates = crates::of_agent(project, platform)?;
        let linked = crates.values().filter(|one| one.is_linked).count();
        ui::fact("crates", &format!("{linked} linked in, {} to build it", crates.len() - linked));
        let (revision, created) = (revision(project)?, created(project)?);
        let compiler = cmd!(project.shell, "rustc --version").quiet().read()?;
        let compiler = compiler.split_whitespace().nth(1).unwrap_or_default();
        let subject = sbom::Subject { version: VERSION, revision: &revision, created: &created, compiler };
        let bill = sbom::bill(&subject, &crates, &packages);
        let tree = contents::program(project, bytes, &bill, &licences::texts(&crates)?)?;

        ui::heading("image: layers");
        let layers = vec![
            Layer::new("libraries, their loader, certificates, users", &base)?,
            Layer::new("heddle, its licences and its bill of materials", &tree)?,
        ];
        for layer in &layers {
            ui::fact(&megabytes(layer.blob.bytes.len()), layer.what);
        }
        let labels = self.labels(&revision, &created);
        let archive = Description { reference: &reference, platform, created: &created, labels }.archive(layers);
        let file = self.file(project, platform)?;
        write(&archive, &file)?;
        let beside = file.with_extension("cdx.json");
        fs::write(&beside, bill).with_context(|| format!("writing {} failed", beside.display()))?;

        ui::heading("image: done");
        let size = usize::try_from(fs::metadata(&file)?.len()).unwrap_or(usize::MAX);
        ui::fact("archive", &format!("{}, {}", file.display(), megabytes(size)));
        ui::fact("digest", &archive.digest);
        ui::fact("bill", &beside.display().to_string());
        ui::fact("ready", &format!("in {}", ui::duration(started.elapsed())));
        next(&file, &reference);
        Ok(())
    }

    fn program(&self, project: &Project, platform: Platform) -> Result<PathBuf> {
        match &self.binary {
            // Commands of the project's shell run at its root, and this path is somebody's own.
            Some(given) => std::path::absolute(given).with_context(|| format!("finding {} failed", given.display())),
            None => {
                ui::heading("image: build");
                binary::build(project, platform)
            }
        }
    }

    /// The specification's pre-defined annotation keys, for the image's configuration and its manifest.
    fn labels(&self, revision: &str, created: &str) -> BTreeMap<&'static str, String> {
        let mut labels = BTreeMap::from([
            ("org.opencontainers.image.title", "heddle".to_owned()),
            ("org.opencontainers.image.description", "A service mesh without sidecars: agent and authority".to_owned()),
            ("org.opencontainers.image.version", VERSION.to_owned()),
            ("org.opencontainers.image.revision", revision.to_owned()),
            ("org.opencontainers.image.created", created.to_owned()),
            ("org.opencontainers.image.licenses", "Apache-2.0 OR MIT".to_owned()),
        ]);
        labels.extend(self.source.clone().map(|url| ("org.opencontainers.image.source", url)));
        labels
    }

    fn file(&self, project: &Project, platform: Platform) -> Result<PathBuf> {
        let name = format!("heddle-{VERSION}-{}.tar", platform.architecture());
        match &self.output {
            Some(folder) if folder.is_dir() => Ok(folder.join(name)),
            Some(file) => Ok(file.clone()),
            None => Ok(project.target_dir()?.join("image").join(name)),
        }
    }
}

/// All crates of the workspace have one version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Aside first: who imports it finds the whole archive, or the one before.
fn write(archive: &Archive, file: &Path) -> Result<()> {
    let aside = file.with_extension("tar.new");
    let write = || {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut to = BufWriter::new(File::create(&aside)?);
        archive.write(&mut to)?;
        to.flush()?;
        fs::rename(&aside, file)?;
        anyhow::Ok(())
    };
    write().with_context(|| format!("writing {} failed", file.display())).inspect_err(|_| {
        // The error that stopped it is the one to report.
        let _ = fs::remove_file(&aside);
    })
}

/// The commit; one that the files have moved on from is named so.
fn revision(project: &Project) -> Result<String> {
    let commit = cmd!(project.shell, "git rev-parse HEAD").quiet().read()?;
    let changed = cmd!(project.shell, "git status --porcelain").quiet().read()?;
    Ok(if changed.is_empty() { commit } else { format!("{commit}-dirty") })
}

/// RFC 3339. See reproducible-builds.org about the variable.
fn created(project: &Project) -> Result<String> {
    let seconds = match env::var("SOURCE_DATE_EPOCH") {
        Ok(seconds) => seconds,
        Err(_) => cmd!(project.shell, "git log -1 --format=%ct").quiet().read()?,
    };
    let seconds = seconds.trim().parse().context("SOURCE_DATE_EPOCH is not a number of seconds")?;
    Ok(humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string())
}

fn megabytes(bytes: usize) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

fn next(file: &Path, reference: &Reference) {
    let file = file.display();
    ui::say("");
    ui::say("To put it on a node of a cluster, or into a registry:");
    ui::say(&format!("  ctr -n k8s.io images import {file}"));
    ui::say(&format!("  skopeo copy oci-archive:{file} docker://REGISTRY/{reference}"));
    ui::say(&format!("  docker load --input {file}"));
}
