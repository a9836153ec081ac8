//! The licence texts of the crates that are linked in, which most of them ask to be passed on with the program.
//!
//! In: where the crates' sources are. Out: one text, in which crates with the same words are named above those words once.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::crates::{Crate, Id};

/// How files of licences begin, in the spellings that crates have.
const NAMES: [&str; 5] = ["license", "licence", "copying", "copyright", "notice"];

/// All texts, below the names of the crates that they are of. Members of the workspace have the project's own licences.
pub(super) fn texts(crates: &BTreeMap<Id, Crate>) -> Result<String> {
    let (mut by_text, mut without) = (BTreeMap::<String, Vec<String>>::new(), Vec::new());
    for ((name, version), one) in crates.iter().filter(|(_, one)| one.is_linked && one.checksum.is_some()) {
        let known = one.licence.as_deref().unwrap_or("no licence named");
        let (named, texts) = (format!("{name} {version} ({known})"), files(&one.folder)?);
        if texts.is_empty() {
            without.push(named.clone());
        }
        for text in texts {
            by_text.entry(text).or_default().push(named.clone());
        }
    }
    // By the first crate of each, so that a reader finds a name.
    let mut texts: Vec<(Vec<String>, String)> = by_text.into_iter().map(|(text, of)| (of, text)).collect();
    texts.sort();
    let rule = "=".repeat(80);
    let parts = texts.iter().map(|(of, text)| format!("{rule}\n{}\n{rule}\n\n{}\n\n", of.join("\n"), text.trim_end()));
    let last = format!("{rule}\nBring no text of their own:\n{}\n{rule}\n", without.join("\n"));
    Ok(parts.chain([last]).collect())
}

fn files(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("listing {} failed", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    let is_licence = |path: &&PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        path.is_file() && NAMES.iter().any(|begin| name.starts_with(begin))
    };
    let read = |path: &PathBuf| {
        let bytes = fs::read(path).with_context(|| format!("reading {} failed", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).replace("\r\n", "\n"))
    };
    paths.iter().filter(is_licence).map(read).collect()
}
