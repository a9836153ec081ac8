//! The Debian packages of files: for the bill of materials, and for what their licences ask to be passed on.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result};
use xshell::cmd;

use crate::project::Project;

/// A package that files of the image are from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) architecture: String,
    /// Its file of copyrights and licences.
    pub(super) copyright: String,
}

/// The packages of these files, each once. A file that no package has is in nobody's list: a machine without dpkg has none.
pub(super) fn of_files<'a>(project: &Project, files: impl Iterator<Item = &'a Path>) -> Result<Vec<Package>> {
    let mut found = BTreeMap::new();
    for file in files {
        if let Some(name) = owner(project, file) {
            let package = package(project, &name)?;
            found.insert(name, package);
        }
    }
    Ok(found.into_values().collect())
}

/// Which package has a file: dpkg knows files of /lib by their place before or after /lib became a link to /usr/lib.
fn owner(project: &Project, file: &Path) -> Option<String> {
    let resolved = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let without_usr = resolved.strip_prefix("/usr").map(|rest| Path::new("/").join(rest)).ok();
    let places = [Some(file.to_owned()), Some(resolved), without_usr];
    places.into_iter().flatten().find_map(|place| {
        let said = cmd!(project.shell, "dpkg-query --search {place}").quiet().ignore_stderr().read().ok()?;
        said.lines().find_map(|line| Some(line.strip_suffix(place.to_str()?)?.strip_suffix(": ")?.to_owned()))
    })
}

fn package(project: &Project, name: &str) -> Result<Package> {
    let format = r"${Package}\n${Version}\n${Architecture}\n";
    let said = cmd!(project.shell, "dpkg-query --show --showformat={format} {name}").quiet().read()?;
    let mut lines = said.lines().map(str::to_owned);
    let mut next = || lines.next().with_context(|| format!("dpkg-query says too little of {name}"));
    let (name, version, architecture) = (next()?, next()?, next()?);
    let path = format!("/usr/share/doc/{name}/copyright");
    let copyright = fs::read_to_string(&path).with_context(|| format!("reading {path} failed"))?;
    Ok(Package { name, version, architecture, copyright })
}

/// The distribution's name and version, `debian-12`, by os-release(5).
pub(super) fn distribution() -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let field = |name: &str| text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim_matches('"').to_owned()));
    Some(format!("{}-{}", field("ID=")?, field("VERSION_ID=")?))
}
