//! The image that all tests look at, made once by the real command.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;
use tempfile::TempDir;

pub(super) const XTASK: &str = env!("CARGO_BIN_EXE_xtask");

/// An image in the folder of build products, where the next run replaces it: no static is dropped.
pub(super) struct Made {
    /// Where its archive and its bill are.
    pub(super) folder: PathBuf,
    /// The program that was given.
    pub(super) program: PathBuf,
}

impl Made {
    pub(super) fn once() -> Result<&'static Self> {
        static MADE: OnceLock<Result<Made, String>> = OnceLock::new();
        MADE.get_or_init(|| Self::make().map_err(|error| format!("{error:#}")))
            .as_ref()
            .map_err(|error| anyhow!("{error}"))
    }

    fn make() -> Result<Self> {
        let place = target()?.join("test-image");
        let made = Self { folder: place.join("made"), program: place.join("heddle") };
        if place.exists() {
            fs::remove_dir_all(&place)?;
        }
        fs::create_dir_all(&made.folder)?;
        // What it has for debuggers is two thirds of it, and would be packed several times.
        run("strip", &["--strip-debug", "-o", text(&made.program), text(&agent()?)])?;
        let arguments = made.arguments(&made.program, &made.folder);
        run(XTASK, &arguments[1..].iter().map(String::as_str).collect::<Vec<_>>())?;
        Ok(made)
    }

    /// The command that makes it of a program, into a folder.
    pub(super) fn arguments(&self, program: &Path, folder: &Path) -> Vec<String> {
        let words = [XTASK, "image", "--binary", text(program), "--output", text(folder)];
        words.map(str::to_owned).to_vec()
    }

    /// Its root file system.
    pub(super) fn unpack(&self) -> Result<TempDir> {
        let (archive, root) = (tempfile::tempdir()?, tempfile::tempdir()?);
        run("tar", &["-xf", text(&file(&self.folder, "tar")), "-C", text(archive.path())])?;
        let read =
            |name: &Path| -> Result<Value> { Ok(serde_json::from_slice(&fs::read(archive.path().join(name))?)?) };
        let blob = |descriptor: &Value| -> Result<PathBuf> {
            let digest = descriptor["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:"));
            Ok(Path::new("blobs/sha256").join(digest.context("no digest")?))
        };
        let manifest = read(&blob(&read(Path::new("index.json"))?["manifests"][0])?)?;
        for layer in manifest["layers"].as_array().context("no layers")? {
            run("tar", &["-xpzf", text(&archive.path().join(blob(layer)?)), "-C", text(root.path())])?;
        }
        Ok(root)
    }
}

/// What the command wrote into a folder.
pub(super) fn file(folder: &Path, kind: &str) -> PathBuf {
    let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    folder.join(format!("heddle-{}-{architecture}.{kind}", env!("CARGO_PKG_VERSION")))
}

/// The agent that the tests use.
fn agent() -> Result<PathBuf> {
    let agent = std::env::var_os("HEDDLE_BIN").map(PathBuf::from);
    let agent = agent.map_or_else(|| Ok::<_, anyhow::Error>(target()?.join("debug/heddle")), Ok)?;
    ensure!(agent.is_file(), "no {}: run `cargo build -p heddle` or set HEDDLE_BIN", agent.display());
    Ok(agent)
}

pub(super) fn target() -> Result<PathBuf> {
    let own = Path::new(XTASK);
    Ok(own.ancestors().nth(2).context("the folder of build products")?.to_owned())
}

/// Runs a program to its end and gives back what it said.
pub(super) fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output =
        Command::new(program).args(arguments).output().with_context(|| format!("starting {program} failed"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments:?} ended with {}: {said}{complaint}", output.status);
    Ok(said)
}

pub(super) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
