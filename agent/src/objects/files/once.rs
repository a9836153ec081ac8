//! Files and directories read once, for commands that look at them and do not follow.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    FileSourceError,
    assemble::{Assembled, assemble},
    overlooked,
    parse::{self, ParsedFile},
    walk::walk,
};
use crate::{config::Problem, objects::ObjectSet};

/// Reads files, whatever their names, and directories with all the object files below them.
///
/// # Errors
/// A path does not exist or cannot be read.
pub(in crate::objects) fn read_once(paths: &[PathBuf]) -> Result<(ObjectSet, Vec<Problem>), FileSourceError> {
    let mut files: Vec<(String, ParsedFile)> = Vec::new();
    let mut problems = Vec::new();
    for path in paths {
        let unreadable = |source| FileSourceError::Path { path: path.clone(), source };
        if fs::metadata(path).map_err(unreadable)?.is_dir() {
            let listing = walk(path).map_err(unreadable)?;
            problems.extend(listing.problems);
            files.extend(listing.files.iter().map(|file| (file.display().to_string(), read(file))));
        } else {
            let text = fs::read_to_string(path).map_err(unreadable)?;
            let name = path.display().to_string();
            let parsed = parse::parse(&name, &text);
            files.push((name, parsed));
        }
    }
    let named = files.iter().map(|(name, parsed)| (name.as_str(), parsed));
    let Assembled { set, problems: of_documents } = assemble(named, &ObjectSet::default());
    Ok((set, of_documents.into_iter().chain(problems).collect()))
}

/// The objects of one text, as if it were a file.
pub(in crate::objects) fn read_text(file: &str, text: &str) -> (ObjectSet, Vec<Problem>) {
    let parsed = parse::parse(file, text);
    let Assembled { set, problems } = assemble(std::iter::once((file, &parsed)), &ObjectSet::default());
    (set, problems.into_iter().chain(overlooked::find(file, text)).collect())
}

/// The ConfigMaps in them that hold mesh documents and lack the label by which readers know them.
///
/// # Errors
/// A path does not exist or cannot be read.
pub(in crate::objects) fn unlabelled(paths: &[PathBuf]) -> Result<Vec<Problem>, FileSourceError> {
    let mut problems = Vec::new();
    for path in paths {
        let unreadable = |source: io::Error| FileSourceError::Path { path: path.clone(), source };
        let files = match fs::metadata(path).map_err(unreadable)?.is_dir() {
            true => walk(path).map_err(unreadable)?.files.into_iter().collect(),
            false => vec![path.clone()],
        };
        for file in files {
            // What cannot be read has been told by whoever read the objects.
            let text = fs::read_to_string(&file).unwrap_or_default();
            problems.extend(overlooked::find(&file.display().to_string(), &text));
        }
    }
    Ok(problems)
}

fn read(file: &Path) -> ParsedFile {
    let name = file.display().to_string();
    match fs::read_to_string(file) {
        Ok(text) => parse::parse(&name, &text),
        Err(error) => parse::unreadable(Problem::of_file(&name, format!("cannot read this file: {error}"))),
    }
}
