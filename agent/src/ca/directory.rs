//! The directory in which several agents share one root: `root-cert.pem` and `root-key.pem`.
//!
//! In: a path. Out: a checked [`Root`], made on first use. A lock file serialises the agents; the kernel drops the lock
//! of one that dies. Each file is written aside, synced, and then linked to its name, which fails rather than replaces.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::{
    error::CaError,
    root::{ROOT_LIFETIME, Root, RootPem},
};
use crate::mesh::TrustDomain;

/// Reads the root in `directory`, or makes both.
pub(super) fn load_or_make(directory: &Path, domain: &TrustDomain, now: SystemTime) -> Result<Root, CaError> {
    prepare(directory)?;
    let _lock = lock(&directory.join(LOCK))?;
    let (certificate, key) = (directory.join(CERTIFICATE), directory.join(KEY));
    let pem = match (exists(&certificate)?, exists(&key)?) {
        (true, true) => RootPem { certificate: read(&certificate)?, key: read_key(&key)? },
        (false, false) => make(directory, &certificate, &key, domain, now)?,
        (true, false) => return Err(half_written(directory, CERTIFICATE, KEY)),
        (false, true) => return Err(half_written(directory, KEY, CERTIFICATE)),
    };
    Root::parse(&pem, &certificate, &key, domain, now)
}

fn half_written(directory: &Path, present: &'static str, absent: &'static str) -> CaError {
    CaError::HalfWritten { path: directory.to_owned(), present, absent }
}

/// Makes the directory for its owner only, or checks that nobody else can write to the one that is there.
fn prepare(directory: &Path) -> Result<(), CaError> {
    if let Some(parent) = directory.parent() {
        fs::create_dir_all(parent).map_err(failed("making directory", parent))?;
    }
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(failed("making directory", directory)(e)),
        _ => {}
    }
    let mode = fs::metadata(directory).map_err(failed("reading directory", directory))?.permissions().mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(CaError::DirectoryWritable { path: directory.to_owned(), mode });
    }
    Ok(())
}

/// Held until the file is dropped.
fn lock(path: &Path) -> Result<File, CaError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(failed("opening", path))?;
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => thread::sleep(LOCK_RETRY),
            Err(Errno::WOULDBLOCK | Errno::INTR) => {
                return Err(CaError::Locked { path: path.to_owned(), waited: LOCK_TIMEOUT.as_secs() });
            }
            Err(e) => return Err(failed("locking", path)(e.into())),
        }
    }
}

/// The key first: a key without a certificate has signed nothing that anyone trusts.
fn make(
    directory: &Path,
    certificate: &Path,
    key: &Path,
    domain: &TrustDomain,
    now: SystemTime,
) -> Result<RootPem, CaError> {
    let pem = RootPem::make(domain, now, ROOT_LIFETIME)?;
    write_new(key, &pem.key, 0o600)?;
    if let Err(error) = write_new(certificate, &pem.certificate, 0o644) {
        // Undo, so that the next attempt starts afresh. If this fails too, the next start explains the lone key.
        let _ = fs::remove_file(key);
        return Err(error);
    }
    File::open(directory).and_then(|d| d.sync_all()).map_err(failed("syncing", directory))?;
    tracing::info!(path = %certificate.display(), trust_domain = %domain, "made a new root certificate");
    Ok(pem)
}

fn write_new(path: &Path, content: &str, mode: u32) -> Result<(), CaError> {
    let aside = path.with_extension("pem.new");
    let written =
        write_aside(&aside, content, mode).and_then(|()| fs::hard_link(&aside, path).map_err(failed("linking", path)));
    let removed = fs::remove_file(&aside).map_err(failed("removing", &aside));
    written.and(removed)
}

fn write_aside(aside: &Path, content: &str, mode: u32) -> Result<(), CaError> {
    // Left by an agent that died here; the lock is ours.
    match fs::remove_file(aside) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed("removing", aside)(e)),
        _ => {}
    }
    OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(mode)
        .open(aside)
        .and_then(|mut file| {
            file.write_all(content.as_bytes())?;
            file.sync_all()
        })
        .map_err(failed("writing", aside))
}

/// Checks the opened file, not the name: what is read is what was checked.
fn read_key(path: &Path) -> Result<String, CaError> {
    let mut file = File::open(path).map_err(failed("opening", path))?;
    let mode = file.metadata().map_err(failed("reading", path))?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(CaError::KeyExposed { path: path.to_owned(), mode });
    }
    let mut key = String::new();
    file.read_to_string(&mut key).map_err(failed("reading", path))?;
    Ok(key)
}

fn read(path: &Path) -> Result<String, CaError> {
    fs::read_to_string(path).map_err(failed("reading", path))
}

fn exists(path: &Path) -> Result<bool, CaError> {
    path.try_exists().map_err(failed("reading", path))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CaError {
    let path: PathBuf = path.to_owned();
    move |source| CaError::File { action, path, source }
}

const CERTIFICATE: &str = "root-cert.pem";
pub(super) const KEY: &str = "root-key.pem";
const LOCK: &str = ".lock";
/// Making a root takes milliseconds; ten seconds mean that something is wrong.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
const LOCK_RETRY: Duration = Duration::from_millis(10);
