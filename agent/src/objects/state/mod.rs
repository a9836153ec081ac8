//! The objects that were in force last, on disk: what an agent serves that starts while the API server cannot be reached.
//!
//! Objects as the readers made them, so no Secret is ever in it: none is read. ConfigMaps of mesh configuration are. Written
//! aside, synced and renamed, so that a crash leaves the old or the new one. A state that cannot be used is reported and
//! passed over: everything is then listed anew, as at a first start.

pub(crate) mod format;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

pub(super) use format::Kept;
use format::{FormatError, decode, encode};

use super::ObjectSet;

/// The file in the directory of the state.
const FILE: &str = "objects";
/// Where the next one is written.
const ASIDE: &str = ".objects.new";

/// Fifty thousand objects have about 30 MiB; beyond this it is not ours, and memory is not spent on it.
const LARGEST: u64 = 512 << 20;

/// Why there is no state, or why it was not written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file is there and cannot be read.
    #[error("cannot read the state {}: {source}; going on without it", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not a state of this version.
    #[error("the state {} {reason}; going on without it", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It could not be written.
    #[error("cannot write the state {}: {source}; make its directory writable for root, or set state.path", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The directory of the state. Its methods block.
#[derive(Clone, Debug)]
pub(super) struct StateDirectory {
    path: PathBuf,
}

impl StateDirectory {
    /// Nothing is touched before it is read or written.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// What an earlier agent wrote; `None` if none did.
    pub(super) fn read(&self) -> Result<Option<Kept>, StateError> {
        let path = self.path.join(FILE);
        let bytes = match read_bounded(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError::Read { path, source }),
        };
        let unusable = |error: FormatError| StateError::Unusable { path, reason: error.to_string() };
        decode(&bytes).map(Some).map_err(unusable)
    }

    /// Puts these objects in the place of what is there.
    pub(super) fn write(&self, objects: ObjectSet) -> Result<(), StateError> {
        let written = encode(&Kept { saved: SystemTime::now(), objects }).map_err(io::Error::other);
        let result = written.and_then(|bytes| self.replace(&bytes));
        result.map_err(|source| StateError::Write { path: self.path.join(FILE), source })
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
        let aside = self.path.join(ASIDE);
        // What an interrupted write left may have other permissions than those asked for below.
        match fs::remove_file(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::set_permissions(&self.path, fs::Permissions::from_mode(0o700))?;
        fs::rename(&aside, self.path.join(FILE))?;
        // The rename is on disk only when the directory is.
        File::open(&self.path)?.sync_all()
    }
}

/// Removes what agents have written to this directory, and the directory if nothing else is in it. Whether there was something.
pub fn remove(directory: &Path) -> io::Result<bool> {
    let mut was_there = false;
    for file in [FILE, ASIDE] {
        match fs::remove_file(directory.join(file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            removed => was_there |= removed.is_ok(),
        }
    }
    match fs::remove_dir(directory) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => Err(error),
        removed => Ok(was_there | removed.is_ok()),
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    if length > LARGEST {
        return Err(io::Error::other(format!("it has {length} bytes, at most {LARGEST} are read")));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}
