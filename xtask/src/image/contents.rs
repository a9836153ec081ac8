//! What is in the image, as two trees: what an upgrade leaves as it was, and the program with what is written of it.
//!
//! There is no shell, no package manager and no tool: what has to be looked at is looked at by `heddle` itself, or by a debug
//! container beside it.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result};

use super::{
    libraries,
    packages::{self, Package},
    platform::Platform,
    tar::Tree,
};
use crate::project::Project;

/// Whom servers outside the mesh may prove themselves to by default: token keys (`jwks.roots`) and collectors of spans.
const ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// `heddle` is who runs `heddle ca`; distroless images have the same number for their user without rights.
const PASSWD: &str = "root:x:0:0:root:/:/usr/sbin/nologin\nheddle:x:65532:65532:heddle:/:/usr/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nheddle:x:65532:\n";
/// glibc asks these in this order for a host's name, and loads nothing for either.
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\n";

const DOCUMENTS: &str = "/usr/share/doc/heddle";

/// The tree below the program, and the packages that its files are from.
pub(super) fn base(
    project: &Project,
    program: &Path,
    bytes: &[u8],
    platform: Platform,
) -> Result<(Tree, Vec<Package>)> {
    let mut tree = Tree::default();
    tree.folder("/tmp", 0o1777);
    // What a volume is mounted over in a cluster, and what a container elsewhere has to write to.
    tree.folder("/run/heddle", 0o755);
    tree.folder("/var/lib/heddle", 0o700);
    tree.folder("/etc/heddle", 0o755);
    tree.file("/etc/passwd", 0o644, PASSWD);
    tree.file("/etc/group", 0o644, GROUP);
    tree.file("/etc/nsswitch.conf", 0o644, NSSWITCH);
    let roots =
        fs::read(ROOTS).with_context(|| format!("reading {ROOTS} failed: install the package ca-certificates"))?;
    tree.file(ROOTS, 0o644, roots);
    let libraries = libraries::of_program(program, bytes, platform)?;
    let mut packages = packages::of_files(project, libraries.keys().map(AsRef::as_ref))?;
    // The bundle is made when the package is installed, and so is in no package's list.
    let script = Path::new("/usr/sbin/update-ca-certificates");
    packages.append(&mut packages::of_files(project, std::iter::once(script))?);
    for (path, content) in libraries {
        let path = path.to_str().context("a library's path is not UTF-8")?.to_owned();
        tree.file(&path, 0o755, content);
    }
    for package in &packages {
        tree.file(&format!("/usr/share/doc/{}/copyright", package.name), 0o644, package.copyright.as_str());
    }
    Ok((tree, packages))
}

/// The tree with the program.
pub(super) fn program(project: &Project, bytes: Vec<u8>, bill: &str, licences: &str) -> Result<Tree> {
    let mut tree = Tree::default();
    tree.file("/usr/bin/heddle", 0o755, bytes);
    let mut document = |name: &str, text: &str| tree.file(&format!("{DOCUMENTS}/{name}"), 0o644, text);
    document("sbom.cdx.json", bill);
    document("third-party-licences.txt", licences);
    for (name, text) in own_licences(project)? {
        document(name, &text);
    }
    Ok(tree)
}

fn own_licences(project: &Project) -> Result<BTreeMap<&'static str, String>> {
    let read = |name: &'static str| {
        Ok((name, fs::read_to_string(project.root.join(name)).with_context(|| format!("reading {name} failed"))?))
    };
    ["LICENSE-APACHE", "LICENSE-MIT"].into_iter().map(read).collect()
}
