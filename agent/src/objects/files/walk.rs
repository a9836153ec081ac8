//! The files and directories below a directory.
//!
//! Symbolic links are followed. Names that begin with a dot are skipped: editors' temporary files, and the `..data`
//! link and its targets in a mounted ConfigMap, whose files are reached by the visible links.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::config::Problem;

/// What tells a directory from a later one at the same path.
pub(super) type Inode = (u64, u64);

/// What lies below a directory.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Files of objects, in path order.
    pub(super) files: BTreeSet<PathBuf>,
    /// Every directory that was listed, by real path.
    pub(super) directories: BTreeMap<PathBuf, Inode>,
    /// Directories below that could not be listed.
    pub(super) problems: Vec<Problem>,
}

/// Lists a directory and everything below it. What vanishes meanwhile is left out.
pub(super) fn walk(root: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    let mut seen = BTreeSet::new();
    descend(root, &mut listing, &mut seen)?;
    Ok(listing)
}

/// `seen` ends cycles of links.
fn descend(directory: &Path, listing: &mut Listing, seen: &mut BTreeSet<Inode>) -> io::Result<()> {
    let metadata = fs::metadata(directory)?;
    let inode = (metadata.dev(), metadata.ino());
    if !seen.insert(inode) {
        return Ok(());
    }
    let mut paths = fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    // A link's target must not depend on the order in which the file system lists it.
    paths.sort();
    listing.directories.insert(fs::canonicalize(directory)?, inode);
    for path in paths.into_iter().filter(|path| !is_hidden(path)) {
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if metadata.is_file() && is_object_file(&path) {
            listing.files.insert(path);
        } else if metadata.is_dir() {
            visit(&path, listing, seen);
        }
    }
    Ok(())
}

fn visit(directory: &Path, listing: &mut Listing, seen: &mut BTreeSet<Inode>) {
    if let Err(error) = descend(directory, listing, seen)
        && error.kind() != io::ErrorKind::NotFound
    {
        let message = format!("cannot list this directory: {error}; its objects are not in force");
        listing.problems.push(Problem::of_file(&directory.display().to_string(), message));
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn is_object_file(path: &Path) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| ["yaml", "yml", "json"].contains(&extension))
}
