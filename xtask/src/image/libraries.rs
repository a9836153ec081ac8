//! The shared libraries of a program: what its dynamic section names, what those name, and the loader.
//!
//! In: an ELF file. Out: files of this machine, each at the path that it has here. What is opened while the program runs (dlopen)
//! is not found: glibc since 2.34 opens nothing for files and DNS.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use object::{
    Endianness,
    elf::{DT_NEEDED, FileHeader64},
    read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _},
};

use super::platform::Platform;

/// What a program asks of the loader.
#[derive(Debug, PartialEq, Eq)]
struct Needs {
    loader: Option<PathBuf>,
    libraries: Vec<String>,
}

/// The libraries and the loader of a program, by their paths.
pub(super) fn of_program(program: &Path, bytes: &[u8], platform: Platform) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let needs = needs(bytes, platform).with_context(|| format!("reading {} failed", program.display()))?;
    let mut found = BTreeMap::new();
    if let Some(loader) = needs.loader {
        let content = fs::read(&loader).with_context(|| format!("reading the loader {} failed", loader.display()))?;
        found.insert(loader, content);
    }
    let mut waiting = needs.libraries;
    while let Some(name) = waiting.pop() {
        if found.keys().any(|path| path.ends_with(&name)) {
            continue;
        }
        let path = find(&name, platform)?;
        let content = fs::read(&path).with_context(|| format!("reading {} failed", path.display()))?;
        let needs = self::needs(&content, platform).with_context(|| format!("reading {} failed", path.display()))?;
        waiting.extend(needs.libraries);
        found.insert(path, content);
    }
    Ok(found)
}

fn find(name: &str, platform: Platform) -> Result<PathBuf> {
    let folders = platform.library_folders();
    let mut places = folders.iter().map(|folder| Path::new(folder).join(name));
    let Some(path) = places.find(|path| path.is_file()) else {
        bail!(
            "the program needs {name}, which is in none of {}: install the package that has it for {}",
            folders.join(", "),
            platform.architecture()
        );
    };
    Ok(path)
}

fn needs(bytes: &[u8], platform: Platform) -> Result<Needs> {
    let header = FileHeader64::<Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    let machine = header.e_machine(endian);
    ensure!(machine == platform.machine(), "it is not for {}: its machine is {}", platform.architecture(), machine.0);
    let mut loader = None;
    for segment in header.program_headers(endian, bytes)? {
        if let Some(path) = segment.interpreter(endian, bytes)? {
            loader = Some(PathBuf::from(std::str::from_utf8(path)?));
        }
    }
    let sections = header.sections(endian, bytes)?;
    let mut libraries = Vec::new();
    if let Some((entries, strings)) = sections.dynamic(endian, bytes)? {
        let strings = sections.strings(endian, bytes, strings)?;
        for entry in entries.iter().filter(|entry| entry.tag(endian) == DT_NEEDED) {
            libraries.push(std::str::from_utf8(entry.string(endian, strings)?)?.to_owned());
        }
    }
    Ok(Needs { loader, libraries })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn this_program_needs_libc_and_a_loader_and_both_are_found() {
        let own = std::env::current_exe().unwrap();
        let bytes = fs::read(&own).unwrap();
        let platform = Platform::of_this_machine().unwrap();
        let found = of_program(&own, &bytes, platform).unwrap();
        for name in ["libc.so.6", "ld-linux"] {
            assert!(found.keys().any(|path| path.to_string_lossy().contains(name)), "{name}: {:?}", found.keys());
        }
    }

    #[test]
    fn a_program_of_another_machine_is_refused() {
        let bytes = fs::read(std::env::current_exe().unwrap()).unwrap();
        let other = match Platform::of_this_machine().unwrap() {
            Platform::Amd64 => Platform::Arm64,
            Platform::Arm64 => Platform::Amd64,
        };
        assert!(needs(&bytes, other).unwrap_err().to_string().contains("it is not for"));
        assert!(needs(b"#!/bin/sh\n", other).is_err());
    }
}
