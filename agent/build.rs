//! Builds the kernel programs of `ebpf/` and leaves them where the agent embeds them: `$OUT_DIR/heddle.bpf.o`.
//!
//! In: the BPF toolchain that `cargo xtask setup` recorded, each part of it overridable by environment
//! (`HEDDLE_BPF_CARGO`, `HEDDLE_BPF_RUSTC`, `HEDDLE_BPF_LINKER`). Out: one ELF object with BTF.
//! It does not search for compilers (that is setup's work) and never embeds a stub: without a toolchain the agent
//! does not build.

use std::{
    env,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            for line in problem.lines() {
                tell_cargo("error", line);
            }
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let workspace =
        required_path("CARGO_MANIFEST_DIR")?.join("..").canonicalize().map_err(|error| error.to_string())?;
    let out_dir = required_path("OUT_DIR")?;
    let target_dir = out_dir.join("ebpf-target");
    for source in ["ebpf/src", "ebpf/Cargo.toml", "common/src", "common/Cargo.toml", "Cargo.toml", "Cargo.lock"] {
        rerun_if_changed(&workspace.join(source));
    }

    let toolchain = Toolchain::find()?;
    let mut cargo = nested_cargo(&toolchain, &bpf_target_arch()?, &workspace);
    cargo.current_dir(&workspace).arg("--target-dir").arg(&target_dir);
    let output = cargo.output().map_err(|error| {
        format!("starting {} for the kernel programs: {error}; {REMEDY}", toolchain.cargo.display())
    })?;
    let diagnostics = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!(
            "compiling the kernel programs in ebpf/ with {} failed ({}):\n{diagnostics}",
            toolchain.rustc.display(),
            output.status,
        ));
    }
    diagnostics.lines().for_each(|line| tell_cargo("warning", line));

    let built = target_dir.join(TARGET).join("release/heddle-ebpf");
    let embedded = out_dir.join("heddle.bpf.o");
    fs::copy(&built, &embedded)
        .map_err(|error| format!("copying {} to {}: {error}", built.display(), embedded.display()))?;
    Ok(())
}

/// The cargo call that compiles `ebpf/`, in an environment that knows nothing of the cargo that runs this script.
fn nested_cargo(toolchain: &Toolchain, bpf_target_arch: &str, workspace: &Path) -> Command {
    let mut cargo = Command::new(&toolchain.cargo);
    for (name, _) in env::vars_os().filter(|(name, _)| belongs_to_outer_cargo(name)) {
        cargo.env_remove(name);
    }
    // BTF map definitions are read out of the debug information, by the linker, when it is told `--btf`.
    let mut flags = vec![
        format!("--cfg=bpf_target_arch=\"{bpf_target_arch}\""),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
    ];
    // The object is the same wherever it is built.
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    for (place, name) in [(Some(workspace), "/heddle"), (cargo_home.as_deref(), "/cargo")] {
        flags.extend(place.map(|place| format!("--remap-path-prefix={}={name}", place.display())));
    }
    cargo
        .env("RUSTC", &toolchain.rustc)
        // Empty means none, also where the user's cargo configuration names one.
        .env("RUSTC_WRAPPER", "")
        .env("RUSTC_WORKSPACE_WRAPPER", "")
        // `-Z build-std` on a compiler that is not a nightly.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &toolchain.linker)
        .args(["build", "--quiet", "--locked", "--release", "-Zbuild-std=core", "--target", TARGET])
        .args(["--package", "heddle-ebpf", "--bin", "heddle-ebpf"]);
    cargo
}

/// What the outer cargo, rustup or clippy-driver set for this build and what would make the nested one use their
/// compiler. Settings of the user that reach the network (`CARGO_HOME`, `CARGO_NET_*`, `CARGO_HTTP_*`) stay.
fn belongs_to_outer_cargo(name: &OsString) -> bool {
    const KEPT: [&str; 6] =
        ["CARGO_HOME", "CARGO_MAKEFLAGS", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTRIES_", "CARGO_SOURCE_"];
    const FOREIGN: [&str; 6] = ["CARGO", "RUSTC", "RUSTDOC", "RUSTFLAGS", "RUSTUP_TOOLCHAIN", "CLIPPY_"];
    let name = name.to_string_lossy();
    // LD_LIBRARY_PATH holds the outer compiler's libraries.
    name == "LD_LIBRARY_PATH"
        || name == "AYA_BPF_TARGET_ARCH"
        || (FOREIGN.iter().any(|prefix| name.starts_with(prefix)) && !KEPT.iter().any(|kept| name.starts_with(kept)))
}

/// The CPU whose register layout the programs may see: the one that the agent is built for.
fn bpf_target_arch() -> Result<String, String> {
    let variable =
        |name| env::var(name).map_err(|error| format!("{name}, which cargo sets for build scripts: {error}"));
    if variable("CARGO_CFG_TARGET_ENDIAN")? != "little" {
        return Err("the kernel programs are built for little-endian machines only; choose another target".into());
    }
    variable("CARGO_CFG_TARGET_ARCH")
}

struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
    linker: PathBuf,
}

impl Toolchain {
    fn find() -> Result<Self, String> {
        let record = Record::read()?;
        Ok(Self {
            cargo: record.program("HEDDLE_BPF_CARGO")?,
            rustc: record.program("HEDDLE_BPF_RUSTC")?,
            linker: record.program("HEDDLE_BPF_LINKER")?,
        })
    }
}

/// `bpf-toolchain.env` as setup wrote it: `KEY=VALUE` lines.
struct Record {
    path: PathBuf,
    lines: String,
}

impl Record {
    fn read() -> Result<Self, String> {
        let path = cache_dir()?.join("heddle/bpf-toolchain.env");
        rerun_if_changed(&path);
        match fs::read_to_string(&path) {
            Ok(lines) => Ok(Self { path, lines }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self { path, lines: String::new() }),
            Err(error) => Err(format!("reading {}: {error}; {REMEDY}", path.display())),
        }
    }

    /// The environment's word first, then the record's. A program that has gone since is found here and not
    /// by an obscure failure later.
    fn program(&self, key: &str) -> Result<PathBuf, String> {
        tell_cargo("rerun-if-env-changed", key);
        let recorded =
            || self.lines.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(PathBuf::from);
        let program = env::var_os(key).filter(|value| !value.is_empty()).map(PathBuf::from).or_else(recorded);
        let Some(program) = program else {
            return Err(format!(
                "no toolchain for the kernel programs: {} has no {key}; {REMEDY}",
                self.path.display()
            ));
        };
        // A compiler upgraded in place means that the object is to be built again.
        rerun_if_changed(&program);
        if program.is_file() {
            Ok(program)
        } else {
            Err(format!("the toolchain for the kernel programs is gone: no {} ({key}); {REMEDY}", program.display()))
        }
    }
}

fn cache_dir() -> Result<PathBuf, String> {
    let set = |name| {
        tell_cargo("rerun-if-env-changed", name);
        env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    };
    set("XDG_CACHE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .ok_or_else(|| "looking for the BPF toolchain: neither XDG_CACHE_HOME nor HOME is set; set one".into())
}

fn required_path(name: &str) -> Result<PathBuf, String> {
    env::var_os(name).map(PathBuf::from).ok_or_else(|| format!("{name} is not set; this script is run by cargo only"))
}

fn rerun_if_changed(path: &Path) {
    tell_cargo("rerun-if-changed", &path.display().to_string());
}

/// Standard output is how a build script talks to cargo.
fn tell_cargo(instruction: &str, value: &str) {
    println!("cargo::{instruction}={value}");
}

const TARGET: &str = "bpfel-unknown-none";
const REMEDY: &str = "run `cargo xtask setup`";
