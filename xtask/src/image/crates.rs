//! The crates that the program is made of, by cargo's own word: what is linked in, and what only took part in building it.
//!
//! `cargo tree` tells which they are for one package and target, with the features that are on there; `cargo metadata` and Cargo.lock tell
//! what each is. The kernel programs, which the agent's build script compiles and embeds, are linked in too.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::platform::Platform;
use crate::project::Project;

/// Name and version.
pub(super) type Id = (String, String);

/// A crate of the program.
#[derive(Clone, Debug)]
pub(super) struct Crate {
    pub(super) licence: Option<String>,
    /// SHA-256 of what the registry has; none for members of the workspace.
    pub(super) checksum: Option<String>,
    /// Where its source is.
    pub(super) folder: PathBuf,
    /// In the program; otherwise it only ran while that was built.
    pub(super) is_linked: bool,
    /// What it uses of the others.
    pub(super) uses: BTreeSet<Id>,
}

/// All of them.
pub(super) fn of_agent(project: &Project, platform: Platform) -> Result<BTreeMap<Id, Crate>> {
    let target = platform.target();
    let mut linked = tree(project, "heddle", target, "normal,no-proc-macro")?;
    linked.append(&mut tree(project, "heddle-ebpf", "bpfel-unknown-none", "normal,no-proc-macro")?);
    let mut all = tree(project, "heddle", target, "normal,build")?;
    all.append(&mut tree(project, "heddle-ebpf", "bpfel-unknown-none", "normal,build")?);
    let checksums = checksums(&fs::read_to_string(project.root.join("Cargo.lock")).context("reading Cargo.lock")?);
    let metadata = Metadata::ask(project)?;
    let ids: BTreeMap<&str, Id> = metadata.packages.iter().map(|it| (it.id.as_str(), it.name_and_version())).collect();
    let uses = |id: &str| {
        let node = metadata.resolve.nodes.iter().find(|node| node.id == id);
        let used = node.into_iter().flat_map(|node| &node.dependencies);
        used.filter_map(|id| ids.get(id.as_str())).filter(|id| all.contains(id)).cloned().collect()
    };
    let of_program = metadata.packages.iter().filter(|package| all.contains(&package.name_and_version()));
    of_program
        .map(|package| {
            let id = package.name_and_version();
            let folder = package.manifest_path.parent().context("a manifest has no folder")?.to_owned();
            let found = Crate {
                // An older way to write "or".
                licence: package.license.as_ref().map(|licence| licence.replace('/', " OR ")),
                checksum: checksums.get(&id).cloned(),
                folder,
                is_linked: linked.contains(&id),
                uses: uses(&package.id),
            };
            Ok((id, found))
        })
        .collect()
}

fn tree(project: &Project, package: &str, target: &str, edges: &str) -> Result<BTreeSet<Id>> {
    let tree = project.cargo().args(["tree", "--locked", "--package", package, "--target", target, "--edges", edges]);
    let said = tree.args(["--prefix", "none", "--format", "{p}"]).quiet().read()?;
    Ok(said.lines().filter_map(id).collect())
}

/// `name v1.2.3 (proc-macro) (*)`, with a path for members of the workspace.
fn id(line: &str) -> Option<Id> {
    let mut words = line.split_whitespace();
    Some((words.next()?.to_owned(), words.next()?.strip_prefix('v')?.to_owned()))
}

/// Those of Cargo.lock.
fn checksums(lock: &str) -> BTreeMap<Id, String> {
    let blocks = lock.split("[[package]]");
    let checksum = |block: &str| {
        let field = |name: &str| {
            let value = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "))?;
            Some(value.trim_matches('"').to_owned())
        };
        Some(((field("name")?, field("version")?), field("checksum")?))
    };
    blocks.filter_map(checksum).collect()
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    dependencies: Vec<String>,
}

impl Metadata {
    fn ask(project: &Project) -> Result<Self> {
        let json = project.cargo().args(["metadata", "--locked", "--format-version=1"]).quiet().read()?;
        serde_json::from_str(&json).context("reading cargo's metadata")
    }
}

impl Package {
    fn name_and_version(&self) -> Id {
        (self.name.clone(), self.version.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_cargo_and_its_lock_are_read() {
        let expected = ("aya".to_owned(), "0.14.0".to_owned());
        for line in ["aya v0.14.0", "aya v0.14.0 (*)", "aya v0.14.0 (proc-macro)", "aya v0.14.0 (/a/path)"] {
            assert_eq!(id(line), Some(expected.clone()), "{line}");
        }
        assert_eq!(id(""), None);
        let lock = "version = 4\n\n[[package]]\nname = \"aya\"\nversion = \"0.14.0\"\nchecksum = \"c0ffee\"\n\n\
            [[package]]\nname = \"heddle\"\nversion = \"0.1.0\"\ndependencies = [\n \"aya\",\n]\n";
        assert_eq!(checksums(lock), BTreeMap::from([(expected, "c0ffee".to_owned())]));
    }
}
