//! Blobs, which are named after their contents, and layers: gzipped tar archives.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use anyhow::Result;
use flate2::{Compression, GzBuilder};
use sha2::{Digest as _, Sha256};

use super::tar::Tree;

/// Bytes and their name.
pub(super) struct Blob {
    /// SHA-256, as hexadecimal digits.
    pub(super) digest: String,
    pub(super) bytes: Vec<u8>,
}

/// A layer of an image.
pub(super) struct Layer {
    pub(super) blob: Blob,
    /// Of the archive before it was compressed.
    pub(super) diff_id: String,
    /// What it is, for `history`.
    pub(super) what: &'static str,
}

impl Blob {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { digest: hexadecimal(&Sha256::digest(&bytes)), bytes }
    }
}

impl Layer {
    /// gzip with neither name nor time in its header: the same tree is the same blob, for one version of the compressor.
    pub(super) fn new(what: &'static str, tree: &Tree) -> Result<Self> {
        let mut to =
            Hashed { hash: Sha256::new(), to: GzBuilder::new().mtime(0).write(Vec::new(), Compression::new(6)) };
        tree.write(&mut to)?;
        let diff_id = hexadecimal(&to.hash.finalize());
        Ok(Self { blob: Blob::new(to.to.finish()?), diff_id, what })
    }
}

struct Hashed<W> {
    hash: Sha256,
    to: W,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.hash.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
