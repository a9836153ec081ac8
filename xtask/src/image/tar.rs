//! File trees, and tar archives of them (POSIX ustar) that depend on nothing but names, rights and contents.
//!
//! All is root's, and of the first second of 1970: neither who builds nor when is in the archive. Links, devices and what takes the
//! extensions of the format (names over 255 bytes, files of 8 GiB) are not made.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use anyhow::{Context as _, Result, ensure};

/// Files and folders by their paths, which do not begin with a slash.
#[derive(Debug, Default)]
pub(super) struct Tree(BTreeMap<String, Node>);

#[derive(Debug)]
struct Node {
    mode: u32,
    /// `None` for a folder.
    content: Option<Vec<u8>>,
}

impl Tree {
    /// Adds a file, with the folders above it.
    pub(super) fn file(&mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) {
        self.add(path, Node { mode, content: Some(content.into()) });
    }

    /// Adds a folder, with those above it.
    pub(super) fn folder(&mut self, path: &str, mode: u32) {
        self.add(path, Node { mode, content: None });
    }

    fn add(&mut self, path: &str, node: Node) {
        let path = path.trim_start_matches('/');
        for (at, _) in path.match_indices('/') {
            self.0.entry(path[..at].to_owned()).or_insert(Node { mode: 0o755, content: None });
        }
        self.0.insert(path.to_owned(), node);
    }

    /// Writes the archive: in the order of the paths, so that a folder is before what is in it.
    pub(super) fn write(&self, mut to: impl Write) -> Result<()> {
        for (path, node) in &self.0 {
            let content = node.content.as_deref().unwrap_or_default();
            let header = header(path, node).with_context(|| format!("{path} has no place in a tar archive"))?;
            to.write_all(&header)?;
            to.write_all(content)?;
            pad(&mut to, content.len())?;
        }
        to.write_all(&[0; 2 * BLOCK])?;
        Ok(())
    }
}

const BLOCK: usize = 512;

fn pad(to: &mut impl Write, length: usize) -> io::Result<()> {
    to.write_all(&[0; BLOCK][..length.next_multiple_of(BLOCK) - length])
}

/// POSIX.1-2017, pax, "ustar Interchange Format": the fields and where they begin.
fn header(path: &str, node: &Node) -> Result<[u8; BLOCK]> {
    let name = if node.content.is_none() { format!("{path}/") } else { path.to_owned() };
    let (prefix, name) = split(&name)?;
    let mut block = [0; BLOCK];
    let mut field = |from: usize, bytes: &[u8]| block[from..from + bytes.len()].copy_from_slice(bytes);
    let length = node.content.as_ref().map_or(0, Vec::len);
    ensure!(length < 1 << 33, "it has {length} bytes");
    field(0, name.as_bytes());
    field(100, format!("{:07o}", node.mode).as_bytes());
    field(108, b"0000000");
    field(116, b"0000000");
    field(124, format!("{length:011o}").as_bytes());
    field(136, b"00000000000");
    // The checksum is over the header with blanks in its own place.
    field(148, b"        ");
    field(156, if node.content.is_none() { b"5" } else { b"0" });
    field(257, b"ustar\x0000");
    field(265, b"root");
    field(297, b"root");
    field(345, prefix.as_bytes());
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(block)
}

/// 155 bytes before a slash and 100 after it.
fn split(path: &str) -> Result<(&str, &str)> {
    if path.len() <= 100 {
        return Ok(("", path));
    }
    let mut slashes = path.match_indices('/').map(|(at, _)| at);
    let fits = |at: &usize| *at <= 155 && path.len() - at - 1 <= 100 && path.len() - at > 1;
    let at = slashes.rfind(fits).context("its name is too long")?;
    Ok((&path[..at], &path[at + 1..]))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::{
        process::{Command, Stdio},
        thread,
    };

    use super::*;

    /// What tar(1) says is in an archive.
    fn listed(archive: Vec<u8>) -> String {
        let mut tar = Command::new("tar");
        let tar = tar.args(["--list", "--verbose", "--utc", "--full-time"]).env("LC_ALL", "C");
        let mut tar = tar.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = tar.stdin.take().unwrap();
        let writer = thread::spawn(move || stdin.write_all(&archive));
        let output = tar.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn tar_reads_names_rights_sizes_and_nothing_of_this_machine() {
        let mut tree = Tree::default();
        let long = format!("usr/{}/{}", "a".repeat(90), "b".repeat(90));
        tree.file("usr/bin/heddle", 0o755, *b"program");
        tree.folder("/tmp", 0o1777);
        tree.file(&long, 0o644, "");
        let mut archive = Vec::new();
        tree.write(&mut archive).unwrap();
        let lines = listed(archive);
        let lines: Vec<Vec<&str>> = lines.lines().map(|line| line.split_whitespace().collect()).collect();
        let date = "1970-01-01";
        let folder = format!("usr/{}/", "a".repeat(90));
        for (line, (rights, size, name)) in lines.iter().zip([
            ("drwxrwxrwt", "0", "tmp/"),
            ("drwxr-xr-x", "0", "usr/"),
            ("drwxr-xr-x", "0", folder.as_str()),
            ("-rw-r--r--", "0", long.as_str()),
            ("drwxr-xr-x", "0", "usr/bin/"),
            ("-rwxr-xr-x", "7", "usr/bin/heddle"),
        ]) {
            assert_eq!(line[..], [rights, "root/root", size, date, "00:00:00", name]);
        }
        assert_eq!(lines.len(), 6);
    }

    #[test]
    fn names_that_the_format_cannot_hold_are_refused() {
        let mut tree = Tree::default();
        tree.file(&"a".repeat(101), 0o644, "");
        assert!(tree.write(Vec::new()).is_err());
    }
}
