//! Reads a directory again and again, and parses only the files that changed.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::{
    FileSourceError,
    assemble::{Assembled, assemble},
    parse::{self, ParsedFile},
    walk::{Inode, walk},
};
use crate::{config::Problem, objects::ObjectSet};

/// The state of a directory as last read.
#[derive(Debug)]
pub(super) struct Scanner {
    root: PathBuf,
    /// Of agent.yaml, for messages.
    key: &'static str,
    files: BTreeMap<PathBuf, FileState>,
    last: ObjectSet,
}

/// One reading of a directory.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) contents: Assembled,
    /// Every directory that was listed, by real path.
    pub(super) directories: BTreeMap<PathBuf, Inode>,
}

#[derive(Debug)]
struct FileState {
    name: String,
    /// Of the text or the error; the text itself is not kept.
    fingerprint: u64,
    parsed: ParsedFile,
}

impl Scanner {
    pub(super) fn new(root: PathBuf, key: &'static str) -> Self {
        Self { root, key, files: BTreeMap::new(), last: ObjectSet::default() }
    }

    /// Reads all files.
    pub(super) fn scan(&mut self) -> Result<Scan, FileSourceError> {
        let unreadable = |source| FileSourceError::Directory { path: self.root.clone(), key: self.key, source };
        let listing = walk(&self.root).map_err(unreadable)?;
        self.files.retain(|path, _| listing.files.contains(path));
        for path in listing.files {
            self.refresh(path);
        }
        let files = self.files.values().map(|state| (state.name.as_str(), &state.parsed));
        let mut contents = assemble(files, &self.last);
        contents.problems.extend(listing.problems);
        self.last = contents.set.clone();
        Ok(Scan { contents, directories: listing.directories })
    }

    /// What was read last, with the reason why there is nothing newer.
    pub(super) fn last_state(&self, error: &FileSourceError) -> Assembled {
        let message = format!("{error}; the last state stays in force");
        let problem = Problem::of_file(&self.root.display().to_string(), message);
        Assembled { set: self.last.clone(), problems: vec![problem] }
    }

    fn refresh(&mut self, path: PathBuf) {
        let text = match read(&path) {
            // Deleted since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return drop(self.files.remove(&path)),
            result => result,
        };
        let fingerprint = fingerprint(&text);
        let entry = self.files.entry(path);
        if matches!(&entry, Entry::Occupied(state) if state.get().fingerprint == fingerprint) {
            return;
        }
        let name = entry.key().display().to_string();
        let parsed = match &text {
            Ok(text) => parse::parse(&name, text),
            Err(error) => parse::unreadable(Problem::of_file(&name, format!("cannot read this file: {error}"))),
        };
        match entry {
            Entry::Occupied(mut state) => {
                let earlier = std::mem::take(&mut state.get_mut().parsed);
                let parsed = parsed.following(Some(earlier));
                state.insert(FileState { name, fingerprint, parsed });
            }
            Entry::Vacant(vacant) => drop(vacant.insert(FileState { name, fingerprint, parsed })),
        }
    }
}

/// Bytes of a file: as much text as one YAML document may have.
pub(super) const LARGEST: u64 = 256 << 20;

fn read(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    if file.metadata()?.len() > LARGEST {
        return Err(too_large());
    }
    let mut text = String::new();
    // It may grow while it is read.
    file.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST { Err(too_large()) } else { Ok(text) }
}

fn too_large() -> io::Error {
    let message = format!("it has more than {LARGEST} bytes; divide it into several files");
    io::Error::new(io::ErrorKind::FileTooLarge, message)
}

fn fingerprint(text: &io::Result<String>) -> u64 {
    let mut hasher = DefaultHasher::new();
    match text {
        Ok(text) => text.hash(&mut hasher),
        Err(error) => (1u8, error.to_string()).hash(&mut hasher),
    }
    hasher.finish()
}
