//! Inputs that are kept in the source tree, one a file: small ones, each of which is read in a way of its own.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::Name;

/// Where `--keep` puts new ones.
pub(super) fn folder(name: Name) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name.as_str())
}

/// All of a target, by their names.
pub(super) fn read(name: Name) -> io::Result<Vec<Vec<u8>>> {
    let mut paths = Vec::new();
    for folder in folders(name).iter().filter(|folder| folder.is_dir()) {
        for entry in fs::read_dir(folder)? {
            paths.push(entry?.path());
        }
    }
    // The order of the file system must not decide what a seed gives.
    paths.sort();
    paths.iter().filter(|path| path.is_file()).map(fs::read).collect()
}

/// Examples for people are inputs like others.
fn folders(name: Name) -> Vec<PathBuf> {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    match name {
        Name::Config => vec![deploy.join("examples"), folder(name)],
        _ => vec![folder(name)],
    }
}
