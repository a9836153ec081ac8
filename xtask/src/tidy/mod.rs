//! `cargo xtask tidy`: the house rules that neither rustfmt nor clippy knows.
//!
//! One file per kind of rule: `source.rs` for Rust, `documents.rs` for Markdown, `dependencies.rs` for the workspace's
//! list of crates, `unsafe_code.rs` for the inventory of `unsafe`, `bounds.rs` for that of bounds. It reads the files that git knows
//! or would add, reports every breach with its line, changes nothing.

mod bounds;
mod dependencies;
mod documents;
mod source;
mod unsafe_code;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{project::Project, ui};

/// Check the house rules: file sizes, headers, links, whitespace, unused crates, unsafe code, bounds.
///
/// Rust files: at most 400 lines without their unit tests (exceptions are listed with a reason in
/// xtask/src/tidy/source.rs), a `//!` header that says what the file is for, lint exceptions as `expect` with a reason,
/// no tab, no blank at a line's end. Markdown: every relative link leads to a file. Cargo.toml: every crate of
/// [workspace.dependencies] is used by a member. SECURITY.md: the table of unsafe code has every use of it. docs/bounds.md:
/// every queue and every table of the kernel is in it, and the numbers, constants and metrics that it names are so.
#[derive(Args)]
pub(crate) struct Tidy {}

impl Tidy {
    pub(crate) fn run(&self, project: &Project) -> Result<()> {
        check(project)
    }
}

/// All rules over all files; every breach is printed, then it fails once.
pub(crate) fn check(project: &Project) -> Result<()> {
    let files = Files::read(project)?;
    let mut breaches = Vec::new();
    for (path, text) in &files.texts {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("rs") => source::check(path, text, &mut breaches),
            Some("md") => documents::check(&project.root, path, text, &mut breaches),
            _ => {}
        }
    }
    source::check_exceptions(&files, &mut breaches);
    dependencies::check(&files, &mut breaches);
    unsafe_code::check(&files, &mut breaches);
    bounds::check(&files, &mut breaches);
    breaches.iter().for_each(|breach| ui::say(&breach.to_string()));
    if !breaches.is_empty() {
        bail!("{} breaches of the house rules, listed above; CONTRIBUTING.md gives the rules' reasons", breaches.len());
    }
    ui::fact("read", &format!("{} files, no breach", files.texts.len()));
    Ok(())
}

/// The checkout's text files, paths relative to its root.
struct Files {
    texts: Vec<(PathBuf, String)>,
}

impl Files {
    fn read(project: &Project) -> Result<Self> {
        let mut texts = Vec::new();
        for path in project.files()? {
            let bytes =
                fs::read(project.root.join(&path)).with_context(|| format!("reading {} failed", path.display()))?;
            // A picture or an archive has no lines to judge.
            if let Ok(text) = String::from_utf8(bytes) {
                texts.push((path, text));
            }
        }
        Ok(Self { texts })
    }

    fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a Path, &'a str)> {
        self.texts
            .iter()
            .filter(move |(path, _)| path.ends_with(name))
            .map(|(path, text)| (path.as_path(), text.as_str()))
    }
}

/// One line that breaks a rule.
struct Breach {
    path: PathBuf,
    line: usize,
    complaint: String,
}

impl Breach {
    /// `line` counts from 1.
    fn new(path: &Path, line: usize, complaint: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, complaint: complaint.into() }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.complaint)
    }
}
